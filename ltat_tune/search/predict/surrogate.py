"""A Gaussian process over configurations and fidelities, fitted from a study's own scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, lapack, solve_triangular
from scipy.optimize import minimize

from ltat_tune.search.predict.coordinates import Coordinates, Floats, weighted

Levels = NDArray[np.intp]

_SHORTER = 2 * np.log(2.0)  # added to log inverse squared lengths: half as long
_JITTER = 1e-6
_MEAN = 0.1  # prior variance of the mean of a level
_MOST_FITTED = 100  # scores that the hyperparameters are fitted to
_STEPS = 40  # of L-BFGS
# means and standard deviations of the prior, for scores with a spread of about 1
_LENGTH, _LENGTH_SD = 1.0, 2 * 3**0.5  # added to log inverse squared lengths
_NOISE, _NOISE_SD = -4.0, 1.0  # log noise variance
_AMPLITUDE_SD = 0.5  # log amplitude of cheap levels; its mean is that of the whole level
_AGREEMENT, _AGREEMENT_SD = 1.0, 1.0  # atanh of a cheap level's correlation with the whole one


class Surrogate:
    """Predicts scores at every level from scores at all levels.

    f_cheap = rho * f_whole + rest, with one Matern-5/2 kernel for both (one length for each
    parameter: automatic relevance determination) and a mean and a noise for each level.
    The hyperparameters are those of the highest posterior density. `theta` holds log inverse
    squared lengths (P), log amplitudes (L), log noise variances (L) and atanh rho (L - 1); the
    last level is the whole training, whose amplitude is 1.

    Args:
        coordinates: place the configurations.
        levels: number of levels; the last is the whole training.
        alike: for each cheap level, the atanh of the correlation that is expected of it; None is
            what is expected of a copy.
    """

    def __init__(
        self, coordinates: Coordinates, levels: int, alike: Sequence[float | None] = ()
    ) -> None:
        self._space, self._levels = coordinates, levels
        self._p = p = coordinates.parameters
        length = -2 * (2**0.5 + 0.5 * np.log(p)) + _LENGTH
        cheap = levels - 1
        self._mu = np.r_[
            np.full(p, length), np.zeros(levels), np.full(levels, _NOISE),
            [_AGREEMENT if a is None else a for a in alike] or np.full(cheap, _AGREEMENT),
        ]  # fmt: skip
        self._sd = np.r_[
            np.full(p, _LENGTH_SD), np.full(cheap, _AMPLITUDE_SD), 1e-3,
            np.full(levels, _NOISE_SD), np.full(cheap, _AGREEMENT_SD),
        ]  # fmt: skip
        self.theta: Floats = self._mu.copy()

    # -- fitting --------------------------------------------------------------------------------

    def fit(self, places: Floats, levels: Levels, y: Floats) -> Floats:
        """Fit the hyperparameters, then `condition`.

        Returns:
            The log density of each score, predicted from the others; 0 of those that the
            hyperparameters were not fitted to. Shape (N,).
        """
        densities = np.zeros(len(y))
        some = spread(y)
        if len(some) > 1:
            apart = self._space.by_parameter(places[some], places[some])
            p, count = self._p, self._levels
            bounds = [
                *[(-12.0, 5.0)] * p, *[(-2.0, 2.0)] * (count - 1), (0.0, 0.0),
                *[(-9.0, 1.0)] * count, *[(-3.0, 3.0)] * (count - 1),
            ]  # fmt: skip
            self.theta = minimize(
                self._loss, self._mu, args=(apart, levels[some], y[some]), jac=True,
                method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS},
            ).x  # fmt: skip
            self.condition(places[some], levels[some], y[some])
            densities[some] = self._left_out()
        if len(some) < len(y) or len(y) < 2:
            self.condition(places, levels, y)
        return densities

    def condition(self, places: Floats, levels: Levels, y: Floats) -> None:
        """Take in the scores that predictions build on, shape (N,)."""
        self._x, self._lv, self._y = places, levels, y
        covariance = self.kernel(places, levels, places, levels)
        covariance[np.diag_indices(len(y))] += self.noise[levels] + _JITTER
        self._chol = cholesky(covariance, lower=True)
        self._alpha = cho_solve((self._chol, True), y)

    def doubting(self) -> Surrogate:
        """Return a surrogate of the same scores for which parameters matter at shorter distances.

        Few scores on a slope look like a straight line, and the most probable lengths then leave
        no doubt about what lies between and beyond them.
        """
        other = Surrogate(self._space, self._levels)  # theta is set, so no expectation counts
        p, count = self._p, self._levels
        other.theta = self.theta.copy()
        other.theta[:p] = np.maximum(other.theta[:p], self._mu[:p]) + _SHORTER
        noise = slice(p + count, p + 2 * count)
        other.theta[noise] = np.minimum(other.theta[noise], _NOISE)
        other.condition(self._x, self._lv, self._y)
        return other

    # -- predicting -----------------------------------------------------------------------------

    @property
    def noise(self) -> Floats:
        """The noise variance of each level."""
        at = self._p + self._levels
        return np.exp(self.theta[at : at + self._levels])

    @property
    def agreement(self) -> Floats:
        """The correlation of each cheap level with the whole one."""
        return np.tanh(self.theta[self._p + 2 * self._levels :])

    @property
    def whole(self) -> int:
        """The level of the whole training."""
        return self._levels - 1

    def kernel(self, a: Floats, levels_a: Levels, b: Floats, levels_b: Levels) -> Floats:
        """Return the prior covariance of scores, shape (N, M)."""
        weights = np.exp(self.theta[: self._p])[self._space.columns]
        shape, _ = _matern(weighted(a, b, weights))
        scale, same, _ = self._scale(self.theta, levels_a, levels_b)
        covariance: Floats = shape * scale + _MEAN * same
        return covariance

    def predict(self, places: Floats, level: int) -> tuple[Floats, Floats, Floats]:
        """Return mean and variance, shape (N,), and what `covariance` needs of these places."""
        levels = np.full(len(places), level)
        cross = self.kernel(places, levels, self._x, self._lv)
        root: Floats = solve_triangular(self._chol, cross.T, lower=True)
        prior = np.exp(2 * self.theta[self._p + level]) + _MEAN
        return cross @ self._alpha, np.maximum(prior - (root**2).sum(0), 1e-9), root

    def draws(
        self, places: Floats, count: int, rng: np.random.Generator, *, noise: bool = True
    ) -> Floats:
        """Return scores of whole trainings, drawn jointly, with or without noise: (count, N)."""
        levels = np.full(len(places), self.whole)
        mean, _, root = self.predict(places, self.whole)
        covariance = self.kernel(places, levels, places, levels) - root.T @ root
        covariance[np.diag_indices(len(places))] += noise * self.noise[self.whole] + _JITTER
        lower = cholesky(covariance, lower=True)
        scores: Floats = mean + rng.standard_normal((count, len(places))) @ lower.T
        return scores

    # -- inside ---------------------------------------------------------------------------------

    def _left_out(self) -> Floats:
        inverse = cho_solve((self._chol, True), np.eye(len(self._y)))
        variance = 1 / np.diag(inverse)
        density: Floats = -0.5 * (variance * self._alpha**2 + np.log(2 * np.pi * variance))
        return density

    def _scale(
        self, theta: Floats, levels_a: Levels, levels_b: Levels
    ) -> tuple[Floats, NDArray[np.bool_], Floats]:
        p, count = self._p, self._levels
        amplitude = np.exp(theta[p : p + count])
        rho = np.r_[np.tanh(theta[p + 2 * count :]), 1.0]
        same = levels_a[:, None] == levels_b[None]
        scale = np.outer(amplitude[levels_a], amplitude[levels_b])
        return scale * np.where(same, 1.0, np.outer(rho[levels_a], rho[levels_b])), same, rho

    def _loss(
        self, theta: Floats, apart: Floats, levels: Levels, y: Floats
    ) -> tuple[float, Floats]:
        """Return the negative log posterior of the hyperparameters, and its gradient."""
        p, count = self._p, self._levels
        weights = np.exp(theta[:p])
        shape, slope = _matern(np.tensordot(weights, apart, 1))
        scale, same, rho = self._scale(theta, levels, levels)
        noise, signal = np.exp(theta[p + count : p + 2 * count]), shape * scale
        covariance = signal + _MEAN * same
        covariance[np.diag_indices(len(y))] += noise[levels] + _JITTER
        root, failed = lapack.dpotrf(covariance, lower=1)
        if failed:
            return 1e10, np.zeros_like(theta)
        inverse = np.tril(lapack.dpotri(root, lower=1)[0])
        inverse = inverse + np.tril(inverse, -1).T
        alpha, z = inverse @ y, (theta - self._mu) / self._sd
        grad = 0.5 * (inverse - np.outer(alpha, alpha))
        slopes = np.empty_like(theta)
        slopes[:p] = weights * np.tensordot(apart, grad * slope * scale, 2)
        rows, off = (grad * signal).sum(1), np.where(same, 0.0, grad * signal).sum(1)
        for level in range(count):
            here = levels == level
            slopes[p + level] = 2 * rows[here].sum()
            slopes[p + count + level] = noise[level] * np.diag(grad)[here].sum()
            if level < count - 1:
                nonzero = rho[level] if abs(rho[level]) > 1e-8 else 1e-8
                slopes[p + 2 * count + level] = (
                    2 * off[here].sum() * (1 - rho[level] ** 2) / nonzero
                )
        loss = 0.5 * y @ alpha + np.log(np.diag(root)).sum() + 0.5 * z @ z
        return float(loss), slopes + z / self._sd


def _matern(squares: Floats) -> tuple[Floats, Floats]:
    """Return Matern-5/2 of squared distances, and its derivative with respect to them."""
    r = np.sqrt(5 * np.maximum(squares, 1e-12))
    decay = np.exp(-r)
    return (1 + r + r * r / 3) * decay, -(5 / 6) * (1 + r) * decay


def spread(y: Floats, most: int = _MOST_FITTED) -> NDArray[np.intp]:
    """Return the places of at most so many scores: the best half, and of the others every n-th."""
    if len(y) <= most:
        return np.arange(len(y))
    order = np.argsort(-y, kind="stable")
    best, others = order[: most // 2], order[most // 2 :]
    places = np.linspace(0, len(others) - 1, most - len(best)).round().astype(int)
    return np.sort(np.r_[best, others[places]])
