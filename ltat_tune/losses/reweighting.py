"""Class weights from class counts; when they begin is the trainer's affair."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ltat_tune.config.sections import ReweightConfig
from ltat_tune.losses.counts import checked_counts


def class_balanced(counts: Tensor, beta: float | None) -> Tensor:
    """max(E) / E_c with the effective number E = (1 - beta^N) / (1 - beta): (K,) -> (K,).

    Source: Cui2019Class Eq. 2, arXiv:1901.05555; anonymous2share/SRAT@daa8352 (`--reweight 78`);
        REAT 4.1 for the beta that depends on the data.
    Deviations: as SRAT's release, the most frequent class weighs 1; Cui et al. scale to sum K,
        which differs by a common factor only (cancels in a weighted mean, not in the focal loss).

    Args:
        counts: training images per class, shape (K,), float64.
        beta: in [0, 1); None is (N - 1) / N with N the sum of the counts.
    """
    # 1 - beta^N as -expm1(N log beta) keeps its digits when beta is near 1; 1 - beta cancels.
    # beta = 0 needs no case of its own: log 0 = -inf, so every E is 1.
    if beta is None:
        log_beta = torch.log1p(-1 / counts.sum())
    else:
        log_beta = torch.tensor(beta, dtype=counts.dtype, device=counts.device).log()
    effective = -torch.expm1(counts * log_beta)
    return effective.max() / effective


def inverse(counts: Tensor) -> Tensor:
    """max(N) / N_c: (K,) -> (K,)."""
    return counts.max() / counts


def inverse_sqrt(counts: Tensor) -> Tensor:
    """max(sqrt N) / sqrt(N_c): (K,) -> (K,)."""
    return inverse(counts).sqrt()


def under_represented(counts: Tensor, under_weight: float) -> Tensor:
    """`under_weight` for the K // 2 least frequent classes, 1 for the others: (K,) -> (K,).

    Source: SRAT section 3.1 and Fig. 5 (under- and well-represented halves). Of classes with equal
    counts, the later one is taken as the rarer, so that the half is always defined.
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
    """Weights (K,), float32, on the counts' device; None for `none`.

    Computed in float64: at beta near 1, float32 loses what makes the weights differ.

    Args:
        config: which weights.
        samples_per_class: training images per class, shape (K,), all >= 1.

    Raises:
        ConfigError: if a class has no images.
    """
    weights = REWEIGHTINGS[config.name](config, checked_counts(samples_per_class))
    return None if weights is None else weights.float()
