"""NumPy float64 references: central differences, softmax, cross-entropy, divergence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def central_differences(
    function: Callable[[Array], float], at: Array, step: float = 1e-5
) -> Array:
    """The gradient of a scalar function by (f(x + h) - f(x - h)) / 2h, entry by entry."""
    gradient = np.zeros_like(at)
    for index in np.ndindex(*at.shape):
        above, below = at.copy(), at.copy()
        above[index] += step
        below[index] -= step
        gradient[index] = (function(above) - function(below)) / (2 * step)
    return gradient


def log_softmax(logits: Array) -> Array:
    """Row-wise, written out."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def cross_entropies(logits: Array, targets: Sequence[int], smoothing: float = 0.0) -> Array:
    """Of each row, (N,): minus the smoothed target times the log-softmax."""
    n, k = logits.shape
    wanted = np.full((n, k), smoothing / k)
    for i, target in enumerate(targets):
        wanted[i, target] += 1 - smoothing
    losses: Array = -(wanted * log_softmax(logits)).sum(axis=1)
    return losses


def divergence(p: Array, q: Array) -> float:
    """KL(p || q) of two distributions, (D,) each."""
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))


def rounded(values: Array) -> Array:
    """Through float32, as buffers are kept; the rounding belongs to them, not to a formula."""
    return values.astype(np.float32).astype(np.float64)
