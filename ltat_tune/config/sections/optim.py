"""`optim.*`: the optimiser and its schedule."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from ltat_tune.config.fields import Section, documented
from ltat_tune.config.scalars import Integer, Number


class OptimConfig(Section):
    """SGD and its schedule. Times are shares of the run, so the schedule scales with `epochs`."""

    epochs: Integer = documented(
        80, "number of training epochs", ge=1, le=100000, also=("num_epochs", "max_epoch")
    )
    batch_size: Integer = documented(128, "number of images in a batch", ge=1, le=65536)
    lr: Number = documented(
        0.1, "peak learning rate", symbol="η", gt=0, le=100, also=("learning_rate",)
    )
    momentum: Number = documented(0.9, "SGD momentum", ge=0, lt=1)
    nesterov: bool = documented(
        False, "use of Nesterov momentum instead of plain momentum", strict=True
    )
    weight_decay: Number = documented(
        5e-4, "L2 penalty on all parameters", ge=0, le=10, also=("wd",)
    )
    lr_schedule: Literal[
        "multistep", "step", "piecewise", "cosine", "linear", "constant", "robal_release"
    ] = documented(
        "multistep",
        "learning rate after the warm-up: multistep multiplies it by lr_decay at each milestone;"
        " step does so after every step_fraction of the run; piecewise sets it to lr_factors at"
        " the milestones; cosine and linear let it fall to 0; constant keeps it; robal_release"
        " multiplies it in every epoch after a milestone, as RoBal's release does",
        also=("scheduler",),
        source="REAT 5; Cao2019LDAM, release (piecewise); RoBal release",
    )
    milestones: tuple[Number, ...] = documented(
        (0.75, 0.9375),
        "multistep, piecewise, robal_release: times at which the learning rate falls",
        unit="of optim.epochs",
        source="REAT 5 (60, 75 of 80)",
        also=("lr_steps",),
    )
    lr_decay: Number = documented(
        0.1, "multistep, step, robal_release: factor on the learning rate at each drop", gt=0, le=1
    )
    lr_factors: tuple[Number, ...] = documented(
        (0.1, 0.01),
        "piecewise: learning rate after each milestone, as a share of the peak",
        unit="of optim.lr",
        source="Cao2019LDAM, release (0.01, 0.0001)",
    )
    step_fraction: Number = documented(
        0.3,
        "step: time between two drops of the learning rate",
        unit="of optim.epochs",
        gt=0,
        le=1,
    )
    warmup_epochs: Integer = documented(
        0, "number of epochs with a linear warm-up", unit="epochs", ge=0
    )
    ema_decay: Number = documented(
        0.0,
        "decay, per step, of the exponential moving average of the weights, which is then "
        "validated and kept; 0 turns the average off",
        ge=0,
        lt=1,
        source="Gowal2020Uncovering 4.4 (0.995)",
        also=("ema",),
    )
    ema_epochs: Number = documented(
        0.0,
        "span of the moving average in epochs, instead of a decay per step: the decay is 1 - 1 / "
        "(ema_epochs * steps per epoch), so that the span does not depend on the number of images "
        "or the batch size; 0 turns this off",
        unit="epochs",
        ge=0,
        le=100000,
        source="0.9995 at 383 steps an epoch spans 5.2 epochs, at 97 steps 20.6",
    )
    ema_keep: Literal["average", "better"] = documented(
        "average",
        "weights that are validated and kept: those of the average, or the better of the average "
        "and the plain weights, each time that they are validated",
    )
    ema_statistics: Literal["averaged", "adversarial"] = documented(
        "averaged",
        "BatchNorm statistics of the average: averaged like the weights, or estimated again for "
        "each validation, on about 2,048 training images, augmented and attacked as in the "
        "training",
        source="Izmailov2018Averaging 3.2 (statistics of averaged weights)",
    )
    clip_norm: Number | None = documented(
        None, "largest L2 norm of the gradient; a longer gradient is scaled down to it; null does "
        "not clip", gt=0, le=1e6, also=("grad_clip", "max_grad_norm"),
    )  # fmt: skip

    @property
    def averages(self) -> bool:
        """Whether the weights are averaged over steps."""
        return self.ema_decay > 0 or self.ema_epochs > 0

    @property
    def keeps_better(self) -> bool:
        """Whether the better of the average and the plain weights is kept."""
        return self.averages and self.ema_keep == "better"

    @property
    def estimates_statistics(self) -> bool:
        """Whether the average's BatchNorm statistics are estimated again."""
        return self.averages and self.ema_statistics == "adversarial"

    @field_validator("milestones")
    @classmethod
    def _milestones_rise(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < point < 1 for point in value) or list(value) != sorted(set(value)):
            raise ValueError(f"must rise strictly inside (0, 1), got {list(value)}")
        return value

    @field_validator("lr_factors")
    @classmethod
    def _factors_are_positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(factor <= 0 for factor in value):
            raise ValueError(f"must all be > 0, got {list(value)}")
        return value
