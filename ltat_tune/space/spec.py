"""The parts of a space file beside parameters: objective, searcher, scheduler, confirmation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import (
    Field,
    StrictBool,
    field_validator,
)

from ltat_tune.config.attack_names import WRITTEN, is_attack
from ltat_tune.config.fields import Section
from ltat_tune.config.parameters import unknown_parameter
from ltat_tune.config.scalars import Integer, Number, shown
from ltat_tune.space.objective import Objective
from ltat_tune.space.resources import ResourcesSpec

_BUDGET = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(gpuh|h|min|epochs)\s*")


class SearcherSpec(Section):
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


class SchedulerSpec(Section):
    """How weak trials are stopped early, and by what they are judged (search/rungs.py)."""

    name: Literal["asha", "hyperband", "median", "none"] = "asha"
    rungs: Literal["auto", "prefix", "copy", "probe"] = "auto"
    max_epochs: Integer | None = Field(None, ge=1)
    grace_epochs: Integer | None = Field(None, ge=1)  # null: where the first rung judges no noise
    reduction_factor: Number = Field(3.0, gt=1, le=100)
    probe_epochs: Integer = Field(3, ge=1, le=1000)
    # parameter -> its values in the copies, from the shortest; `attack.steps` alone so far.
    # null: the shortest copies train with a fifth of the steps (search/rungs.py), {}: none do
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


class ConfirmSpec(Section):
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


PARTS: dict[str, type[Section]] = {
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
        return unknown_parameter(path)
    fields = list(PARTS[part].model_fields)
    close = get_close_matches(field, fields, n=1)
    hint = f"did you mean {part}.{close[0]}?" if close else f"{part} has {', '.join(fields)}"
    return f"unknown key {path}; {hint}"
