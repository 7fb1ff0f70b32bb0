"""The parts of a space file beside parameters: objective, searcher, scheduler, confirmation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    StrictBool,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ltat_tune.attack_names import VALIDATION_PATTERN, WRITTEN, is_attack
from ltat_tune.numbers import Integer, Number, shown
from ltat_tune.parameters import unknown

GROUPS = ("balanced", "head", "body", "tail", "under", "well", "worst")
_METRIC = re.compile(rf"val/({VALIDATION_PATTERN})(?:_({'|'.join(GROUPS)}))?_acc")

_BUDGET = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(gpuh|h|min|epochs)\s*")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Objective(_Part):
    """What is maximised: an accuracy on the validation images.

    `metric` alone decides rungs, ranks and winners. The searcher also pushes what `also` names;
    a trial below a bound of `at_least` is infeasible and never wins.
    """

    metric: str = "val/pgd20_balanced_acc"
    mode: Literal["max"] = "max"
    also: tuple[str, ...] = ()
    at_least: dict[str, Number] = {}

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
    def values(self) -> tuple[str, ...]:
        """The metrics that the searcher pushes, the one that decides first."""
        return (self.metric, *self.also)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that must be measured, each once, the one that decides first."""
        return tuple(dict.fromkeys((*self.values, *self.at_least)))

    @property
    def attack(self) -> str:
        """`pgd20` of `val/pgd20_balanced_acc`."""
        return attack_of(self.metric)

    @property
    def group(self) -> str:
        """`balanced` of `val/pgd20_balanced_acc`; empty for all images alike."""
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
    """`pgd20` of `val/pgd20_balanced_acc`."""
    match = _METRIC.fullmatch(metric)
    assert match is not None
    return match.group(1)


def group_of(metric: str) -> str:
    """`balanced` of `val/pgd20_balanced_acc`; empty for all images alike."""
    match = _METRIC.fullmatch(metric)
    assert match is not None
    return match.group(2) or ""


