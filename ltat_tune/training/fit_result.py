"""What a training tells of its epochs, and what it leaves in the end."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch gave. `epoch` counts completed epochs, from 1."""

    epoch: int
    metrics: dict[str, float]  # repeatable to the last digit
    seconds: float
    replayed: bool = False  # read back from a checkpoint, not trained now


@dataclass(frozen=True)
class FitResult:
    """A finished training: the kept weights and the metrics of the epoch they are from."""

    model: nn.Module  # as it is measured: averaged, scaled and adjusted where that is configured
    epoch: int
    metrics: dict[str, float]
    weights: str  # hash of the kept weights
    precision: str  # fp32 or bf16: what they were trained in
    per_class: dict[str, list[float | None]]  # `val/<attack>` -> recall of every class, (K,)
    predicted: list[list[int]]  # training images by predicted class, (epochs, K); REAT 4.1's n_i
    ae_distances: list[list[float | None]]  # see `AEDistances`, (epochs, K); empty: not recorded


@dataclass
class Kept:
    """The weights that `evaluation.select_epoch` keeps so far."""

    epoch: int = 0
    score: float = -math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)  # empty: the model's own are kept
    per_class: dict[str, list[float | None]] = field(default_factory=dict)
