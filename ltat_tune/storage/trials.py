"""Reads the trials of a study from its ledger. Writes nothing, so a driver may be at work.

`Ledger` belongs to the driver and repairs what a dead driver left. All other readers use this
module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ltat_tune.config.notebook import html_table, settings_line, text_lines
from ltat_tune.errors import StudyError
from ltat_tune.search.optuna_internals import rows_of
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.journal import ledger_remedy
from ltat_tune.storage.trial_state import score_of, state_of

RowState = Literal["complete", "pruned", "failed", "diverged", "running"]


@dataclass(frozen=True, repr=False)
class TrialRow:
    """One trial as the ledger records it.

    Attributes:
        scenario: the name of its scenario.
        number: its number in the scenario, from 0; the folder and the MLflow run are named t0003.
        state: how it ended; `running` while it may go on, also when its driver died.
        score: the objective's metric at its end, a fraction; None unless it is complete. Of a
            doubted trial it is what the second opinion leaves.
        params: proposed values by dotted path, without defaults and fixed values.
        scores: epoch -> objective at a rung or evaluation, up to its end.
        epochs: epochs that were trained for it.
        reason: why it failed, diverged or was stopped, with the traceback of a failure; why a
            complete one is doubted; or "".
        started: when it was proposed.
        ended: when it ended; None while it runs.
        folder: the folder of its files, if it wrote any.
        values: one for each objective of a complete trial, in the order of the space file.
        violations: metric -> by how much a complete trial misses `objective.at_least`; not
            positive if it keeps the bound.
        seeds: final metrics by seed if `searcher.seeds_per_trial` asks for several.
        claimed: the score of a doubted trial as it was measured first; None with several seeds.
    """

    scenario: str
    number: int
    state: RowState
    score: float | None
    params: Mapping[str, Any]
    scores: Mapping[int, float]
    epochs: int
    reason: str
    started: datetime | None
    ended: datetime | None
    folder: Path
    values: tuple[float, ...] = ()
    violations: Mapping[str, float] = field(default_factory=dict)
    seeds: tuple[Mapping[str, float], ...] = ()
    claimed: float | None = None

    def __repr__(self) -> str:
        score = "" if self.score is None else f", {100 * self.score:.1f} %"
        return text_lines(
            f"{self.name}: {self.state}{score}, {self.epochs} epochs",
            {"parameters": settings_line(self.params), "reason": self.cause},
        )

    def _repr_html_(self) -> str:
        score = "" if self.score is None else f", {100 * self.score:.1f} %"
        rows = [*self.params.items(), *([("reason", self.cause)] if self.cause else [])]
        return html_table(f"{self.name}: {self.state}{score}", ["parameter", "value"], rows)

    @property
    def name(self) -> str:
        """The scenario and the number: `imbalance_ratio_50/t0003`."""
        return f"{self.scenario}/t{self.number:04d}"

    @property
    def cause(self) -> str:
        """The last line of the reason, which similar failures share."""
        lines = self.reason.strip().splitlines()
        return lines[-1] if lines else ""

    @property
    def doubt(self) -> str:
        """Why the score of a complete trial is too good; empty if it is credible."""
        return self.cause if self.state == "complete" else ""

    @property
    def seconds(self) -> float | None:
        """Seconds from its start to its end, interruptions included; None while it runs."""
        if self.started is None or self.ended is None:
            return None
        return (self.ended - self.started).total_seconds()

    @property
    def feasible(self) -> bool | None:
        """Whether it keeps every bound of `objective.at_least`; None unless it is complete."""
        if self.state != "complete":
            return None
        return all(violation <= 0 for violation in self.violations.values())


def best_of(rows: Iterable[TrialRow]) -> TrialRow | None:
    """Return the best complete trial that keeps every bound; a doubted one only if all are."""
    feasible = [row for row in rows if row.score is not None and row.feasible]
    order = sorted(feasible, key=lambda row: (bool(row.doubt), -(row.score or 0.0), row.number))
    return order[0] if order else None


def read_trials(folder: StudyFolder) -> list[TrialRow]:
    """Return every trial, by scenario in the order of the space file, then by number.

    Raises:
        StudyError: the ledger cannot be read.
    """
    with _readable(folder.ledger):
        rows = read_rows(folder.ledger)
    return [_row(folder, scenario, row) for scenario in rows for row in rows[scenario]]


class LedgerView:
    """The rows of a study for readers, as `Ledger` returns them.

    Args:
        folder: the study.

    Raises:
        StudyError: the ledger cannot be read.
    """

    def __init__(self, folder: StudyFolder) -> None:
        with _readable(folder.ledger):
            self._read = _read(folder.ledger)

    def finished(self, scenario: str) -> list[FrozenTrial]:
        """Return the rows that ended, whatever their state."""
        _, rows = self._read.get(scenario, (None, []))
        return [row for row in rows if row.state.is_finished()]

    def exhausted(self, scenario: str) -> str:
        """Return why the search ended before its trials: a sentence, or an empty text."""
        study, _ = self._read.get(scenario, (None, []))
        return str(study.user_attrs.get("exhausted", "")) if study else ""


def open_studies(folder: StudyFolder) -> dict[str, optuna.Study]:
    """Return an Optuna study for every scenario, by name: a copy of the ledger in memory.

    For `optuna.importance` and `optuna.visualization`. Trials have the numbers of their folders.
    Changes to these studies are not saved.

    Raises:
        StudyError: the ledger cannot be read.
    """
    with _readable(folder.ledger):
        studies = {}
        for name, (header, rows) in _read(folder.ledger).items():
            storage = optuna.storages.InMemoryStorage()
            with _silent():
                storage.create_new_study(header.directions, name)
                study = optuna.Study(name, storage)
                for attribute, value in header.user_attrs.items():
                    study.set_user_attr(attribute, value)
                study.add_trials(rows)
            studies[name] = study
        return studies


def read_rows(path: Path) -> dict[str, list[FrozenTrial]]:
    """Return the rows of a journal by scenario, numbered like `Ledger`: no repeat, nothing queued.

    A journal that does not exist is empty, and a torn last line is skipped. A journal that was
    overwritten fails in Optuna, in many ways.
    """
    return {name: rows for name, (_, rows) in _read(path).items()}


@dataclass(frozen=True)
class _Header:
    directions: list[StudyDirection]
    user_attrs: Mapping[str, Any]


def _read(path: Path) -> dict[str, tuple[_Header, list[FrozenTrial]]]:
    if not path.exists():  # Optuna would create an empty one
        return {}
    storage = JournalStorage(JournalFileBackend(str(path)))
    studies = {}
    for study, rows in rows_of(storage):
        header = _Header(list(study.directions), study.user_attrs)
        studies[study.study_name] = header, _as_numbered(rows)
    return studies


def _as_numbered(rows: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the rows that are trials, with the numbers of trials."""
    trials = [
        copy(row)
        for row in rows
        if row.state != TrialState.WAITING and row.user_attrs.get("state") != "repeated"
    ]
    for number, row in enumerate(trials):
        row.number = number
    return trials


