"""NumPy float64 references: central differences, log-softmax."""

from __future__ import annotations

from collections.abc import Callable

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
