"""The lines of the ledger's file: one JSON record each."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from ltat_tune.errors import StudyError


def drop_torn_line(path: Path) -> None:
    """Cut off a last line that a full disk or a power cut left half written.

    Optuna ignores such a line when reading, but would append the next record to it.
    """
    if path.exists():
        whole = path.read_bytes().rfind(b"\n") + 1
        if whole < path.stat().st_size:
            os.truncate(path, whole)


def damaged_lines(path: Path) -> list[int]:
    """Return the numbers, from 1, of whole lines that are no records."""
    damaged = []
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n") and not _is_record(line):
                damaged.append(number)
    return damaged


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def check_ledger(path: Path) -> None:
    """Check that every line of a journal is a record, and that trials have a journal.

    Raises:
        StudyError: a line is damaged, or the journal is gone although there are trials.
    """
    if path.exists():
        if damaged := damaged_lines(path):
            raise StudyError(
                f"the ledger {path} is damaged in line {damaged[0]}; {ledger_remedy(path)}"
            )
    elif trials := _folders(path):
        raise StudyError(
            f"the ledger {path} is gone, but {len(trials)} trials are there; {ledger_remedy(path)}"
        )


def check_trials(path: Path, known: Mapping[str, int]) -> None:
    """Check that a journal knows every trial that has a folder.

    Args:
        path: the journal.
        known: scenario -> how many trials the journal has.

    Raises:
        StudyError: it does not; the next proposal would train in a folder that another left.
    """
    lost = [
        place
        for place in _folders(path)
        if int(place.name[1:]) >= known.get(place.parent.name, int(place.name[1:]) + 1)
    ]
    if lost:
        first = f"{lost[0].parent.name}/{lost[0].name}"
        raise StudyError(
            f"the ledger {path} does not know {len(lost)} trials, first {first}; "
            f"{ledger_remedy(path)}"
        )


def ledger_remedy(path: Path) -> str:
    """Return what to do about a damaged journal."""
    return (
        f"let `ltat-tune doctor {path.parent} --mend` make it again from the trials' own files, "
        "or restore it from a copy"
    )


def _folders(path: Path) -> list[Path]:
    """Return the folders of all trials that began to train, beside a journal."""
    trials = path.parent / "trials"
    own, copies = trials.glob("*/t*/checkpoint.pt"), trials.glob("*/t*/copy-*/checkpoint.pt")
    begun = {place.parent for place in own} | {place.parents[1] for place in copies}
    return sorted(place for place in begun if place.name[1:].isdigit())