class SearcherSpec(_Part):
    """How configurations are proposed, for each scenario.

    grid and list propose nothing: they run every combination, or the entries of `start_from`.
    The others draw their first trials at `random`, or spread them evenly: `qmc`, a scrambled
    Sobol sequence, which with the searcher `random` goes on to the end.
    """

    name: Literal["tpe", "random", "grid", "list", "gp", "cmaes", "nsga2", "nsga3"] = "tpe"
    trials: Integer = Field(20, ge=1, le=100000)
    seed: Integer = Field(0, ge=0, le=10**6)
    startup: Literal["random", "qmc"] = "random"
    # before anything is modelled, and nsga's generation; null: trials // 3, 1..10
    startup_trials: Integer | None = Field(None, ge=1)
    max_failures_in_a_row: Integer = Field(3, ge=1)
    branches: Integer = Field(1, ge=1, le=100)  # late parameters tried per set of early ones
    seeds_per_trial: Integer = Field(1, ge=1, le=100)  # a trial's score is their mean

    @property
    def enumerates(self) -> bool:
        """Whether the configurations are known beforehand."""
        return self.name in ("grid", "list")

    @property
    def random_trials(self) -> int:
        """Trials before anything is modelled; of nsga2 and nsga3 also the size of a generation."""
        return self.startup_trials or min(10, max(1, self.trials // 3))


class SchedulerSpec(_Part):
    """How weak trials are stopped early, and by what they are judged (study/rungs.py)."""

    name: Literal["asha", "hyperband", "median", "none"] = "asha"
    rungs: Literal["auto", "prefix", "copy", "probe"] = "auto"
    max_epochs: Integer | None = Field(None, ge=1)
    grace_epochs: Integer | None = Field(None, ge=1)  # null: where the first rung judges no noise
    reduction_factor: Number = Field(3.0, gt=1, le=100)
    probe_epochs: Integer = Field(3, ge=1, le=1000)
    # parameter -> its values in the copies, from the shortest; `attack.steps` alone so far.
    # null: the shortest copies train with a fifth of the steps (study/rungs.py), {}: none do
    fidelity: dict[Literal["attack.steps"], tuple[Integer, ...]] | None = None

    @field_validator("fidelity")
    @classmethod
    def _steps_rise(
        cls, fidelity: dict[Literal["attack.steps"], tuple[int, ...]] | None
    ) -> dict[Literal["attack.steps"], tuple[int, ...]] | None:
        for path, values in (fidelity or {}).items():
            if not values or min(values) < 1 or list(values) != sorted(values):
                raise ValueError(f"must give {path} whole numbers from 1 on that do not fall, "
                                 f"got {list(values)}")  # fmt: skip
        return fidelity

    @property
    def cheaper(self) -> dict[Literal["attack.steps"], tuple[int, ...]]:
        """`fidelity`, none where it is left open and not filled in yet."""
        return self.fidelity or {}


class ConfirmSpec(_Part):
    """How winners are retrained and, only then, measured on the test split.

    `sentinel` looks for gradient masking in each scenario's winner, with its first seed's weights.
    It is told and chooses nothing: the winner was chosen by validation before.
    """

    top: Integer = Field(1, ge=0, le=100)
    seeds: tuple[Integer, ...] = (0, 1, 2)
    attacks: tuple[str, ...] = ("clean", "pgd20", "aa")
    sentinel: StrictBool = True

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) > 2**31:
            raise ValueError(
                f"must be one or more different seeds from 0 to {2**31}, got {list(seeds)}"
            )
        return seeds

    @field_validator("attacks")
    @classmethod
    def _attacks_exist(cls, attacks: tuple[str, ...]) -> tuple[str, ...]:
        strange = [attack for attack in attacks if not is_attack(attack)]
        if strange or not attacks or len(set(attacks)) != len(attacks):
            raise ValueError(f"must be different attacks out of {WRITTEN}, got {list(attacks)}")
        return attacks


class ResourcesSpec(_Part):
    """What one trial takes of the machine, and how long it may be silent.

    `gpus_per_trial: auto` is measured before the first trial (study/sharing.py); until then it
    counts as a whole GPU.

    A training that reports no epoch for `hang_factor` times the usual seconds of one, and for
    `hang_floor_s` at least, is taken to hang: its worker is killed, and it is tried again.
    """

    cpus_per_trial: Integer = Field(1, ge=1)
    gpus_per_trial: Number = Field(0.0, ge=0)
    concurrency: Integer | None = Field(None, ge=1)  # null: as many trials at once as fit
    hang_factor: Number = Field(20.0, ge=2)
    hang_floor_s: Number = Field(600.0, ge=1)
    _measures_share: bool = PrivateAttr(False)

    @model_validator(mode="wrap")
    @classmethod
    def _auto_is_a_whole_gpu(
        cls, written: Any, handler: ModelWrapValidatorHandler[ResourcesSpec]
    ) -> ResourcesSpec:
        auto = isinstance(written, dict) and written.get("gpus_per_trial") == "auto"
        made = handler({**written, "gpus_per_trial": 1} if auto else written)
        made._measures_share = auto
        return made

    @property
    def measures_share(self) -> bool:
        """Whether `gpus_per_trial` is still to be measured."""
        return self._measures_share

    def with_share(self, gpus_per_trial: float) -> ResourcesSpec:
        """The same, once that is measured."""
        found = self.model_copy(update={"gpus_per_trial": gpus_per_trial})
        found._measures_share = False
        return found


@dataclass(frozen=True)
class Budget:
    """What a study may take: hours on the clock, hours of whole GPUs, or epochs."""

    amount: float
    unit: Literal["gpuh", "h", "epochs"]

    def __str__(self) -> str:
        return f"{self.amount:g}{self.unit}"


def parse_budget(written: Any) -> Budget:
    """Reads `6h`, `90min`, `40gpuh` or `500epochs`.

    Raises:
        ValueError: anything else, with what to write.
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


PARTS: dict[str, type[_Part]] = {
    "objective": Objective,
    "searcher": SearcherSpec,
    "scheduler": SchedulerSpec,
    "confirm": ConfirmSpec,
    "resources": ResourcesSpec,
}


def unknown_key(path: str) -> str:
    """The sentence for a path that is neither a parameter nor a key of the file."""
    part, _, field = path.partition(".")
    if part not in PARTS:
        return unknown(path)
    fields = list(PARTS[part].model_fields)
    close = get_close_matches(field, fields, n=1)
    hint = f"did you mean {part}.{close[0]}?" if close else f"{part} has {', '.join(fields)}"
    return f"unknown key {path}; {hint}"
