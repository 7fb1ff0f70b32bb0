"""Find the trials that began with the same weights, which alone can be averaged.

Two trainings from other weights at random end in other valleys, and their mean lies between them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ltat_tune.config.foreign.start import start_file
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.methods import needs_projection
from ltat_tune.search.stems import stem_of
from ltat_tune.space.space import Space
from ltat_tune.storage.training_files import read_complete
from ltat_tune.storage.trials import TrialRow

_SAME = ("model.", "data.", "evaluation.", "seeds.")  # what trials with one `model.init` share
_NO_STEM = "everything in it acts from the first epoch on"


@dataclass(frozen=True)
class Ingredient:
    """A trial that may be averaged.

    Attributes:
        number: the trial's.
        config: its configuration.
        folder: of its files.
        score: the objective's metric as its training measured it, a fraction.
    """

    number: int
    config: TrialConfig
    folder: Path
    score: float

    @property
    def name(self) -> str:
        """Its name in the study: `t0003`."""
        return f"t{self.number:04d}"

    @property
    def checkpoint(self) -> Path:
        """The file of its weights."""
        return self.folder / "checkpoint.pt"


@dataclass(frozen=True)
class SharedStarts:
    """The trials of one scenario, by what they began with.

    Attributes:
        groups: what they share, in words, and two or more trials, best first.
        left_out: name of a trial -> why it is in no group.
    """

    groups: list[tuple[str, list[Ingredient]]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def shared_start(config: TrialConfig) -> tuple[str, str] | None:
    """Return what a training begins with, in words and as a key; None if with weights of its own.

    Trainings with equal keys begin with the same weights: those of `model.init`, or those that the
    epochs before their late parameters act end with.
    """
    if config.model.init:
        same = {p: v for p, v in config.flat().items() if p.startswith(_SAME)}
        key = json.dumps([same, needs_projection(config)], sort_keys=True, default=str)
        return f"model.init {start_file(config.model.init)[0]}", key
    stem = stem_of(config, device="", threads=1)
    if stem is None:
        return None
    return f"a stem of {stem.epochs} epochs", stem.key


def find_shared(space: Space, scenario: str, rows: Sequence[TrialRow]) -> SharedStarts:
    """Return the trials of a scenario that can be averaged, and why the others cannot.

    Args:
        space: the study's space.
        scenario: its name.
        rows: trials of the study.
    """
    by_key: dict[str, tuple[str, list[Ingredient]]] = {}
    shared = SharedStarts()
    for row in rows:
        if row.scenario != scenario or row.state == "running":
            continue
        name = f"t{row.number:04d}"
        config = space.config(space.scenario(scenario), row.params)
        metrics, reason = _trained(row)
        start = shared_start(config)
        if not reason and start is None:
            reason = _NO_STEM
        if reason or start is None:
            shared.left_out[name] = reason
            continue
        score = metrics[space.objective.metric]
        group = by_key.setdefault(start[1], (start[0], []))[1]
        group.append(Ingredient(row.number, config, row.folder, score))
    for words, members in by_key.values():
        if len(members) == 1:
            shared.left_out[members[0].name] = f"no other trial shares its start ({words})"
        else:
            ranked = sorted(members, key=lambda one: (-one.score, one.number))
            shared.groups.append((words, ranked))
    return shared


def _trained(row: TrialRow) -> tuple[Mapping[str, float], str]:
    """Return the metrics of a trial, and why it cannot be averaged or an empty text."""
    if row.state != "complete":
        return {}, {"pruned": "it was stopped early"}.get(row.state, f"it {row.state}")
    if row.doubt:
        return {}, "its score is doubted"
    if not row.feasible:
        return {}, "it is below a bound of objective.at_least"
    trained = read_complete(row.folder)
    if trained is None or not (row.folder / "checkpoint.pt").exists():
        return {}, "its weights were deleted"
    return trained.metrics, ""
