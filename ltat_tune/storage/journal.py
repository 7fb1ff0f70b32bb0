"""The lines of the ledger's file: one JSON record each."""

from __future__ import annotations

import json
import os
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
    study = path.parent
    mend = f"restore it from a copy, or let `ltat-tune doctor {study} --mend` keep what it can"
    if path.exists():
        if damaged := damaged_lines(path):
            raise StudyError(f"the ledger {path} is damaged in line {damaged[0]}; {mend}")
    elif trials := [*study.glob("trials/*/t[0-9]*/checkpoint.pt")]:
        raise StudyError(f"the ledger {path} is gone, but {len(trials)} trials are there; {mend}")
