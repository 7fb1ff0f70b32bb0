"""A checked space file, and the configurations of its trials."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ltat_tune.config.extensions import Plugin
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import LtatError, SpaceError
from ltat_tune.presentation.names import reached_note
from ltat_tune.space.domains import Domain, sampling_order
from ltat_tune.space.objective import Objective
from ltat_tune.space.resources import Budget, ResourcesSpec
from ltat_tune.space.spec import ConfirmSpec, SchedulerSpec, SearcherSpec

if TYPE_CHECKING:
    import optuna


_RATIO = "data.imbalance_ratio"
MANY = 4096  # the most contexts that are checked one by one

Proposal = tuple[Mapping[str, Any], TrialConfig]  # proposed values, and their configuration


@dataclass(frozen=True)
class Scenario:
    """One fixed problem inside a study.

    Attributes:
        name: what its folders and tags are called.
        values: path -> value of what it fixes.
        fixed: path -> value of what the whole study fixes.
    """

    name: str
    values: Mapping[str, Any]
    fixed: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    # training images by class, once they are known
    _counts: list[Sequence[int]] = field(default_factory=list, repr=False, compare=False)

    @property
    def title(self) -> str:
        """The human-readable title, such as `data.imbalance_ratio = 50 (53.33 reached)`."""
        return (
            ", ".join(f"{p} = {t}" for p, t in self.texts.items()) or f"the {self.name} scenario"
        )

    @property
    def texts(self) -> dict[str, str]:
        """Path -> value as text; an imbalance ratio has the one that the images reach beside it.

        The images are counted, not read. Where they are missing, the ratio stands alone.
        """
        texts = {path: text_of(value) for path, value in self.values.items()}
        if _RATIO in texts and (note := self._reached()):
            texts[_RATIO] += f" ({note})"
        return texts

    def counted(self, samples_per_class: Sequence[int]) -> Scenario:
        """Return the scenario with the class counts that a training recorded, if there are any."""
        return replace(self, _counts=[samples_per_class] if samples_per_class else [])

    def _reached(self) -> str:
        try:
            config = TrialConfig.from_flat({**self.fixed, **self.values})
            if not self._counts:
                from ltat_tune.data.sources import class_counts  # the import is slow

                self._counts.append(class_counts(config))
        except (LtatError, OSError):  # preflight tells what is missing or wrong
            return ""
        return reached_note(config.data, self._counts[0])


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
    document: Mapping[str, Any]  # as checked, with every --set in place; a resume reads it
    enumerated: tuple[Mapping[str, Any], ...] = ()  # every configuration of a grid or list
    # the points that a warm start takes, by scenario; tried after start_from
    warm_starts: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    # what a warm start learned, by scenario: trials of each earlier one, as (params, score)
    lent: Mapping[str, Sequence[Sequence[tuple[Mapping[str, Any], float]]]] = field(
        default_factory=dict
    )
    notes: tuple[str, ...] = field(default=())
    budget: Budget | None = None  # after which the search ends
    plugins: tuple[Plugin, ...] = ()  # loaded here and in every worker
    smoke: str = ""  # what a smoke run changed: its numbers mean nothing
    # the result of `configurations`, with the values that it was made of
    _made: list[Any] = field(default_factory=list, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": []}  # a worker needs none of it

    @property
    def max_epochs(self) -> int:
        """Epochs of a full training."""
        return self.config(self.scenarios[0], {}).optim.epochs

    @property
    def selected_on_test(self) -> bool:
        """Whether the validation images are the test images, as in the papers' protocol."""
        return any(self.config(s, {}).data.val_source == "test" for s in self.scenarios)

    @property
    def search_seeds(self) -> range:
        """The seeds that the search trains every configuration with."""
        first = self.config(self.scenarios[0], {}).seeds.seed
        return range(first, first + self.searcher.seeds_per_trial)

    @property
    def confirms_all(self) -> bool:
        """Whether every configuration is confirmed, so that the search chooses none of them."""
        searcher = self.searcher
        everyone = searcher.enumerates and self.confirm.top >= searcher.trials
        return everyone and self.scheduler.name == "none"

    @property
    def fresh_seeds(self) -> tuple[int, ...]:
        """The seeds of the confirmations whose trainings had no part in the search's choice."""
        used = range(0) if self.confirms_all else self.search_seeds
        return tuple(seed for seed in self.confirm_seeds if seed not in used)

    @property
    def confirm_seeds(self) -> tuple[int, ...]:
        """`confirm.seeds`, or the three seeds that follow those of the search."""
        if self.confirm.seeds is not None:
            return self.confirm.seeds
        after = self.search_seeds.stop
        return (after, after + 1, after + 2)

    @property
    def record(self) -> dict[str, Any]:
        """The document that a study keeps: what another version may choose is written out."""
        confirm = {**(self.document.get("confirm") or {}), "seeds": list(self.confirm_seeds)}
        searcher = {"name": self.searcher.name, **(self.document.get("searcher") or {})}
        if self.searcher.at_least is not None:
            searcher["at_least"] = dict(self.searcher.at_least)
        opinion = {"second_opinion": self.objective.second_opinion}
        objective = {**opinion, **(self.document.get("objective") or {})}
        kept = {
            **self.document, "objective": objective, "confirm": confirm, "searcher": searcher
        }  # fmt: skip
        if start := self.fixed.get("model.init"):  # whole path, and the digits of its content
            kept["fixed"] = {**self.document["fixed"], "model.init": start}
        return kept

    def scenario(self, name: str) -> Scenario:
        """Return the scenario of this name. Raise SpaceError if there is none."""
        for scenario in self.scenarios:
            if scenario.name == name:
                return scenario
        names = ", ".join(scenario.name for scenario in self.scenarios)
        raise SpaceError(f"study {self.name} has no scenario {name}; it has {names}")

    def config(
        self, scenario: Scenario, params: Mapping[str, Any], **replaced: Any
    ) -> TrialConfig:
        """Return the configuration of a trial: defaults, then fixed, scenario, proposed values."""
        return TrialConfig.from_flat({**self.fixed, **scenario.values, **params, **replaced})

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Ask Optuna for the value of every parameter that exists under the values before it."""
        params: dict[str, Any] = {}
        for path in sampling_order(self.tuned):
            if self.tuned[path].active(params):
                params[path] = self.tuned[path].suggest(trial)
        return params

    @property
    def configurations(self) -> tuple[tuple[Scenario, tuple[Proposal, ...]], ...]:
        """The contexts of every scenario, with their configurations.

        They are made once. All copies of this space that propose the same values share them.

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
        configurations: tuple[tuple[Scenario, tuple[Proposal, ...]], ...] = self._made[1]
        return configurations

    def contexts(self, limit: int = MANY) -> list[dict[str, Any]]:
        """Return every combination of categorical choices, with each range at its upper end.

        If there are more than `limit`, return a sample that is the same every time. For a grid or
        list, return its configurations.
        """
        if self.enumerated:
            return [dict(params) for params in self.enumerated]
        contexts: list[dict[str, Any]] = [{}]
        for path in sampling_order(self.tuned):
            domain = self.tuned[path]
            values = domain.choices if domain.kind == "categorical" else (_upper(domain),)
            contexts = [
                {**params, path: value} if domain.active(params) else params
                for params, value in itertools.product(contexts, values)
                if domain.active(params) or value == values[0]
            ]
            if len(contexts) > limit:
                contexts = random.Random(0).sample(contexts, limit)
        return contexts


