"""List the studies of a folder, one row each: state, age, trials, best score, size."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from rich.filesize import decimal

from ltat_tune.errors import StudyError
from ltat_tune.presentation.units import duration, percent
from ltat_tune.storage.cleanup import size_of
from ltat_tune.storage.folder import StudyFolder, list_studies
from ltat_tune.storage.trials import best_of, read_trials


def overview(out: Path) -> list[dict[str, Any]]:
    """Return a row for every study; the state of an unreadable study says so."""
    rows = []
    for name in list_studies(out):
        folder = StudyFolder(out / name)
        try:
            rows.append(_row(folder, folder.read_facts()))
        except (StudyError, OSError) as error:
            rows.append(_row(folder, {"created": "", "space_file": ""}, broken=str(error)))
    return rows


def for_people(row: dict[str, Any]) -> dict[str, str]:
    """Return a row of `overview` as a table shows it, with the best score in percent."""
    best = "-" if row["best"] is None else percent(row["best"])
    planned = row["trials_planned"]
    of = f"/{'?' if planned is None else planned}"
    if planned is not None and row["trials"] > planned:
        of = ""  # with predict, a trial that only a copy trained counts as less than one
    failed = f", {row['failed']} failed" if row["failed"] else ""
    marks = (", on test" if row["selected_on_test"] else "") + (", smoke" if row["smoke"] else "")
    return {
        "study": row["study"],
        "state": f"{row['state']}{marks}",
        "trials": f"{row['trials']}{of}{failed}",
        "best, %": best,
        "age": duration(row["age_s"]),
        "size": decimal(row["bytes"]),
    }


def _row(folder: StudyFolder, facts: dict[str, Any], broken: str = "") -> dict[str, Any]:
    row: dict[str, Any] = {
        "study": folder.root.name, "state": folder.state(), "trials": 0, "trials_planned": None,
        "failed": 0, "best": None, "best_trial": "", "objective": "",
        "created": str(facts["created"]), "age_s": _age(str(facts["created"])),
        "bytes": size_of(folder.root), "space_file": str(facts["space_file"]),
        "smoke": bool(facts.get("smoke")), "selected_on_test": False,
    }  # fmt: skip
    if broken:
        return {**row, "state": "unreadable study.json", "error": broken}
    try:
        trials = read_trials(folder)
    except StudyError as error:
        return {**row, "state": "unreadable ledger", "error": str(error)}
    ended = [trial for trial in trials if trial.state != "running"]
    best = best_of(ended)
    row["trials"] = len(ended)
    row["failed"] = sum(trial.state in ("failed", "diverged") for trial in ended)
    if best is not None:
        row |= {"best": best.score, "best_trial": best.name}
    return row | _planned(folder)


def _planned(folder: StudyFolder) -> dict[str, Any]:
    """Return what the space file plans, without the seconds that a full check takes."""
    try:
        document = yaml.safe_load(folder.space.read_text())
        axes = document.get("scenarios") or {}
        scenarios = 1
        for values in axes.values():
            scenarios *= len(values)
        searcher = document.get("searcher") or {}
        trials = searcher.get("trials")
        fixed = document.get("fixed") or {}
        objective = (document.get("objective") or {}).get("metric", "")
    except (OSError, yaml.YAMLError, AttributeError, TypeError):
        return {}
    return {
        "trials_planned": None if trials is None else int(trials) * scenarios,
        "objective": objective,
        "selected_on_test": fixed.get("data.val_source") == "test",
    }


def _age(created: str) -> float:
    """Return the seconds since a time in ISO format; 0 for any other text."""
    try:
        began = datetime.fromisoformat(created)
    except ValueError:
        return 0.0
    if began.tzinfo is None:
        began = began.replace(tzinfo=UTC)
    return max(0.0, time.time() - began.timestamp())
