"""Class weights from class counts. The trainer decides when they begin."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ltat_tune.config.sections import ReweightConfig
from ltat_tune.losses.counts import checked_counts


def class_balanced(counts: Tensor, beta: float | None) -> Tensor:
    """Return max(E) / E_c, (K,), with the effective number E = (1 - beta^N) / (1 - beta).

    Source: Cui2019Class Eq. 2, arXiv:1901.05555; anonymous2share/SRAT@daa8352 (`--reweight 78`);
        REAT 4.1 for the beta that depends on the data.
    Deviations: the most frequent class weighs 1, as in SRAT's release. Cui et al. scale to the sum
        K, which differs by a common factor. It cancels in a weighted mean, but not in focal loss.

    Args:
        counts: training images per class, shape (K,), float64.
        beta: in [0, 1); None is (N - 1) / N where N is the sum of the counts.
    """
    # -expm1(N log beta) keeps the digits of 1 - beta^N when beta is near 1; 1 - beta cancels.
    # beta = 0 needs no case of its own: log 0 = -inf, so every E is 1.
    if beta is None:
        log_beta = torch.log1p(-1 / counts.sum())
    else:
        log_beta = torch.tensor(beta, dtype=counts.dtype, device=counts.device).log()
    effective = -torch.expm1(counts * log_beta)
    return effective.max() / effective


def inverse(counts: Tensor) -> Tensor:
    """Return max(N) / N_c: (K,) -> (K,)."""
    return counts.max() / counts


def inverse_sqrt(counts: Tensor) -> Tensor:
    """Return max(sqrt N) / sqrt(N_c): (K,) -> (K,)."""
    return inverse(counts).sqrt()


def under_represented(counts: Tensor, under_weight: float) -> Tensor:
    """Return `under_weight` for the K // 2 least frequent classes and 1 for the others, (K,).

    Of classes with equal counts the later one counts as rarer, so that the half is always defined.

    Source: SRAT section 3.1 and Fig. 5 (under- and well-represented halves).
    """
    order = torch.sort(counts, descending=True, stable=True).indices
    weights = torch.ones_like(counts)
    weights[order[len(counts) - len(counts) // 2 :]] = under_weight
    return weights


REWEIGHTINGS: dict[str, Callable[[ReweightConfig, Tensor], Tensor | None]] = {
    "none": lambda config, counts: None,
    "class_balanced": lambda config, counts: class_balanced(counts, config.beta),
    "inverse": lambda config, counts: inverse(counts),
    "inverse_sqrt": lambda config, counts: inverse_sqrt(counts),
    "under_represented": lambda config, counts: under_represented(counts, config.under_weight),
}


def class_weights(config: ReweightConfig, samples_per_class: Tensor) -> Tensor | None:
    """Return class weights (K,), float32, on the counts' device, or None for `none`.

    They are computed in float64: for beta near 1, float32 loses their differences.

    Args:
        config: the kind of weights and its parameters.
        samples_per_class: training images per class, shape (K,), all >= 1.

    Raises:
        ConfigError: a class has no images.
    """
    weights = REWEIGHTINGS[config.name](config, checked_counts(samples_per_class))
    return None if weights is None else weights.float()
