"""DAFA's class weights, from the classes that a model takes for each other."""

from __future__ import annotations

import torch
from torch import Tensor

_HALVINGS = 60


def dafa_weights(confusion: Tensor, strength: float) -> Tensor:
    """Return W_i = 1 + strength (sum of gains - sum of losses), (K,) float64 with sum K.

    Of two classes the harder one, i with S_ii < S_jj, gains S_ij S_jj, and the easier one loses
    the same. Ties exchange nothing.

    Source: Lee2024DAFA Algorithm 2.
    Deviations: the release lets both classes of a tie lose. Around PGD-AT it steps and projects a
        second time without weights, so that a radius above eps - step_size is eps; only its TRADES
        has a radius for each class, and here both have.

    Args:
        confusion: S, the mean softmax of the images of each class (row), shape (K, K).
        strength: lambda, no unit, >= 0.
    """
    confusion = confusion.double()
    right = confusion.diagonal()
    gains = confusion * right * (right[:, None] < right)
    return 1 + strength * (gains.sum(dim=1) - gains.sum(dim=0))


def bounded_weights(weights: Tensor, low: float, high: float) -> Tensor:
    """Return the nearest weights (K,) that lie in [low, high] and have the sum K.

    These are the weights plus one number, cut to the bounds. Weights that already fulfil both are
    returned unchanged.

    Args:
        weights: shape (K,), with any sum.
        low: at most 1.
        high: at least 1.
    """
    weights, wanted = weights.double(), float(len(weights))
    if bool(((weights >= low) & (weights <= high)).all()) and weights.sum().isclose(
        weights.new_tensor(wanted), rtol=1e-12, atol=0
    ):
        return weights
    least, most = low - weights.max(), high - weights.min()  # all at low, all at high
    for _ in range(_HALVINGS):
        middle = (least + most) / 2
        above = (weights + middle).clamp(low, high).sum() > wanted
        least, most = torch.where(above, least, middle), torch.where(above, middle, most)
    return (weights + (least + most) / 2).clamp(low, high)
