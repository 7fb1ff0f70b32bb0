"""Checks a study as a whole, and mends what can be made again: `ltat-tune doctor STUDY`.

Ledger, results, checkpoints, exports, decoded images and MLflow's runs must fit together. Nothing
is deleted that cannot be made again: what is damaged is set aside as `NAME.damaged`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from ltat_tune.config.config_file import load_config
from ltat_tune.errors import CheckpointError, LtatError, StudyError
from ltat_tune.preflight.finding import Finding
from ltat_tune.space.reader import read_space
from ltat_tune.storage.cleanup import waste
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.identity import store_of
from ltat_tune.storage.journal import damaged_lines
from ltat_tune.storage.subsets import subset_key
from ltat_tune.storage.task import Task
from ltat_tune.storage.training_files import (
    RESULT,
    SENTINEL,
    TEST,
    read_complete,
    read_masking,
    read_test,
    read_training,
)
from ltat_tune.storage.trials import TrialRow, read_trials
from ltat_tune.tracking.store import run_states, sqlite_file

_T = TypeVar("_T")
_MEND = "ltat-tune doctor STUDY --mend"


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong with a study.

    Attributes:
        finding: what is wrong, as the doctor prints it.
        mend: makes it right, and returns what it did; None if only the user can.
    """

    finding: Finding
    mend: Callable[[], str] | None = None


def examine_study(folder: StudyFolder, *, mend: bool = False) -> list[Finding]:
    """Return what is wrong with a study, or that nothing is.

    Args:
        folder: the study.
        mend: also mend what can be mended; the findings say what was done.

    Raises:
        StudyError: the study is running, or it is to be mended and cannot be written.
    """
    if not mend:
        return _reported(folder, [damage.finding for damage in _damages(folder)])
    findings = []
    with folder.locked():
        for damage in _damages(folder):
            if damage.mend is None:
                findings.append(damage.finding)
            else:
                name, text = damage.finding.name, damage.finding.text
                findings.append(Finding(name, "ok", f"{text}: {damage.mend()}"))
    return _reported(folder, findings)


def _reported(folder: StudyFolder, findings: list[Finding]) -> list[Finding]:
    if findings:
        return findings
    return [Finding("study", "ok", f"{folder.root}: everything in it fits together")]


def _damages(folder: StudyFolder) -> Iterator[Damage]:
    yield from _ledger(folder)
    yield from _trainings(folder)
    yield from _results(folder)
    yield from _exports(folder)
    yield from _images(folder)
    yield from _store(folder)
    yield from _left_over(folder)


def _ledger(folder: StudyFolder) -> Iterator[Damage]:
    bad = damaged_lines(folder.ledger) if folder.ledger.exists() else []
    if bad:
        yield Damage(
            _fail("ledger", f"{folder.ledger} has {len(bad)} damaged lines, first line {bad[0]}"),
            partial(_cut_ledger, folder, bad),
        )
        return
    try:
        known = {row.folder for row in read_trials(folder)}
    except StudyError as error:
        yield Damage(Finding("ledger", "fail", str(error), "restore it from a copy"))
        return
    lost = [place for place in sorted(folder.root.glob("trials/*/t[0-9]*")) if place not in known]
    if lost:
        text = f"{folder.ledger} does not know {len(lost)} trials, first {_name(folder, lost[0])}"
        yield Damage(_fail("ledger", text), partial(_set_all_aside, lost))


def _cut_ledger(folder: StudyFolder, bad: list[int]) -> str:
    """Keep the lines that are whole, or those before the damage if the rest no longer fits."""
    lines = folder.ledger.read_bytes().split(b"\n")
    _set_aside(folder.ledger)
    damaged = set(bad)
    for kept in ([n for n in range(len(lines)) if n + 1 not in damaged], range(bad[0] - 1)):
        folder.ledger.write_bytes(b"\n".join(lines[number] for number in kept).rstrip() + b"\n")
        try:
            rows = read_trials(folder)
        except StudyError:
            continue
        return f"{len(rows)} trials are kept; the damaged file is {folder.ledger.name}.damaged"
    folder.ledger.unlink()
    return "no trial could be kept; the search starts over"


