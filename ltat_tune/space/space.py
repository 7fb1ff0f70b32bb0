"""The space file: read, checked as a whole, and turned into trials' configurations."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ltat_tune.config.extensions import Plugin
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.space.domains import Domain, sampling_order
from ltat_tune.space.objective import Objective
from ltat_tune.space.resources import ResourcesSpec
from ltat_tune.space.spec import Budget, ConfirmSpec, SchedulerSpec, SearcherSpec

if TYPE_CHECKING:
    import optuna


MANY = 4096  # contexts that are looked at one by one

Proposal = tuple[Mapping[str, Any], TrialConfig]  # what is proposed, and what it trains


@dataclass(frozen=True)
class Scenario:
    """One fixed problem inside a study; `name` is used for folders, tags and titles."""

    name: str
    values: Mapping[str, Any]

    @property
    def title(self) -> str:
        """`data.imbalance_ratio = 50`, for people."""
        return (
            ", ".join(f"{p} = {text_of(v)}" for p, v in self.values.items()) or "the only scenario"
        )


@dataclass(frozen=True)
class Space:
    """A checked space file."""

    name: str
    objective: Objective
    fixed: Mapping[str, Any]
    scenarios: tuple[Scenario, ...]
    tuned: Mapping[str, Domain]
    start_from: tuple[Mapping[str, Any], ...]
    searcher: SearcherSpec
    scheduler: SchedulerSpec
    confirm: ConfirmSpec
    resources: ResourcesSpec
    document: Mapping[str, Any]  # as checked, with every --set in place: what a resume reads
    enumerated: tuple[Mapping[str, Any], ...] = ()  # of a grid or list: every configuration
    # by scenario, the points that an earlier study lends; tried after start_from
    warm_starts: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=())
    budget: Budget | None = None  # after which the search ends
    plugins: tuple[Plugin, ...] = ()  # whose code is in the tables, here and in every worker
    smoke: str = ""  # what a smoke run changed: its numbers mean nothing
    # what `configurations` made, with the values it was made of
    _made: list[Any] = field(default_factory=list, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": []}  # a worker needs none of it

    @property
    def max_epochs(self) -> int:
        """Epochs of a full training."""
        return self.config(self.scenarios[0], {}).optim.epochs

    @property
    def selected_on_test(self) -> bool:
        """Whether validation images are test images: the papers' protocol, marked everywhere."""
        return any(self.config(s, {}).data.val_source == "test" for s in self.scenarios)

    def scenario(self, name: str) -> Scenario:
        """The scenario of this name."""
        return next(s for s in self.scenarios if s.name == name)

    def config(
        self, scenario: Scenario, params: Mapping[str, Any], **replaced: Any
    ) -> TrialConfig:
        """The configuration of one trial: defaults, then fixed, scenario and proposed values."""
        return TrialConfig.from_flat({**self.fixed, **scenario.values, **params, **replaced})

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Asks Optuna for every parameter that exists under those asked before it."""
        params: dict[str, Any] = {}
        for path in sampling_order(self.tuned):
            if self.tuned[path].active(params):
                params[path] = self.tuned[path].suggest(trial)
        return params

    @property
    def configurations(self) -> tuple[tuple[Scenario, tuple[Proposal, ...]], ...]:
        """Of every scenario, the contexts and their configurations.

        They are made once, and shared by all copies of this space that propose the same.

        Raises:
            ConfigError: a context breaks a rule.
        """
        values = (self.fixed, self.scenarios, self.tuned, self.enumerated)
        if not self._made or any(a is not b for a, b in zip(self._made[0], values, strict=True)):
            contexts = self.contexts()
            proposals = tuple(
                (scenario, tuple((params, self.config(scenario, params)) for params in contexts))
                for scenario in self.scenarios
            )
            self._made[:] = [values, proposals]
        made: tuple[tuple[Scenario, tuple[Proposal, ...]], ...] = self._made[1]
        return made

    def contexts(self, limit: int = MANY) -> list[dict[str, Any]]:
        """Every combination of categorical choices, with each range at its upper end.

        Of more than `limit`, a sample that is the same every time. Of a grid or list, what it
        runs.
        """
        if self.enumerated:
            return [dict(params) for params in self.enumerated]
        found: list[dict[str, Any]] = [{}]
        for path in sampling_order(self.tuned):
            domain = self.tuned[path]
            values = domain.choices if domain.kind == "categorical" else (_upper(domain),)
            found = [
                {**params, path: value} if domain.active(params) else params
                for params, value in itertools.product(found, values)
                if domain.active(params) or value == values[0]
            ]
            if len(found) > limit:
                found = random.Random(0).sample(found, limit)
        return found


def _upper(domain: Domain) -> float | int:
    return int(domain.high) if domain.kind == "int" else domain.high


def text_of(value: Any) -> str:
    """A value as people write it: `50`, `0.1`, `cat, dog`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(text_of, value))
    return "null" if value is None else str(value)


def name_scenarios(axes: Mapping[str, list[Any]]) -> tuple[Scenario, ...]:
    """The cross product of all axes, named by the last words of their paths and the values."""
    if not axes:
        return (Scenario("default", {}),)
    scenarios: dict[str, Scenario] = {}
    for values in itertools.product(*axes.values()):
        pairs = dict(zip(axes, values, strict=True))
        words = [f"{p.rpartition('.')[2]}_{text_of(v)}" for p, v in pairs.items()]
        name = "-".join("".join(c if c.isalnum() or c in "_.-" else "_" for c in w) for w in words)
        name = name[:100]  # it is a folder
        if name in scenarios:  # values that differ only in their seventh digit, or in a space
            name = f"{name}-{len(scenarios) + 1}"
        scenarios[name] = Scenario(name, pairs)
    return tuple(scenarios.values())
