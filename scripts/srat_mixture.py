"""SRAT's mixture of two Gaussians: its closed forms, and the same without them.

`srat_theory.py` compares the two and draws them. Class +1 is `well`, K times as frequent in
training, class -1 is `under` and weighs rho.

Source: Wang2022Imbalanced (SRAT), arXiv:2107.13639, section 3 and appendix A.3.
Deviations: those of `srat_theory.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import ndtr

Values = NDArray[np.float64]


class Errors(NamedTuple):
    """Share of wrong answers in each class, from 0 to 1."""

    under: float  # class -1
    well: float  # class +1

    def __str__(self) -> str:
        return f"({self.under:.3f}, {self.well:.3f})"


@dataclass(frozen=True)
class Mixture:
    """Class +1 is N(eta 1, sigma^2 I), class -1 is N(-eta 1, sigma^2 I) (SRAT Eq. 1)."""

    eta: float
    sigma: float
    dim: int

    @property
    def separability(self) -> float:
        """SRAT's S = eta / sigma^2. It has the unit of 1 / x: scaling all x changes it."""
        return self.eta / self.sigma**2

    @property
    def distance(self) -> float:
        """Half the distance of the means in standard deviations, sqrt(d) eta / sigma; no unit."""
        return math.sqrt(self.dim) * self.eta / self.sigma

    def attacked(self, eps: float) -> Mixture:
        """What an L-inf attack of radius eps < eta on the classifier w = 1 leaves: eta - eps."""
        if not 0 <= eps < self.eta:
            raise ValueError(f"0 <= eps < eta = {self.eta:g} must hold, got {eps:g}")
        return replace(self, eta=self.eta - eps)

    def draw(self, label: int, samples: int, generator: np.random.Generator) -> Values:
        """Samples of one class, (N, d)."""
        return generator.normal(label * self.eta, self.sigma, (samples, self.dim))


def optimal_bias(mixture: Mixture, ratio: float, weight: float = 1.0) -> float:
    """b of the best sign(1^T x - b), log(rho / K) sigma^2 / (2 eta) = log(rho / K) / (2 S).

    Here and below `ratio` is K, samples of class +1 for each of class -1, and `weight` is rho.
    """
    return math.log(weight / ratio) / (2 * mixture.separability)


def papers_bias(mixture: Mixture, ratio: float, weight: float = 1.0) -> float:
    """b as Lemma 3.1 prints it, log(rho / K) d / (2 S); right for d = 1 only."""
    return mixture.dim * optimal_bias(mixture, ratio, weight)


def errors_at(mixture: Mixture, bias: float) -> Errors:
    """Errors of sign(1^T x - b): 1^T x is N(-+ d eta, d sigma^2)."""
    spread = math.sqrt(mixture.dim) * mixture.sigma
    middle = mixture.dim * mixture.eta
    return Errors(float(ndtr((-middle - bias) / spread)), float(ndtr((bias - middle) / spread)))


def optimal_errors(distance: float, ratio: float, weight: float = 1.0) -> Errors:
    """Errors of the best classifier, Phi(-t -+ log(rho / K) / (2 t)) at distance t."""
    shift = math.log(weight / ratio) / (2 * distance)
    return Errors(float(ndtr(-distance - shift)), float(ndtr(-distance + shift)))


def gap(distance: float, ratio: float) -> float:
    """Theorem 3.1's quantity: error of class -1 minus that of class +1, without reweighting.

    Its derivative has the sign of -(K - 1) - (K + 1) log K / (2 t^2): it falls for every K > 1.
    """
    errors = optimal_errors(distance, ratio)
    return errors.under - errors.well


def harm(distance: float, ratio: float) -> float:
    """Theorem 3.2's quantity: what rho = K adds to the error of class +1.

    Its derivative is phi(t + a) (1 - log K / (2 t^2)) - phi(t) with a = log K / (2 t): below 0 for
    every K > 1.
    """
    return optimal_errors(distance, ratio, ratio).well - optimal_errors(distance, ratio).well


def risk(
    mixture: Mixture, w: Values, bias: float, ratio: float, weight: float, *,
    eps: float = 0.0, sigma_well: float | None = None,
) -> float:  # fmt: skip
    """SRAT Eq. 2, times 1 + K, of sign(w^T x - b) with w (d,).

    An L-inf attack of radius eps moves w^T x by eps |w|_1 to the wrong side. `sigma_well` gives
    class +1 a deviation of its own.
    """
    length = float(np.linalg.norm(w)) + 1e-12
    margin = mixture.eta * w.sum() - eps * np.abs(w).sum()
    under = ndtr((-margin - bias) / (mixture.sigma * length))
    well = ndtr((bias - margin) / ((sigma_well or mixture.sigma) * length))
    return float(weight * under + ratio * well)


def best_classifier(
    mixture: Mixture, ratio: float, weight: float, generator: np.random.Generator, *,
    eps: float = 0.0, starts: int = 8,
) -> tuple[Values, float]:  # fmt: skip
    """(w, b) of least `risk`, from random starts, scaled so that w has mean 1."""
    drawn = generator.uniform(0.2, 2.0, (starts, mixture.dim))
    found = [
        minimize(
            lambda v: risk(mixture, v[:-1], v[-1], ratio, weight, eps=eps), [*w, 0.0], tol=1e-9
        )
        for w in drawn
    ]
    best = min(found, key=lambda result: float(result.fun)).x
    return best[:-1] / best[:-1].mean(), float(best[-1] / best[:-1].mean())


def simulated_errors(
    mixture: Mixture, bias: float, samples: int, generator: np.random.Generator, eps: float = 0.0
) -> Errors:
    """Errors of sign(1^T x - b) counted on `samples` of each class, attacked within eps."""
    under = (mixture.draw(-1, samples, generator) + eps).sum(axis=1)
    well = (mixture.draw(1, samples, generator) - eps).sum(axis=1)
    return Errors(float((under > bias).mean()), float((well <= bias).mean()))


def learnt_errors(
    mixture: Mixture, ratio: float, weight: float, samples: int, generator: np.random.Generator
) -> Errors:
    """Errors at the threshold on 1^T x with the fewest weighted errors in one drawn set, counted
    in another."""
    under, well = (mixture.draw(label, samples, generator).sum(axis=1) for label in (-1, 1))
    scores = np.concatenate((under, well))
    order = np.argsort(scores)
    # Moving the threshold up past a sample of class -1 saves rho, past one of class +1 costs K.
    change = np.where(order < samples, -weight, ratio)
    bias = float(scores[order[np.cumsum(change).argmin()]])
    return simulated_errors(mixture, bias, samples, generator)