def _trainings(folder: StudyFolder) -> Iterator[Damage]:
    for place in _places(folder):
        complete = _try(partial(read_training, place))
        for name, read in ((RESULT, read_training), (TEST, read_test), (SENTINEL, read_masking)):
            if _try(partial(read, place)) is False:
                text = f"{_name(folder, place)}/{name} is damaged"
                mend = partial(_again, folder, place) if name == RESULT else partial(
                    _aside_for_resume, place / name
                )  # fmt: skip
                yield Damage(_fail("files", text), mend)
        checkpoint = place / "checkpoint.pt"
        if not checkpoint.exists():
            continue
        try:
            weights = _kept_weights(checkpoint)
        except (CheckpointError, OSError) as error:
            text = f"{_name(folder, checkpoint)}: {error}"
            yield Damage(_fail("checkpoint", text), partial(_aside_for_resume, checkpoint))
            continue
        end = None if complete is False else read_complete(place)
        if end is not None and weights not in (None, end.weights):
            text = f"{_name(folder, checkpoint)} holds other weights than {RESULT} records"
            yield Damage(_fail("checkpoint", text), partial(_aside_for_resume, checkpoint))


def _kept_weights(checkpoint: Path) -> str | None:
    """Return the hash of the weights that a complete training kept; None if it is not kept apart.

    Raises:
        CheckpointError: the file is damaged.
    """
    from ltat_tune.training.checkpoint import read_checkpoint, weights_hash

    kept = read_checkpoint(checkpoint).get("kept") or {}
    return weights_hash(kept["weights"]) if kept.get("weights") else None


def _again(folder: StudyFolder, place: Path) -> str:
    """Make `result.json` again from the checkpoint, which is complete or is trained to its end."""
    from ltat_tune.engine.worker import run_task

    _set_aside(place / RESULT)
    config, _ = load_config(place / "config.yaml")
    space = read_space(folder.space)
    task = Task(
        key=_name(folder, place), kind="confirmation", scenario=place.parent.name,
        config=config.flat(), folder=str(place.resolve()), cache=str(folder.cache.resolve()),
        subsets=str(folder.subsets.resolve()), threads=1, device="cpu",
        epochs=config.optim.epochs, plugins=tuple(plugin.as_data() for plugin in space.plugins),
        second_opinion=space.objective.is_checked, precision=folder.read_facts().get("precision"),
    )  # fmt: skip
    if not (place / "checkpoint.pt").exists():
        return "set aside; its checkpoint was deleted, so its numbers are gone"
    run_task(task, lambda values: None)
    return "written again from the checkpoint"


def _results(folder: StudyFolder) -> Iterator[Damage]:
    from ltat_tune.results.model import read_results

    if _try(partial(read_results, folder)) is False:
        text = f"{folder.results.name} is damaged"
        yield Damage(_fail("results", text), partial(_aside_for_resume, folder.results))
    by_choice: dict[str, set[str]] = {}
    for place in _places(folder):
        end = _try(partial(read_complete, place))
        config = _try(partial(load_config, place / "config.yaml"))
        if end and config:
            by_choice.setdefault(subset_key(config[0]), set()).add(end.subset_hash)
    for hashes in by_choice.values():
        if len(hashes) > 1:
            text = f"trainings of one scenario used different images: {', '.join(sorted(hashes))}"
            remedy = "their numbers cannot be compared; run the study anew with --overwrite"
            yield Damage(Finding("images", "fail", text, remedy))


def _exports(folder: StudyFolder) -> Iterator[Damage]:
    from ltat_tune.training.weights_file import SUFFIX, read_weights

    for path in sorted(folder.best.glob(f"*{SUFFIX}")):
        if _try(partial(read_weights, path)) is False:
            text = f"{_name(folder, path)} is damaged"
            yield Damage(_fail("export", text), partial(_aside_for_resume, path))


