"""The section `resources` of a space file, and the limit of a study, such as `budget: 6h`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ModelWrapValidatorHandler, PrivateAttr, model_validator

from ltat_tune.config.fields import Section, documented
from ltat_tune.config.scalars import Integer, Number, shown

BUDGET = r"\s*([0-9]*\.?[0-9]+)\s*(gpuh|h|min|epochs)\s*"
_BUDGET = re.compile(BUDGET)


class ResourcesSpec(Section):
    """The CPU cores and the GPU share of one trial, and when a silent trial counts as hanging.

    `gpus_per_trial: auto` is measured before the first trial (planning/gpu_sharing.py); until
    then it counts as a whole GPU.

    A training hangs if it ends no batch for `hang_factor` times the usual seconds of an epoch,
    and for at least `hang_floor_s`. Its worker is killed, and the training is tried again.
    """

    cpus_per_trial: Integer = documented(1, "CPU cores, and threads, of each trial", ge=1)
    gpus_per_trial: Number = documented(
        0.0,
        "share of a GPU that each trial takes, or whole GPUs; 0 trains on the CPU; auto measures "
        "before the first trial how many trainings share a GPU best",
        words=("auto",), ge=0,
    )  # fmt: skip
    concurrency: Integer | None = documented(
        None, "trials that run at once; null is as many as fit on the machine", ge=1
    )
    hang_factor: Number = documented(
        20.0,
        "a training hangs if it ends no batch for this many times the usual seconds of an "
        "epoch; its worker is killed, and the training is tried again",
        ge=2,
    )
    hang_floor_s: Number = documented(
        600.0, "a training that has been silent for less than this never counts as hanging",
        unit="seconds", ge=1,
    )  # fmt: skip
    mirrors: tuple[Literal["tensorboard", "wandb"], ...] = documented(
        (), "where copies of what MLflow gets go: tensorboard (event files in the study's "
        "folder), wandb (Weights & Biases; offline unless WANDB_MODE says otherwise)",
    )  # fmt: skip
    _measures_share: bool = PrivateAttr(False)

    @model_validator(mode="wrap")
    @classmethod
    def _auto_is_a_whole_gpu(
        cls, written: Any, handler: ModelWrapValidatorHandler[ResourcesSpec]
    ) -> ResourcesSpec:
        auto = isinstance(written, dict) and written.get("gpus_per_trial") == "auto"
        spec = handler({**written, "gpus_per_trial": 1} if auto else written)
        spec._measures_share = auto
        return spec

    @property
    def measures_share(self) -> bool:
        """Whether `gpus_per_trial` is still to be measured."""
        return self._measures_share

    def with_share(self, gpus_per_trial: float) -> ResourcesSpec:
        """Return a copy with the measured share of a GPU."""
        spec = self.model_copy(update={"gpus_per_trial": gpus_per_trial})
        spec._measures_share = False
        return spec


def fitting(cpus: float, gpus: float, resources: ResourcesSpec) -> int:
    """Return how many tasks fit on one machine at once; a task's share lies on one GPU."""
    fit = int(cpus // resources.cpus_per_trial)
    share = resources.gpus_per_trial
    if share >= 1:
        fit = min(fit, int(gpus // share))
    elif share > 0:
        fit = min(fit, int(gpus) * int(1 / share + 1e-9))
    return fit


@dataclass(frozen=True)
class Budget:
    """The limit of a study: hours on the clock, hours of whole GPUs, or epochs."""

    amount: float
    unit: Literal["gpuh", "h", "epochs"]

    def __str__(self) -> str:
        return f"{self.amount:g}{self.unit}"


def parse_budget(written: Any) -> Budget:
    """Read a budget such as `6h`, `90min`, `40gpuh` or `500epochs`.

    Raises:
        ValueError: it is none of these; the message says what to write.
    """
    match = _BUDGET.fullmatch(written) if isinstance(written, str) else None
    if match is None or float(match.group(1)) <= 0:
        raise ValueError(
            "budget must be an amount above 0 and its unit, such as 6h, 90min, 40gpuh or "
            f"500epochs, got {shown(written)}"
        )
    amount, unit = float(match.group(1)), match.group(2)
    if unit == "min":
        return Budget(amount / 60, "h")
    return Budget(amount, unit)  # type: ignore[arg-type]