def _row(folder: StudyFolder, scenario: str, row: FrozenTrial) -> TrialRow:
    state = state_of(row)
    attributes = row.user_attrs
    so_far = max(int(attributes.get("spent", 0)), max(row.intermediate_values, default=0))
    return TrialRow(
        scenario=scenario,
        number=row.number,
        state=state,  # type: ignore[arg-type]
        score=score_of(row),
        params=dict(row.params),
        scores=dict(sorted(row.intermediate_values.items())),
        epochs=int(attributes.get("epochs", so_far)),
        reason=str(attributes.get("reason", "")),
        started=row.datetime_start.astimezone() if row.datetime_start else None,
        ended=row.datetime_complete.astimezone() if row.datetime_complete else None,
        folder=folder.trial(scenario, row.number),
        values=tuple(row.values or ()) if state == "complete" else (),
        violations=dict(row.constraints),
        seeds=tuple(attributes.get("seeds", ())),
        claimed=attributes.get("claimed") if state == "complete" else None,
    )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise StudyError with the file's name for any error of Optuna on a broken journal."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OSError) as error:
        raise StudyError(
            f"the ledger {path} cannot be read ({type(error).__name__}: {str(error)[:200]}); "
            f"{ledger_remedy(path)}"
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress Optuna's line about each new study."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
