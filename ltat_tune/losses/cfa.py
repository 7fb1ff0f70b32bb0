"""CFA's radius and beta of each class, from the recalls of the epochs before."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def smoothed_recalls(
    correct: Sequence[Sequence[int]], samples_per_class: Tensor, smoothing: float
) -> Tensor:
    """Return t_c = smoothing * (t_c before) + (1 - smoothing) * correct_c / n_c, (K,) float64.

    Source: Wei2023CFA; PKU-ML/CFA@071f333 with a smoothing of 0.
    Deviations: the release divides by the mean count N / K, which is n_c on balanced data alone.

    Args:
        correct: training images that were answered right, by epoch and class, (E, K) with E > 0.
        samples_per_class: training images per class, shape (K,).
        smoothing: share of the earlier recall, in [0, 1).
    """
    counts = samples_per_class.double()
    first, *later = (
        torch.tensor(epoch, dtype=counts.dtype, device=counts.device) / counts for epoch in correct
    )
    for recalls in later:
        first = smoothing * first + (1 - smoothing) * recalls
    return first


def cfa_radii(recalls: Tensor, base: float, *, larger: str) -> Tensor:
    """Return the factor on the radius of each class, (K,): base + t_c, or base + 1 - t_c.

    Source: Wei2023CFA (CCM). `hard` turns the sign round, as DAFA and RobustLT have it.

    Args:
        recalls: t, shape (K,).
        base: lambda_1, > 0.
        larger: `easy` or `hard`, the classes that get the larger radius.
    """
    return base + (recalls if larger == "easy" else 1 - recalls)


def cfa_shares(factors: Tensor, beta: float) -> Tensor:
    """Return b_c = f_c beta / (1 + f_c beta), (K,): the KL's share of the loss of each class.

    Cross-entropy has the rest. With f = 1 for all classes the loss is that of TRADES / (1 + beta).

    Source: Wei2023CFA (CCR).

    Args:
        factors: f_c = lambda_2 + t_c, shape (K,); 1 before anything is known of the classes.
        beta: that of TRADES, >= 0.
    """
    return factors * beta / (1 + factors * beta)
