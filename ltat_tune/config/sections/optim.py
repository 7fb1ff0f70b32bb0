"""`optim.*`: the optimiser and its schedule."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from ltat_tune.config.fields import Section, documented
from ltat_tune.config.scalars import Integer, Number


class OptimConfig(Section):
    """SGD and its schedule; fractions of the run, so that it scales with `epochs`."""

    epochs: Integer = documented(80, "epochs", ge=1, le=100000, also=("num_epochs", "max_epoch"))
    batch_size: Integer = documented(128, "images in a batch", ge=1, le=65536)
    lr: Number = documented(
        0.1, "peak learning rate", symbol="η", gt=0, le=100, also=("learning_rate",)
    )
    momentum: Number = documented(0.9, "SGD momentum", ge=0, lt=1)
    nesterov: bool = documented(False, "Nesterov momentum", strict=True)
    weight_decay: Number = documented(
        5e-4, "L2 penalty on all parameters", ge=0, le=10, also=("wd",)
    )
    lr_schedule: Literal[
        "multistep", "step", "piecewise", "cosine", "linear", "constant", "robal_release"
    ] = documented(
        "multistep",
        "how the learning rate falls after the warm-up: times lr_decay at each milestone, or every"
        " step_fraction of the run; to lr_factors at the milestones; as a cosine or a line to 0;"
        " not at all; or as RoBal's release does, which multiplies in every epoch after a"
        " milestone",
        also=("scheduler",),
        source="REAT 5; Cao2019LDAM, release (piecewise); RoBal release",
    )
    milestones: tuple[Number, ...] = documented(
        (0.75, 0.9375),
        "multistep, piecewise, robal_release: where the rate falls",
        unit="of optim.epochs",
        source="REAT 5 (60, 75 of 80)",
        also=("lr_steps",),
    )
    lr_decay: Number = documented(
        0.1, "multistep, step, robal_release: factor at each fall", gt=0, le=1
    )
    lr_factors: tuple[Number, ...] = documented(
        (0.1, 0.01),
        "piecewise: rate after each milestone, as a share of the peak",
        unit="of optim.lr",
        source="Cao2019LDAM, release (0.01, 0.0001)",
    )
    step_fraction: Number = documented(
        0.3, "step: length between two falls", unit="of optim.epochs", gt=0, le=1
    )
    warmup_epochs: Integer = documented(0, "epochs of linear warm-up", unit="epochs", ge=0)
    ema_decay: Number = documented(
        0.0,
        "decay of the exponential moving average of the weights, a step at a time, which is what "
        "is validated and kept; 0 is none",
        ge=0,
        lt=1,
        source="Gowal2020Uncovering 4.4 (0.995)",
        also=("ema",),
    )
    clip_norm: Number | None = documented(
        None, "largest L2 norm of the gradient; null does not clip", gt=0, le=1e6,
        also=("grad_clip", "max_grad_norm"),
    )  # fmt: skip

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
