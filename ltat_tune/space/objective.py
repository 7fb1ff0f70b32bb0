"""The section `objective` of a space file: the metric that decides, and further metrics."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import StrictBool, ValidationInfo, field_validator

from ltat_tune.config.attack_names import VALIDATION_PATTERN
from ltat_tune.config.fields import Section, documented
from ltat_tune.config.scalars import Number

GROUPS = ("balanced", "head", "body", "tail", "under", "well", "worst")
METRIC = rf"val/({VALIDATION_PATTERN})(?:_({'|'.join(GROUPS)}))?_acc"
_METRIC = re.compile(METRIC)
_MEASURED = re.compile(rf"(?:val|test)/(.+?)(?:_({'|'.join(GROUPS)}))?_acc")


class Objective(Section):
    """The accuracy on the validation images that the study maximises.

    `metric` alone decides rungs, ranks and winners. The searcher also maximises those in `also`;
    a trial below a bound of `at_least` is infeasible and never wins.
    """

    metric: str = documented(
        "val/pgd20_balanced_acc",
        "the validation accuracy that decides rungs, ranks and winners: val/<attack>_acc or "
        f"val/<attack>_<group>_acc; groups of classes are {', '.join(GROUPS)}",
    )
    mode: Literal["max"] = documented("max", "the metric is maximised; there is no other mode")
    also: tuple[str, ...] = documented(
        (), "further metrics that the searcher maximises; they choose no winner"
    )
    at_least: dict[str, Number] = documented(
        {},
        "lower bounds, such as {val/clean_acc: 0.75}; a trial below one of them never wins",
    )
    second_opinion: StrictBool = documented(
        True,
        "attack some validation images in another way when a training ends; a trial whose score "
        "is too good to be true then counts with what is left of it, and ranks behind all others",
    )

    @field_validator("metric")
    @classmethod
    def _is_validation_accuracy(cls, metric: str) -> str:
        return _checked(metric)

    @field_validator("also")
    @classmethod
    def _are_other_accuracies(cls, also: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for metric in also:
            _checked(metric)
        if len(set(also)) != len(also) or info.data.get("metric") in also:
            raise ValueError(
                "must be different metrics, and none of them objective.metric itself, got "
                f"{', '.join(also)}"
            )
        return also

    @field_validator("at_least")
    @classmethod
    def _are_bounds(cls, at_least: dict[str, float]) -> dict[str, float]:
        for metric, bound in at_least.items():
            _checked(metric)
            if not 0 < bound <= 1:
                hint = f"; did you mean {bound / 100:g}?" if 1 < bound <= 100 else ""
                raise ValueError(
                    f"must hold accuracies above 0 and at most 1, got {metric}: {bound:g}{hint}"
                )
        return at_least

    @property
    def is_checked(self) -> bool:
        """Whether trainings get a second opinion; a clean accuracy needs none."""
        return self.second_opinion and self.attack != "clean"

    @property
    def values(self) -> tuple[str, ...]:
        """The metrics that the searcher maximises; the first one decides."""
        return (self.metric, *self.also)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that must be measured, each once; the first one decides."""
        return tuple(dict.fromkeys((*self.values, *self.at_least)))

    @property
    def attack(self) -> str:
        """The attack of the metric: `pgd20` of `val/pgd20_balanced_acc`."""
        return attack_of(self.metric)

    @property
    def group(self) -> str:
        """The group of the metric: `balanced` of `val/pgd20_balanced_acc`; empty if none."""
        return group_of(self.metric)


def _checked(metric: str) -> str:
    if metric.startswith("test/"):
        raise ValueError(
            "must be a validation metric, because the test images are looked at once, at "
            f"the end; got {metric}, write val/{metric[5:]}"
        )
    if not _METRIC.fullmatch(metric):
        raise ValueError(
            "must be val/<attack>_acc or val/<attack>_<group>_acc with attack clean, "
            f"pgd<steps> or cw<steps> and group one of {', '.join(GROUPS)}, got {metric!r}"
        )
    return metric


def attack_of(metric: str) -> str:
    """Return the attack of a metric: `pgd20` of `val/pgd20_balanced_acc` or of `test/...`."""
    match = _MEASURED.fullmatch(metric)
    assert match is not None
    return match.group(1)


def group_of(metric: str) -> str:
    """Return the group of a metric: `balanced` of `val/pgd20_balanced_acc`; empty if none."""
    match = _MEASURED.fullmatch(metric)
    assert match is not None
    return match.group(2) or ""
