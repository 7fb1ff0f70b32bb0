"""Read all data of a report from a study's folder; write nothing into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import CheckpointError, StudyError
from ltat_tune.presentation.names import labels
from ltat_tune.results.collect import collect
from ltat_tune.results.cross_scenario import Average, on_average
from ltat_tune.results.importance import Importances, importances
from ltat_tune.results.model import (
    ConfirmedResult,
    ScenarioResults,
    StudyResults,
    read_results,
)
from ltat_tune.search.rungs import Rungs, place_rungs
from ltat_tune.space.reader import read_space
from ltat_tune.space.space import Scenario, Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.trained_run import Run, read_run
from ltat_tune.storage.training_files import MaskingReport, read_masking
from ltat_tune.storage.trials import LedgerView, TrialRow, best_of, open_studies, read_trials

StudyState = Literal["finished", "running", "unfinished"]


@dataclass(frozen=True)
class TrialCurve:
    """The course of one training, from its checkpoint.

    Attributes:
        name: `copy-6`, `seed-1`, or empty for the trial's own training.
        epochs: completed epochs, from 1, after which the objective was measured.
        scores: the objective after these epochs, fractions.
        seconds: total time of all its epochs.
        trained: number of trained epochs.
    """

    name: str
    epochs: tuple[int, ...]
    scores: tuple[float, ...]
    seconds: float
    trained: int


@dataclass(frozen=True)
class Confirmed:
    """One confirmed configuration: its part of `results.json`, and one run for each seed."""

    result: ConfirmedResult
    config: TrialConfig
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Scene:
    """One scenario of the study."""

    scenario: Scenario
    results: ScenarioResults
    rows: Sequence[TrialRow]
    study: Any  # Optuna's study, in memory; None before the first trial
    curves: Mapping[int, Sequence[TrialCurve]]  # by trial
    confirmed: Sequence[Confirmed]
    confirmation_curves: Sequence[TrialCurve]
    ranked: Callable[[], Importances]

    @property
    def importances(self) -> Importances:
        """The importance of its tuned parameters; the first access takes seconds."""
        return self.ranked()

    @property
    def winner(self) -> Confirmed | None:
        """The confirmed winner."""
        return self._confirmed(self.results.winner_recipe)

    @property
    def baseline(self) -> Confirmed | None:
        """The first entry of `start_from`, confirmed."""
        return self._confirmed(self.results.baseline_recipe)

    def _confirmed(self, recipe: str | None) -> Confirmed | None:
        return next((c for c in self.confirmed if c.result.recipe == recipe), None)

    def with_state(self, *states: str) -> list[TrialRow]:
        """Return the trials in any of these states."""
        return [row for row in self.rows if row.state in states]

    @property
    def best(self) -> TrialRow | None:
        """The best complete trial, as `best_of` defines it."""
        return best_of(self.rows)


@dataclass(frozen=True)
class ReportData:
    """A study in its present state."""

    folder: StudyFolder
    space: Space
    facts: Mapping[str, Any]
    results: StudyResults
    state: StudyState
    at: datetime
    rungs: Rungs
    scenes: Sequence[Scene]

    @property
    def metric(self) -> str:
        """The objective."""
        return self.space.objective.metric

    @property
    def is_smoke(self) -> bool:
        """Whether it was a smoke run, whose numbers mean nothing."""
        return self.results.smoke

    @cached_property
    def average(self) -> list[Average]:
        """Configurations that every scenario tried, best first."""
        return on_average({scene.scenario.name: scene.rows for scene in self.scenes})

    def config(self, scene: Scene, params: Mapping[str, Any]) -> TrialConfig:
        """Return the configuration of a trial."""
        return self.space.config(scene.scenario, params)


@dataclass
class Reader:
    """A reader that reads a study repeatedly and computes only what has changed.

    Args:
        folder: the study.
    """

    folder: StudyFolder
    _curves: dict[Path, tuple[int, TrialCurve]] = field(default_factory=dict)
    _importances: dict[str, tuple[Any, Importances]] = field(default_factory=dict)

    def read(self) -> ReportData:
        """Return the study in its present state.

        Raises:
            StudyError: its ledger cannot be read.
            SpaceError: its space file is not valid in this version.
        """
        facts = self.folder.read_facts()
        space = read_space(self.folder.space)
        space = replace(space, smoke=str(facts.get("smoke", "")))
        studies, rows = open_studies(self.folder), read_trials(self.folder)
        results = read_results(self.folder)
        state: StudyState = "running" if self.folder.is_running() else "unfinished"
        if results is None or state == "running":
            results = collect(space, self.folder, LedgerView(self.folder))
        else:
            state = "finished"
        scenes = []
        for scenario in space.scenarios:
            own = [row for row in rows if row.scenario == scenario.name]
            part = next((one for one in results.scenarios if one.name == scenario.name), None)
            if part is None:
                raise StudyError(
                    f"{self.folder.results} has no scenario {scenario.name}, which "
                    f"{self.folder.space} has; delete the results and resume the study"
                )
            scenario = scenario.counted(part.samples_per_class)
            scenes.append(self._scene(space, scenario, part, own, studies.get(scenario.name)))
        return ReportData(
            folder=self.folder, space=space, facts=facts, results=results, state=state,
            at=datetime.now().astimezone(), rungs=place_rungs(space), scenes=scenes,
        )  # fmt: skip

    def _scene(
        self,
        space: Space,
        scenario: Scenario,
        results: ScenarioResults,
        rows: Sequence[TrialRow],
        study: Any,
    ) -> Scene:
        metric = space.objective.metric
        confirmed, curves = [], []
        for one in results.confirmed:
            config = space.config(scenario, one.params)
            runs = []
            for seed in one.seeds:
                place = self.folder.confirmation(scenario.name, one.recipe, seed)
                run = read_run(place)
                runs += [run] if run is not None else []
                curves += self._curves_in(place, metric)
            confirmed.append(Confirmed(one, config, tuple(runs)))
        return Scene(
            scenario=scenario, results=results, rows=rows, study=study,
            curves={row.number: self._curves_in(row.folder, metric) for row in rows},
            confirmed=confirmed, confirmation_curves=curves,
            ranked=partial(self._importances_of, scenario.name, study),
        )  # fmt: skip

    def _importances_of(self, name: str, study: Any) -> Importances:
        if study is None:
            return Importances((), 0, None, "no trial has begun")
        rows = study.get_trials(deepcopy=False)
        state = tuple((row.number, row.state, len(row.intermediate_values)) for row in rows)
        if self._importances.get(name, (None,))[0] != state:
            self._importances[name] = state, importances(rows)
        return self._importances[name][1]

    def _curves_in(self, folder: Path, metric: str) -> list[TrialCurve]:
        """Return the curves of a training, its copies and its further seeds."""
        places = [folder, *sorted(folder.glob("copy-*")), *sorted(folder.glob("seed-*"))]
        curves = []
        for place in places:
            name = "" if place == folder else place.name
            curve = self._curve(place / "checkpoint.pt", name, metric)
            curves += [curve] if curve is not None else []
        return curves

    def _curve(self, checkpoint: Path, name: str, metric: str) -> TrialCurve | None:
        from ltat_tune.training.checkpoint import read_history

        try:
            written = checkpoint.stat().st_mtime_ns
            if checkpoint not in self._curves or self._curves[checkpoint][0] != written:
                history = read_history(checkpoint)
                there = [(e, values[metric]) for e, values, _ in history if metric in values]
                self._curves[checkpoint] = written, TrialCurve(
                    name, tuple(e for e, _ in there), tuple(s for _, s in there),
                    sum(seconds for _, _, seconds in history), len(history),
                )  # fmt: skip
            return self._curves[checkpoint][1]
        except (OSError, CheckpointError):  # not written yet, not kept, or damaged
            return None


def deleted(scene: Scene, rungs: Rungs) -> dict[int, int]:
    """Return trial -> number of its trainings that lost their weights, and so their curve."""
    missing = {}
    for row in scene.with_state("complete", "pruned"):
        names = {f"copy-{epochs}" for epochs in rungs.copies if epochs in row.scores}
        if row.state == "complete" or not names:
            names.add("")
        there = {curve.name for curve in scene.curves.get(row.number, ())}
        missing[row.number] = len(names - there)
    return {number: count for number, count in missing.items() if count}


def shown_names(configs: Sequence[TrialConfig]) -> list[str]:
    """Return a plain-text name for each configuration, such as `SRAT-LDAM, λ = 2`."""
    return [name.replace("$_{\\mathrm{", "_").replace("}}$", "") for name in labels(configs)]


def sentinel(scene: Scene) -> MaskingReport | None:
    """Return the winner's sentinel report, even if it was written after the results."""
    report = scene.results.sentinel
    if report is None and scene.winner is not None and scene.winner.runs:
        report = read_masking(scene.winner.runs[0].path)
    return report


__all__ = [
    "Confirmed", "TrialCurve", "Reader", "ReportData", "Scene", "deleted", "shown_names",
    "sentinel",
]  # fmt: skip
