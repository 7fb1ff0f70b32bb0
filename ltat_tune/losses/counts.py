"""The check of `samples_per_class` that all losses and weights share, and the log class prior."""

from __future__ import annotations

import torch
from torch import Tensor

from ltat_tune.errors import ConfigError


def checked_counts(samples_per_class: Tensor) -> Tensor:
    """Return a float64 copy of the class counts (K,) on their device.

    Raises:
        ConfigError: a class has no image, or the shape is not (K,).
    """
    if samples_per_class.ndim != 1 or samples_per_class.numel() == 0:
        shape = tuple(samples_per_class.shape)
        raise ConfigError(f"samples_per_class must have shape (K,), got shape {shape}")
    if not bool((samples_per_class >= 1).all()):
        counts = samples_per_class.tolist()
        raise ConfigError(f"`samples_per_class >= 1` must hold for every class, got {counts}")
    return samples_per_class.detach().to(torch.float64, copy=True)


def log_prior(counts: Tensor) -> Tensor:
    """Return ln(N_c / N_max), (K,): the log class prior up to a constant, 0 for equal counts."""
    return (counts / counts.max()).log()
