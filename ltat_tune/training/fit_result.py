"""The results that a training reports after each epoch and at its end."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True)
class EpochMetrics:
    """The metrics of one epoch. `epoch` counts completed epochs, from 1."""

    epoch: int
    metrics: dict[str, float]  # repeatable to the last digit
    seconds: float
    replayed: bool = False  # read back from a checkpoint, not trained now
    note: str = ""  # what the user should know of how the training computes


@dataclass(frozen=True)
class FitResult:
    """A finished training: the kept weights, and the metrics of the epoch that they come from."""

    model: nn.Module  # ready to measure: averaged, scaled and adjusted as configured
    epoch: int
    metrics: dict[str, float]
    weights: str  # hash of the kept weights
    precision: str  # of the training: fp32 or bf16
    arithmetic: str  # device and settings that trained, such as `NVIDIA H200, bf16, no TF32, ...`
    per_class: dict[str, list[float | None]]  # `val/<attack>` -> recall of every class, (K,)
    predicted: list[list[int]]  # training images by predicted class, (epochs, K); n_i of REAT 4.1
    ae_distances: list[list[float | None]]  # see `AEDistances`, (epochs, K); empty if not measured
    answers: Tensor | None = None  # validation images right under the validation attack, (N,) bool


@dataclass
class Kept:
    """The weights that `evaluation.select_epoch` has selected so far."""

    epoch: int = 0
    score: float = -math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)  # empty: the model's current weights
    per_class: dict[str, list[float | None]] = field(default_factory=dict)
    answers: Tensor | None = None  # see `FitResult`; None in checkpoints of 0.4.0
