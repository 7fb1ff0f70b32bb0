"""Makes `study.json` and `space.yaml` again, without which nothing else of a study can be read.

Each holds the space file. What `study.json` knows besides is in MLflow: as an artifact of the
study's own run, and in its tags.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ltat_tune import provenance
from ltat_tune.config.parameters import defaults
from ltat_tune.engine.doctor.damage import set_aside
from ltat_tune.errors import LtatError, SpaceError, StudyError
from ltat_tune.space.reader import read_document, read_space
from ltat_tune.storage.folder import STUDY_FORMAT, StudyFolder
from ltat_tune.tracking.run_records import RunRecord, recorded_runs
from ltat_tune.tracking.store import ARTIFACTS, lasting_uri, public_uri, tracking_uri

_STUDY = "study"  # key of the study's own run


def lost_files(
    folder: StudyFolder, uri: str | None = None
) -> Iterator[tuple[str, Callable[[], str] | None, str]]:
    """Yield what is wrong with the two files: a sentence, what mends it, or else the remedy.

    Args:
        folder: the study.
        uri: the MLflow store, if it is not the study's own file.
    """
    facts, space = _facts(folder), _document(folder)
    if space is None:
        source = (facts or {}).get("space") or _artifact(folder, "space.yaml")
        yield (
            f"{folder.space} is {_state(folder.space)}",
            partial(_write_space, folder, source) if source else None,
            "restore it from a copy, or from the space file that the study was started with",
        )
    elif facts is not None and facts.get("space") not in (None, space) and _is_broken(folder):
        yield (
            f"{folder.space} is no space file any more",
            partial(_write_space, folder, facts["space"]), "",
        )  # fmt: skip
    if facts is None:
        found = _from_artifact(folder) or _from_runs(folder, uri)
        yield (
            f"{folder.facts} is {_state(folder.facts)}",
            partial(_write_facts, folder, found) if isinstance(found, dict) else None,
            found if isinstance(found, str) else "",
        )


def _facts(folder: StudyFolder) -> dict[str, Any] | None:
    """Return the content of `study.json`; None if it is gone or damaged."""
    try:
        return folder.read_facts()
    except StudyError:
        return None


def _document(folder: StudyFolder) -> dict[str, Any] | None:
    """Return the content of `space.yaml`; None if it is gone or damaged."""
    try:
        return read_document(folder.space)[0]
    except SpaceError:
        return None


def _is_broken(folder: StudyFolder) -> bool:
    try:
        read_space(folder.space)
    except LtatError:
        return True
    return False


def _state(path: Path) -> str:
    return "damaged" if os.path.lexists(path) else "gone"


def _artifact(folder: StudyFolder, name: str) -> Any:
    """Return the content of an artifact of the study's own run, the newest that can be read."""
    paths = sorted((folder.root / ARTIFACTS).rglob(name), key=lambda p: -p.stat().st_mtime)
    for path in paths:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(content, dict) and content:
            return content
    return None


def _from_artifact(folder: StudyFolder) -> dict[str, Any] | None:
    facts: dict[str, Any] | None = _artifact(folder, folder.facts.name)
    if facts is None or facts.get("format") != STUDY_FORMAT:
        return None
    with contextlib.suppress(StudyError):  # a copy's runs have another id than their artifact
        if (folder.root / "mlflow.db").exists():
            studies = recorded_runs(tracking_uri(None, folder.root), str(facts.get("name")))
            facts["uid"] = next(iter(studies)) if len(studies) == 1 else facts["uid"]
    return facts


def _from_runs(folder: StudyFolder, uri: str | None) -> dict[str, Any] | str:
    """Return the facts that MLflow's tags give, or why they do not."""
    remedy = (
        "restore it from a copy, or name the study's MLflow store with --tracking-uri, whose runs "
        "tell most of it"
    )
    space = _document(folder) or _artifact(folder, "space.yaml")
    uri = None if (folder.root / "mlflow.db").exists() else uri  # its own store, if it has one
    store = tracking_uri(uri, folder.root)
    if space is None or (uri is None and not (folder.root / "mlflow.db").exists()):
        return remedy
    name = str(space.get("name") or folder.root.name)
    try:
        studies = recorded_runs(store, name)
    except StudyError as error:
        return f"{error}; {remedy}"
    trials = {f"{p.parent.name}/{p.name}" for p in folder.root.glob("trials/*/t[0-9]*")}
    fitting = [uid for uid, runs in studies.items() if trials <= runs.keys() or uri is None]
    if len(fitting) != 1:
        return (
            f"{public_uri(store)} has {len(fitting)} studies named {name} with these trials; "
            "restore it from a copy"
        )
    (uid,) = fitting
    return _facts_of(studies[uid], space, folder, uid=uid, name=name, uri=uri)


def _facts_of(
    runs: Mapping[str, RunRecord],
    space: dict[str, Any],
    folder: StudyFolder,
    *,
    uid: str,
    name: str,
    uri: str | None,
) -> dict[str, Any]:
    tags = runs[_STUDY].tags if _STUDY in runs else {}
    begun = min((run.started for run in runs.values()), default=None)
    recorded = {
        key.removeprefix("version."): value
        for key, value in tags.items() if key.startswith("version.")
    }  # fmt: skip
    smoke = "a smoke run: its numbers mean nothing" if tags.get("smoke") == "true" else ""
    return {
        "format": STUDY_FORMAT,
        "uid": uid,
        "name": name,
        "space_file": tags.get("space_file", folder.space.name),
        "created": "" if begun is None else begun.isoformat(timespec="seconds"),
        "tracking_uri": None if uri is None else lasting_uri(uri, folder.root),
        "smoke": smoke,
        "space": json.loads(json.dumps(space)),
        "defaults": defaults(),
        "versions": recorded or provenance.versions(),
        "commit": tags.get("commit", ""),
        "machine": tags.get("machine", ""),
    }


def _write_space(folder: StudyFolder, document: dict[str, Any]) -> str:
    aside = set_aside(folder.space)
    folder.write_space(document)
    return f"written again from the study's records{_old(aside)}"


def _write_facts(folder: StudyFolder, facts: dict[str, Any]) -> str:
    aside = set_aside(folder.facts)
    folder.write_facts({**facts, "place": str(folder.root.resolve())})
    return f"written again from what MLflow has of the study{_old(aside)}"


def _old(aside: str) -> str:
    return f"; {aside} is the old one" if aside else ""
