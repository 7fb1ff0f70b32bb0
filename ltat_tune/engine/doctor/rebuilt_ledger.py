"""Makes the ledger of a study again: from its trials' files, MLflow, and what is left of it.

A row that survived is kept if it tells what its trial's files tell. Every other trial gets a row
made of its configuration, its result, its checkpoint's epochs and its MLflow run.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from ltat_tune.engine.doctor.trial_files import TrialFiles, TrialRecord
from ltat_tune.errors import StudyError
from ltat_tune.files import beside
from ltat_tune.preflight.load import load_space
from ltat_tune.search.tried import Tried
from ltat_tune.space.space import Scenario, Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.identity import store_of
from ltat_tune.storage.journal import damaged_lines
from ltat_tune.storage.ledger import ROW_STATES
from ltat_tune.storage.trials import open_studies
from ltat_tune.tracking.run_records import RunRecord, recorded_runs

_TRIAL = re.compile(r"t(\d{4,})")


@dataclass
class _Counts:
    kept: int = 0  # rows that survived
    made: int = 0  # rows made from files
    lost: int = 0  # trials that left nothing; their numbers train something else


def rebuild_ledger(folder: StudyFolder) -> str:
    """Write the ledger again and set the damaged one aside. Return what was done.

    Raises:
        StudyError: the configuration of a trial cannot be told any more.
        SpaceError: the space file cannot be read.
    """
    space = load_space(folder.space, check_machine=False, allow_inert=True)
    survived, runs, counts = _survived(folder), _runs(folder), _Counts()
    temporary = beside(folder.ledger)
    temporary.unlink(missing_ok=True)
    try:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(temporary)))
        with _silent():
            for scenario in space.scenarios:
                study = optuna.create_study(
                    storage=storage, study_name=scenario.name,
                    directions=["maximize"] * len(space.objective.values),
                )  # fmt: skip
                old = survived.get(scenario.name)
                for name, value in ({} if old is None else old.user_attrs).items():
                    study.set_user_attr(name, value)
                rows = [] if old is None else old.get_trials(deepcopy=False)
                files = TrialFiles(space, folder, scenario.name, runs)
                study.add_trials(_rows(space, folder, scenario, files, rows, runs, counts))
        if folder.ledger.exists():
            os.replace(folder.ledger, folder.ledger.with_name(f"{folder.ledger.name}.damaged"))
        os.replace(temporary, folder.ledger)
    finally:
        for left in (temporary, Path(f"{temporary}.lock")):
            left.unlink(missing_ok=True)
    parts = [f"{counts.kept} trials were kept"] if counts.kept else []
    parts += [f"{counts.made} made again from their files"] if counts.made else []
    if counts.lost:
        parts.append(f"{counts.lost} left nothing, and their numbers go to others")
    aside = folder.ledger.with_name(f"{folder.ledger.name}.damaged")
    kept = f"; the damaged file is {aside.name}" if aside.exists() else ""
    return f"{', '.join(parts) or 'no trial had begun'}{kept}"


def disagreeing(folder: StudyFolder) -> list[str]:
    """Return the trials whose rows in a readable ledger do not tell what their files tell.

    Raises:
        StudyError: the ledger cannot be read.
        SpaceError: the space file cannot be read.
    """
    space = load_space(folder.space, check_machine=False, allow_inert=True)
    studies, names = open_studies(folder), []
    for scenario in space.scenarios:
        files = TrialFiles(space, folder, scenario.name, {})
        study = studies.get(scenario.name)
        rows = [] if study is None else study.get_trials(deepcopy=False)
        begun: set[datetime | None] = set()  # a record that is there twice makes a second row
        for number, row in enumerate(rows):
            there = files.place(number).exists()
            twice = row.state == TrialState.COMPLETE or row.datetime_start in begun
            begun.add(row.datetime_start)
            if not files.agrees(number, row) if there else twice:
                names.append(f"{scenario.name}/t{number:04d}")
        names += [f"{scenario.name}/t{number:04d}" for number in _in_folders(folder, scenario)
                  if number >= len(rows)]  # fmt: skip
    return sorted(names)


def _survived(folder: StudyFolder) -> Mapping[str, optuna.Study]:
    """Return what is left of the ledger: its whole lines, or those before the damage."""
    if not folder.ledger.exists():
        return {}
    lines = folder.ledger.read_bytes().split(b"\n")[:-1]
    damaged = set(damaged_lines(folder.ledger))
    whole = [line for number, line in enumerate(lines, 1) if number not in damaged]
    before = lines[: min(damaged, default=len(lines) + 1) - 1]
    part = StudyFolder(folder.root / f".survived.{os.getpid()}")
    try:
        part.root.mkdir()
        for kept in (whole, before):
            part.ledger.write_bytes(b"".join(line + b"\n" for line in kept))
            with contextlib.suppress(StudyError):
                return open_studies(part)
    finally:
        for path in (*part.root.glob("*"), part.root):
            path.unlink() if path.is_file() else path.rmdir()
    return {}


def _runs(folder: StudyFolder) -> Mapping[str, RunRecord]:
    """Return the study's MLflow runs by key; none if the store is damaged or silent."""
    store = store_of(folder)
    if not store.exists:
        return {}
    try:
        return recorded_runs(store.uri, store.experiment, store.uid).get(store.uid, {})
    except StudyError:
        return {}


