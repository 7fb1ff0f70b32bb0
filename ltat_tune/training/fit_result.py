"""The results that a training reports after each epoch and at its end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from ltat_tune.config.notebook import accuracies_text, html_table, text_lines
from ltat_tune.methods.fairness.class_state import ClassState


@dataclass(frozen=True, repr=False)
class EpochMetrics:
    """The metrics of one epoch. `epoch` counts completed epochs, from 1."""

    epoch: int
    metrics: dict[str, float]  # repeatable to the last digit
    seconds: float
    replayed: bool = False  # read back from a checkpoint, not trained now
    note: str = ""  # what the user should know of how the training computes

    def __repr__(self) -> str:
        how = "read back" if self.replayed else f"{self.seconds:.1f} s"
        return text_lines(
            f"epoch {self.epoch} ({how})",
            {"accuracies": accuracies_text(self.metrics, _percent), "note": self.note},
        )

    def _repr_html_(self) -> str:
        return _metrics_table(f"epoch {self.epoch}", self.metrics)


@dataclass(frozen=True, repr=False)
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
    class_state: ClassState = field(default_factory=ClassState)  # after the last epoch

    def __repr__(self) -> str:
        return text_lines(
            f"{type(self.model).__name__} of epoch {self.epoch}",
            {
                "weights": f"{self.weights} ({self.precision}, {self.arithmetic})",
                "accuracies": accuracies_text(self.metrics, _percent),
            },
        )

    def _repr_html_(self) -> str:
        return _metrics_table(f"weights {self.weights} of epoch {self.epoch}", self.metrics)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _metrics_table(caption: str, metrics: Mapping[str, float]) -> str:
    rows = [[n, f"{_percent(v)} %" if n.endswith("acc") else f"{v:.4g}"]
            for n, v in metrics.items()]  # fmt: skip
    return html_table(caption, ["metric", "value"], rows)


@dataclass
class Kept:
    """The weights that `evaluation.select_epoch` has selected so far."""

    epoch: int = 0
    score: float = -math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)  # empty: the model's current weights
    per_class: dict[str, list[float | None]] = field(default_factory=dict)
    answers: Tensor | None = None  # see `FitResult`; None in checkpoints of 0.4.0
