"""Reads what trainings left on disk into plain dataclasses; no figure reads a file itself."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import StudyError
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.trained_run import Run, RunT, Split, read_run


@dataclass(frozen=True)
class Recipe:
    """One configuration with all its seeds: the confirmations, or else the trials."""

    runs: tuple[Run, ...]  # by seed; not empty

    @property
    def config(self) -> TrialConfig:
        """The configuration of the first seed."""
        return self.runs[0].config

    @property
    def first(self) -> Run:
        """The run of the lowest seed, for figures that show one model alone."""
        return self.runs[0]

    def over_seeds(self, value: Callable[[Run], float]) -> tuple[float, float]:
        """Return the mean and the sample standard deviation over seeds (0 for one seed)."""
        values = [value(run) for run in self.runs]
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0

    @property
    def score(self) -> float:
        """The balanced accuracy under the validation attack, averaged over the seeds."""
        name = f"val/{self.config.evaluation.val_attack}_balanced_acc"
        return self.over_seeds(lambda run: run.metrics.get(name, 0.0))[0]


def common_split(recipes: Iterable[Recipe], attack: str) -> Split:
    """Return the split on which recipes can be compared: test if all their seeds were tested."""
    runs = [run for recipe in recipes for run in recipe.runs]
    return "test" if all(f"test/{attack}" in run.per_class for run in runs) else "val"


@dataclass(frozen=True)
class Sources:
    """Everything that the targets hold, and how figures run models."""

    runs: tuple[Run, ...]
    device: str = "cpu"
    images: int = 1000  # class-balanced test images for figures that run models
    root: str | None = None  # folder of official files, for figures that count them without a run
    _known: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: tuple[object, ...], compute: Callable[[], RunT]) -> RunT:
        """Return the result of `compute`, which runs at most once for this key."""
        if key not in self._known:
            self._known[key] = compute()
        value: RunT = self._known[key]
        return value

    @property
    def scenarios(self) -> list[str]:
        """The scenarios of the runs."""
        return list(dict.fromkeys(run.scenario for run in self.runs if run.scenario))

    def of_scenarios(self, names: Sequence[str]) -> Sources:
        """Return the sources with the runs of these scenarios alone."""
        chosen = tuple(run for run in self.runs if run.scenario in names)
        return replace(self, runs=chosen, _known={})

    @cached_property
    def recipes(self) -> list[Recipe]:
        """Runs by study, scenario and configuration; confirmations replace their trials."""
        together: dict[tuple[str, str, str], list[Run]] = {}
        for run in self.runs:
            together.setdefault((run.study, run.scenario, run.config.recipe), []).append(run)
        recipes = []
        for alike in together.values():
            confirmed = [run for run in alike if run.kind == "confirmation"]
            seeds = {run.seed: run for run in confirmed or alike}
            recipes.append(Recipe(tuple(seeds[seed] for seed in sorted(seeds))))
        return recipes

    def where(self, **values: Any) -> list[Recipe]:
        """Return the recipes with these values, such as `where(**{"method.name": "reat"})`."""
        return [
            recipe
            for recipe in self.recipes
            if all(recipe.config.get(path) == value for path, value in values.items())
        ]


def read_sources(
    targets: Iterable[Path], *, device: str = "cpu", images: int = 1000, root: str | None = None
) -> Sources:
    """Read all finished trainings in study folders, and in folders of single trainings.

    Raises:
        StudyError: a target is neither, or nothing in it is finished.
    """
    runs: list[Run] = []
    for target in targets:
        trainings = _of_study(target) if (target / "study.json").exists() else _of_run(target)
        runs += trainings
    once = {run.path.resolve(): run for run in runs}
    return Sources(tuple(once.values()), device, images, root)


def _of_study(root: Path) -> list[Run]:
    folder = StudyFolder.open(root)
    paths: Sequence[Path] = sorted(folder.root.glob("trials/*/*")) + sorted(
        folder.root.glob("confirmations/*/*")
    )
    return [run for path in paths if (run := read_run(path)) is not None]


def _of_run(path: Path) -> list[Run]:
    path = path.parent if path.is_file() else path
    if not (path / "config.yaml").exists():
        raise StudyError(
            f"{path} is neither a study (study.json) nor a training (config.yaml, result.json)"
        )
    run = read_run(path)
    if run is None:
        raise StudyError(f"the training in {path} is not finished: it has no result.json")
    return [run]