def _images(folder: StudyFolder) -> Iterator[Damage]:
    from ltat_tune.data.cache import is_whole

    for entry in sorted(folder.cache.glob("[!.]*")):
        if entry.suffix != ".damaged" and not is_whole(entry):
            text = f"decoded images {_name(folder, entry)} are damaged"
            yield Damage(_fail("images", text), partial(_aside_for_resume, entry))


def _store(folder: StudyFolder) -> Iterator[Damage]:
    store = store_of(folder)
    if not store.exists:
        if folder.ledger.exists() and read_trials_quietly(folder):
            text = "MLflow has none of the study's runs"
            yield Damage(Finding("mlflow", "fail", text, f"{folder.resume_command} writes them"))
        return
    try:
        states = run_states(store.uri, store.experiment, store.uid)
    except StudyError as error:
        file = sqlite_file(store.uri)
        own = file is not None and file.parent == folder.root.resolve()
        mend = partial(_aside_for_resume, folder.root / file.name) if own and file else None
        yield Damage(_fail("mlflow", str(error)), mend)
        return
    if not folder.is_running():
        running = sorted(key for key, (state, _) in states.items() if state == "RUNNING")
        if running:
            text = f"{len(running)} runs are RUNNING though nothing runs, first {running[0]}"
            yield Damage(Finding("mlflow", "warn", text, f"{folder.resume_command} closes them"))
    doubled = sorted(key for key, (_, count) in states.items() if count > 1)
    if doubled:
        text = f"{len(doubled)} trainings have more than one run, first {doubled[0]}"
        yield Damage(Finding("mlflow", "fail", text, f"{folder.resume_command} keeps the longer"))
    rows = read_trials_quietly(folder)
    missing = sorted(row.name for row in rows if row.ended and row.name not in states)
    if missing:
        text = f"{len(missing)} trials have no run, first {missing[0]}"
        yield Damage(Finding("mlflow", "fail", text, f"{folder.resume_command} writes them"))


def _left_over(folder: StudyFolder) -> Iterator[Damage]:
    torn = [item for item in waste(folder) if "half written" in item.why]
    if torn and not folder.is_running():
        text = f"{len(torn)} files were left half written, first {_name(folder, torn[0].path)}"
        yield Damage(Finding("files", "warn", text, "ltat-tune gc deletes them"))


def read_trials_quietly(folder: StudyFolder) -> list[TrialRow]:
    """Return every trial; none of a ledger that cannot be read, which is another finding."""
    found = _try(partial(read_trials, folder))
    return found or []


def _places(folder: StudyFolder) -> list[Path]:
    """Return the folders of all trainings."""
    trials = folder.root.glob("trials/*/t[0-9]*")
    stages = folder.root.glob("trials/*/t[0-9]*/[cs][oe][pe]*-*")
    places = [*trials, *stages, *folder.root.glob("confirmations/*/*")]
    return sorted(place for place in places if place.is_dir() and place.suffix != ".damaged")


def _try(read: Callable[[], _T]) -> _T | Literal[False]:
    """Return what `read` does, or False if what it reads is damaged."""
    try:
        return read()
    except (LtatError, OSError):
        return False


def _fail(name: str, text: str) -> Finding:
    return Finding(name, "fail", text, f"{_MEND} sets it aside; what can be made again is")


def _name(folder: StudyFolder, path: Path) -> str:
    return str(path.relative_to(folder.root))


def _set_aside(path: Path) -> None:
    os.replace(path, path.with_name(f"{path.name}.damaged"))


def _set_all_aside(paths: list[Path]) -> str:
    for path in paths:
        _set_aside(path)
    return "their folders are set aside as NAME.damaged"


def _aside_for_resume(path: Path) -> str:
    _set_aside(path)
    return f"set aside as {path.name}.damaged; a resume makes it again"