def _upper(domain: Domain) -> float | int:
    return int(domain.high) if domain.kind == "int" else domain.high


def text_of(value: Any) -> str:
    """Return a value as text, such as `50`, `0.1` or `cat, dog`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(text_of, value))
    return "null" if value is None else str(value)


def settings_text(params: Mapping[str, Any]) -> str:
    """Return parameters with their values, such as `optim.lr 0.1, method.name trades`."""
    return ", ".join(f"{path} {text_of(value)}" for path, value in params.items())


def name_scenarios(
    axes: Mapping[str, list[Any]], fixed: Mapping[str, Any]
) -> tuple[Scenario, ...]:
    """Return the cross product of all axes, each named by its axes' last words and values."""
    if not axes:
        return (Scenario("default", {}, fixed),)
    scenarios: dict[str, Scenario] = {}
    for values in itertools.product(*axes.values()):
        pairs = dict(zip(axes, values, strict=True))
        words = [f"{p.rpartition('.')[2]}_{text_of(v)}" for p, v in pairs.items()]
        name = "-".join("".join(c if c.isalnum() or c in "_.-" else "_" for c in w) for w in words)
        name = name[:100]  # it names a folder
        if name in scenarios:  # values that differ only in their seventh digit, or in a space
            name = f"{name}-{len(scenarios) + 1}"
        scenarios[name] = Scenario(name, pairs, fixed)
    return tuple(scenarios.values())