def _rows(
    space: Space,
    folder: StudyFolder,
    scenario: Scenario,
    files: TrialFiles,
    survived: list[FrozenTrial],
    runs: Mapping[str, RunRecord],
    counts: _Counts,
) -> Iterator[FrozenTrial]:
    """Yield the rows of a scenario, in the order of their numbers in Optuna."""
    tried = Tried(space, scenario)
    begun = max((*_in_folders(folder, scenario), *_in_runs(runs, scenario)), default=-1) + 1
    points, number = iter(space.enumerated), 0
    begins: set[datetime | None] = set()
    while number < max(begun, len(survived)):
        row = survived[number] if number < len(survived) else None
        there = files.place(number).exists()
        if row is not None and not there and row.datetime_start in begins:
            return  # a record that is there twice made it
        begins.add(None if row is None else row.datetime_start)
        point = next(points, None) if space.enumerated else None
        if space.enumerated and point is None:
            return
        if point is not None and tried.has(point):  # the list proposes the same twice
            yield _made(space, TrialRecord(point, "failed", facts={"state": "repeated"}))
            continue
        start = space.start_from[number] if number < len(space.start_from) else None
        known = None if row is None or number >= begun else row.params
        params = files.params_of(number, point, known, start if not there else None)
        if row is not None and not there and row.state != TrialState.COMPLETE:
            params = dict(row.params)  # it ended, or waits, before it wrote anything
        if params is None and (there or row is None):
            params = None if there else tried.untried(space.searcher.seed + number)
            counts.lost += params is not None
        if params is None:
            if number >= begun:
                return
            raise StudyError(
                f"{files.place(number)} holds no configuration that can be read, and nothing else "
                "tells it; restore its config.yaml from a copy, or delete the folder"
            )
        if tried.add(number, params) is not None and number >= begun:
            return  # rows that are there twice
        if row is not None and (files.agrees(number, row) if there else params == row.params):
            counts.kept += 1
            yield row
        else:
            counts.made += there
            yield _made(space, files.read(number, params))
        number += 1


def _made(space: Space, record: TrialRecord) -> FrozenTrial:
    """Return a row with the content of a record."""
    values, violations = _end(space, record)
    state = ROW_STATES.get(record.state, TrialState.RUNNING)
    if state == TrialState.COMPLETE and values is None:
        state = TrialState.FAIL
    params, distributions = _drawn(space, record.params)
    row = create_trial(
        state=state, values=values, params=params, distributions=distributions,
        user_attrs=record.facts, intermediate_values=dict(sorted(record.scores.items())),
        constraints=violations or None,
    )  # fmt: skip
    row.datetime_start = _local(record.started) or datetime.now()
    if state.is_finished():
        row.datetime_complete = _local(record.ended) or row.datetime_start
    return row


def _end(space: Space, record: TrialRecord) -> tuple[list[float] | None, dict[str, float]]:
    """Return the objectives' values and how far the bounds are missed, of a complete trial."""
    metrics = {name: record.metrics.get(name) for name in space.objective.metrics}
    if record.state != "complete" or any(
        value is None or not math.isfinite(value) for value in metrics.values()
    ):
        return None, {}
    numbers = {name: value for name, value in metrics.items() if value is not None}
    bounds = space.objective.at_least.items()
    return (
        [numbers[name] for name in space.objective.values],
        {name: bound - numbers[name] for name, bound in bounds},
    )


def _drawn(
    space: Space, params: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """Return the values with the distributions that they are drawn from."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial(dict(params))
    space.suggest(study.ask())
    (row,) = study.get_trials(deepcopy=False)
    return dict(row.params), dict(row.distributions)


def _local(moment: datetime | None) -> datetime | None:
    """Return the moment as Optuna keeps it: this machine's time, without a zone."""
    return None if moment is None else moment.astimezone().replace(tzinfo=None)


def _in_folders(folder: StudyFolder, scenario: Scenario) -> list[int]:
    places = (folder.root / "trials" / scenario.name).glob("t*")
    found = [_TRIAL.fullmatch(place.name) for place in places if place.is_dir()]
    return sorted(int(match[1]) for match in found if match is not None)


def _in_runs(runs: Mapping[str, RunRecord], scenario: Scenario) -> list[int]:
    names = [key.removeprefix(f"{scenario.name}/") for key in runs]
    return [int(match[1]) for name in names if (match := _TRIAL.fullmatch(name)) is not None]


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Suppress what Optuna says of new studies and of values out of a queue."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
