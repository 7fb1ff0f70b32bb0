"""Reads from the files of one trial what its row in the ledger must hold."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from ltat_tune.config.config_file import load_config
from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.engine.task_factory import Stages
from ltat_tune.errors import LtatError
from ltat_tune.search.predict.observed import COPY_FIRST
from ltat_tune.search.rungs import Rungs, buys_copies, place_rungs
from ltat_tune.space.domains import sampling_order
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.task import Outcome, Task
from ltat_tune.storage.training_files import BrokenTraining, CompleteTraining, read_training
from ltat_tune.storage.trial_state import score_of, state_of
from ltat_tune.tracking.run_records import RunRecord

_ENDS = ("complete", "pruned", "failed", "diverged")


@dataclass
class TrialRecord:
    """What a row of the ledger holds of one trial.

    Attributes:
        params: its proposed values.
        state: complete, pruned, failed, diverged or running.
        metrics: of a complete trial, the means over its seeds.
        scores: epoch -> score at a rung or evaluation.
        facts: what the row knows else, by name.
        started: when it began.
        ended: when it ended, if it did.
    """

    params: Mapping[str, Any]
    state: str = "running"
    metrics: Mapping[str, float] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    started: datetime | None = None
    ended: datetime | None = None


class TrialFiles:
    """The trials of one scenario, by what they left in their folders.

    Args:
        space: the study's space.
        folder: the study's folder.
        scenario: the scenario's name.
        runs: the MLflow runs of the study by key; empty if they are not known.
    """

    def __init__(
        self, space: Space, folder: StudyFolder, scenario: str, runs: Mapping[str, RunRecord]
    ) -> None:
        self._space, self._folder, self._scenario = space, folder, scenario
        self._runs = runs
        self._rungs: Rungs = place_rungs(space)
        self._stages = Stages(space, folder, scenario, self._rungs, device="cpu")

    def place(self, number: int) -> Path:
        """Return the folder of a trial, which may not be there."""
        return self._folder.trial(self._scenario, number)

    def agrees(self, number: int, row: FrozenTrial) -> bool:
        """Return whether a surviving row tells what the trial's files tell."""
        if not self.fits(number, row.params):
            return False
        read = self.read(number, row.params)
        if any(read.scores.get(epoch, score) != score
               for epoch, score in row.intermediate_values.items()):  # fmt: skip
            return False
        if read.state not in ("complete", "failed", "diverged"):
            return True  # the row knows more than the files
        score = read.metrics.get(self._space.objective.metric)
        return state_of(row) == "running" or (state_of(row), score_of(row)) == (read.state, score)

    def params_of(self, number: int, *known: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return the proposed values of a trial; None if nothing tells them.

        Args:
            number: the trial's number.
            *known: values that others believe it has, the most credible first.
        """
        run = self._runs.get(f"{self._scenario}/t{number:04d}")
        configs = [config for _, config in self._configs(number)]
        told = [self._tuned(config.flat()) for config in configs]
        told += [self._tuned(_typed(run.params))] if run is not None else []
        for params in (*known, *told):
            if params is not None and self.fits(number, params):
                return dict(params)
        return None

    def fits(self, number: int, params: Mapping[str, Any]) -> bool:
        """Return whether every configuration in the trial's folder is one of these values."""
        if self._tuned(params) != dict(params):
            return False
        try:
            return all(
                any(task.training_config() == config for task in self._tasks(number, params, name))
                for name, config in self._configs(number)
            )
        except (LtatError, LookupError):
            return False

    def read(self, number: int, params: Mapping[str, Any]) -> TrialRecord:
        """Return what the files of a trial, and its run in MLflow, tell of it."""
        place = self.place(number)
        run = self._runs.get(f"{self._scenario}/t{number:04d}")
        found = TrialRecord(params, started=_begun(place), ended=_last_written(place))
        if run is not None:
            found.started, found.ended = run.started, run.ended or found.ended
        self._read_copies(number, params, found)
        end = _result(place)
        found.scores |= self._scores(place)
        if isinstance(end, BrokenTraining):
            found.state, found.facts["reason"] = end.state, end.reason
        elif end is not None:
            self._read_end(number, end, found)
        elif run is not None and run.tags.get("state") in _ENDS:
            found.state = run.tags["state"]
            if reason := run.tags.get("reason"):
                found.facts["reason"] = reason
            if found.state == "complete":  # by its run, but its result is gone
                found.state = "running"
        elif run is None and (epoch := self._stopped_at(place)):
            found.state, found.facts["reason"] = "pruned", f"stopped early at epoch {epoch}"
        spent = sum(self._spent(number, params))
        found.facts["epochs" if found.state != "running" else "spent"] = spent
        if found.state == "running":
            found.ended = None
            found.facts = {name: value for name, value in found.facts.items() if value}
        else:
            found.facts["state"] = found.state
        return found

    def _read_copies(self, number: int, params: Mapping[str, Any], found: TrialRecord) -> None:
        """Add the scores of a trial's copies, and how far it was promoted."""
        place = self.place(number)
        for length in self._rungs.copies:
            end = _result(place / f"copy-{length}")
            if isinstance(end, CompleteTraining):
                score = end.metrics.get(self._space.objective.metric)
                if score is not None and math.isfinite(score):
                    found.scores[length] = score
            elif isinstance(end, BrokenTraining):
                found.state, found.facts["reason"] = end.state, end.reason
        begun = [level for level, length in enumerate(self._rungs.copies)
                 if (place / f"copy-{length}").exists()]  # fmt: skip
        if not begun:
            return
        if buys_copies(self._space):
            found.facts[COPY_FIRST] = True
        if (place / "config.yaml").exists():
            found.facts["promoted"] = len(self._rungs.copies)
        elif begun[-1] > 0:
            found.facts["promoted"] = begun[-1]

    def _read_end(self, number: int, end: CompleteTraining, found: TrialRecord) -> None:
        """Add the end of a trial whose own training is complete."""
        ends = [end]
        for seed in self._space.search_seeds[1:]:
            more = _result(self.place(number) / f"seed-{seed}")
            if isinstance(more, BrokenTraining):
                found.state, found.facts["reason"] = more.state, more.reason
                return
            if more is not None:
                ends.append(more)
        wanted = self._space.objective.metrics
        seeds = [{m: e.credible[m] for m in wanted if m in e.credible} for e in ends]
        doubted = next((e for e in ends if e.is_doubted), None)
        if doubted is not None and doubted.second_opinion is not None:
            found.facts["reason"] = doubted.second_opinion.reason
        if len(self._space.search_seeds) > 1:
            found.facts["seeds"] = seeds
        elif doubted is not None:
            found.facts["claimed"] = doubted.metrics.get(self._space.objective.metric)
        if len(ends) == len(self._space.search_seeds):
            found.state = "complete"
            means = {m: statistics.fmean(seed[m] for seed in seeds) for m in seeds[0]}
            found.metrics = {**ends[-1].credible, **means}

    def _scores(self, place: Path) -> dict[int, float]:
        """Return the scores that the checkpoint's epochs gave, as the driver recorded them."""
        scores = {}
        for epoch, metrics, _ in _history(place):
            score = self._rungs.score(epoch, metrics, self._space.objective.metric)
            if score is not None and math.isfinite(score):
                scores[int(epoch)] = score
        return scores

    def _stopped_at(self, place: Path) -> int:
        """Return the rung at which a training was stopped; 0 if it may have been interrupted.

        A driver that stops a training deletes the state before the last; one that dies does not.
        """
        from ltat_tune.training.checkpoint import earlier

        last = int(history[-1][0]) if (history := _history(place)) else 0
        stopped = last > 1 and last in self._rungs.judged
        return last if stopped and not earlier(place / "checkpoint.pt").exists() else 0

    def _spent(self, number: int, params: Mapping[str, Any]) -> Iterator[int]:
        """Yield the epochs that each stage of a trial cost."""
        for stage in range(self._stages.whole + len(self._space.search_seeds)):
            task = self._stages.task(number, dict(params), stage)
            end = _result(task.path)
            trained = len(_history(task.path))
            if not trained and isinstance(end, CompleteTraining):
                trained = len(end.predicted)
            if trained:
                yield self._stages.trained(task, Outcome("complete", trained))

    def _configs(self, number: int) -> Iterator[tuple[str, TrialConfig]]:
        """Yield the configurations in a trial's folder that can be read, by their folder's name:
        empty for its own training, else `copy-6` or `seed-2`."""
        place = self.place(number)
        stages = [*place.glob("copy-*[0-9]/config.yaml"), *place.glob("seed-*[0-9]/config.yaml")]
        for path in (place / "config.yaml", *sorted(stages)):
            try:
                config, _ = load_config(path)
            except (LtatError, OSError):
                continue
            yield ("" if path.parent == place else path.parent.name), config

    def _tasks(self, number: int, params: Mapping[str, Any], name: str) -> Iterator[Task]:
        """Yield the tasks that may have written the configuration in a folder of this name."""
        for stage in range(self._stages.whole + len(self._space.search_seeds)):
            for misled in ((), (stage,)):
                task = self._stages.task(number, dict(params), stage, misled=misled)
                if task.path.name == (name or self.place(number).name):
                    yield task

    def _tuned(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """Return the tuned values in a configuration, those that exist under each other."""
        params: dict[str, Any] = {}
        for path in sampling_order(self._space.tuned):
            domain = self._space.tuned[path]
            if domain.active(params) and path in flat and domain.contains(flat[path]):
                params[path] = flat[path]
        return params


def _typed(params: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of an MLflow run, which are text, as a configuration has them."""
    typed: dict[str, Any] = {}
    for path, text in params.items():
        if path in PARAMETERS:
            try:
                value = json.loads(text)
            except ValueError:
                value = {"True": True, "False": False, "None": None}.get(text, text)
            typed[path] = PARAMETERS[path].check(value)[0]
    return typed


def _result(place: Path) -> CompleteTraining | BrokenTraining | None:
    """Return the end of a training; None if it has none that can be read."""
    try:
        return read_training(place)
    except (LtatError, OSError):
        return None


def _history(place: Path) -> list[Any]:
    from ltat_tune.training.checkpoint import history_if_readable

    return history_if_readable(place / "checkpoint.pt")


def _begun(place: Path) -> datetime | None:
    times = [path.stat().st_mtime for path in place.rglob("config.yaml")]
    return datetime.fromtimestamp(min(times), UTC) if times else None


def _last_written(place: Path) -> datetime | None:
    times = [path.stat().st_mtime for name in ("result.json", "checkpoint.pt")
             for path in place.rglob(name)]  # fmt: skip
    return datetime.fromtimestamp(max(times), UTC) if times else None
