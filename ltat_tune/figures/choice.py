"""Chooses the trained models that a figure shows: those of the paper, on one data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import MissingData
from ltat_tune.figures.sources import Recipe, Sources
from ltat_tune.presentation.names import data_name
from ltat_tune.storage.trained_run import Run


@dataclass(frozen=True)
class Wanted:
    """A model of the paper's figure."""

    label: str
    fits: Callable[[TrialConfig], bool]


@dataclass(frozen=True)
class Chosen:
    """The models of one figure, in the paper's order, with notes for the reader."""

    models: tuple[tuple[str, Recipe], ...]  # not empty
    notes: tuple[str, ...]

    @property
    def recipes(self) -> list[Recipe]:
        """The models without their names."""
        return [recipe for _, recipe in self.models]

    @property
    def data(self) -> str:
        """Name of the data of the last model: the long-tailed data, if they differ."""
        recipe = self.models[-1][1]
        return data_name(recipe.config.data, recipe.first.samples_per_class)


def choose(
    sources: Sources,
    wanted: Sequence[Wanted],
    *,
    paper: str,
    has: Callable[[Run], bool] = lambda run: True,
    has_what: str = "",
    same_profile: bool = True,
) -> Chosen:
    """Return the best model of each kind, on the data set that has most of the kinds.

    Among data sets with equally many, the paper's own wins, then the first.

    Args:
        sources: everything that was trained.
        wanted: the paper's models.
        paper: the paper's data, as `data_name` writes it.
        has: whether a run holds what the figure needs.
        has_what: the same in words, for the message: `predictions by epoch`.
        same_profile: whether all models must be trained on the same counts.

    Raises:
        MissingData: there is none of the models.
    """
    fitting: dict[tuple[Any, ...], dict[str, list[Recipe]]] = {}
    lacking: list[str] = []
    for recipe in sources.recipes:
        for kind in wanted:
            if not kind.fits(recipe.config):
                continue
            if not has(recipe.first):
                lacking.append(recipe.first.name)
                continue
            together = fitting.setdefault(_setting(recipe.config, same_profile), {})
            together.setdefault(kind.label, []).append(recipe)
    names = " or ".join(kind.label for kind in wanted)
    if not fitting:
        if lacking:
            raise MissingData(f"{has_what} of {lacking[0]}")
        raise MissingData(f"a trained {names}")
    best = max(
        fitting.values(),
        key=lambda kinds: (len(kinds), any(_on(r, paper) for rs in kinds.values() for r in rs)),
    )
    models = tuple(
        (kind.label, max(best[kind.label], key=_standing)) for kind in wanted if kind.label in best
    )
    absent = [kind.label for kind in wanted if kind.label not in best]
    notes = [f"without {' and '.join(absent)}"] if absent else []
    return Chosen(models, tuple(notes))


def _setting(config: TrialConfig, same_profile: bool) -> tuple[Any, ...]:
    data = config.data
    counts = (data.profile, data.imbalance_ratio, data.counts) if same_profile else ()
    return data.name, data.root, data.classes, config.model.name, *counts


def _on(recipe: Recipe, paper: str) -> bool:
    return data_name(recipe.config.data) == paper


def _standing(recipe: Recipe) -> tuple[int, float]:
    """Return a sort key: more seeds first, then the better validation score."""
    return len(recipe.runs), recipe.score
