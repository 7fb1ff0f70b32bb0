"""Measures sizes on disk and deletes: whole studies, or only what nobody needs any more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ltat_tune.errors import StudyError
from ltat_tune.files import beside, is_left_over
from ltat_tune.presentation.states import state_in_words
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.identity import store_of
from ltat_tune.storage.task_files import SENTINEL_ATTACKS, TEST_BATCHES
from ltat_tune.tracking.store import sqlite_file

_WEIGHTS = "checkpoint*"


@dataclass(frozen=True)
class Waste:
    """Something to delete.

    Attributes:
        why: what it was for, so that users know what is gone.
        size: bytes.
    """

    path: Path
    why: str
    size: int


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder.

    Links are not followed, and hard links to one file count once.
    """
    seen: set[tuple[int, int]] = set()
    total = 0
    for file in _files(path):
        try:
            status = file.lstat()
        except FileNotFoundError:  # a running study deletes what it wrote
            continue
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            total += status.st_size
    return total


def own_store(folder: StudyFolder) -> list[Path]:
    """Return the files of an MLflow store that belongs to the study.

    The list is empty if others may use the store.
    """
    if sqlite_file(store_of(folder).uri) != folder.root.resolve() / "mlflow.db":
        return []
    return [p for p in folder.root.glob("mlflow*") if p.name != "mlflow-waiting.jsonl"]


def remove(folder: StudyFolder) -> None:
    """Delete a study with everything in its folder.

    The folder is renamed first, so that an interrupted deletion leaves no half study by its name.

    Raises:
        StudyError: the study is running, or its folder is a link.
    """
    if folder.root.is_symlink():
        raise StudyError(f"{folder.root} is a link; delete what it points to, or unlink it")
    with folder.locked():
        aside = beside(folder.root)
        folder.root.rename(aside)
        shutil.rmtree(aside)


def all_but_best(
    folder: StudyFolder, winners: Collection[tuple[str, str | None]] | None
) -> list[Waste]:
    """Return everything but best/, winners' checkpoints, the results and small files of trials.

    With those, `compare`, `show`, `evaluate` and `export` still work. A study cannot branch or
    continue from what was deleted.

    Args:
        folder: the study.
        winners: scenario and recipe of each winner; None of a study without results.

    Raises:
        StudyError: the study has no results, so its best is not known.
    """
    if winners is None:
        raise StudyError(
            f"{folder.root.name} has no results yet, so its best is not known; finish it: "
            f"{folder.resume_command}, or delete it without --keep-best"
        )
    items = _everywhere(folder)
    items += [_waste(p, "MLflow's store of this study") for p in own_store(folder)]
    items += [_waste(p, "weights of a trial") for p in _weights(folder.root / "trials")]
    for place in sorted((folder.root / "confirmations").glob("*/*")):
        if (place.parent.name, place.name.rpartition("-seed")[0]) not in winners:
            items += [_waste(p, "weights of a confirmation that did not win")
                      for p in _weights(place)]  # fmt: skip
    return _once(items)


def waste(folder: StudyFolder) -> list[Waste]:
    """Return what nobody needs: of an unfinished study, only what was cut off.

    Nothing that a resume, figures or an evaluation reads is in the list, with two exceptions:
    decoded images, which they decode again, and weights of trials that were stopped early, which
    nothing continues.
    """
    items = [
        _waste(path, "half written by a process that no longer runs")
        for path in _files(folder.root)
        if is_left_over(path)
    ]
    if folder.ray.exists():
        items.append(_waste(folder.ray, "Ray's own files of a study that is not running"))
    if not folder.results.exists():
        return _once(items)
    from ltat_tune.storage.trials import read_trials

    items += _everywhere(folder)
    for place in sorted((folder.root / "confirmations").glob("*/*")):
        left = (place / name for name in (TEST_BATCHES, SENTINEL_ATTACKS))
        items += [_waste(path, "attacks of a test that was killed") for path in left
                  if path.exists()]  # fmt: skip
    for row in read_trials(folder):
        ended = row.state in ("pruned", "failed", "diverged")
        verb = "was " if row.state == "pruned" else ""
        why = f"weights of a trial that {verb}{state_in_words(row.state)}"
        if ended:
            items += [_waste(path, why) for path in _weights(row.folder)]
        else:
            copies = [path for copy in row.folder.glob("copy-*") for path in _weights(copy)]
            items += [_waste(path, "weights of a short copy that was judged") for path in copies]
    return _once(items)


def left_over_studies(out: Path) -> list[Waste]:
    """Return the folders of studies whose deletion was interrupted."""
    folders = out.iterdir() if out.is_dir() else ()
    return [
        _waste(path, "a deletion that was cut short")
        for path in sorted(folders)
        if path.is_dir() and is_left_over(path) and not StudyFolder(path).is_running()
    ]


def delete(items: Iterable[Waste]) -> int:
    """Delete the items, some of which may be gone already. Return the freed bytes."""
    freed = 0
    for item in items:
        if item.path.is_dir() and not item.path.is_symlink():
            shutil.rmtree(item.path, ignore_errors=True)
        else:
            item.path.unlink(missing_ok=True)
        freed += item.size
    return freed


def _everywhere(folder: StudyFolder) -> list[Waste]:
    """Return the folders that a finished study can create again."""
    kinds = {folder.stems: "beginnings that trials shared",
             folder.cache: "decoded images, decoded again when needed"}  # fmt: skip
    return [_waste(path, why) for path, why in kinds.items() if path.exists()]


def _weights(place: Path) -> Iterator[Path]:
    return (path for path in sorted(place.rglob(_WEIGHTS)) if path.is_file())


def _waste(path: Path, why: str) -> Waste:
    return Waste(path, why, size_of(path))


def _once(items: Iterable[Waste]) -> list[Waste]:
    """Return each path once, and none that lies inside a folder on the list."""
    by_path: dict[Path, Waste] = {}
    for item in items:
        by_path.setdefault(item.path, item)
    return [item for path, item in by_path.items() if not by_path.keys() & set(path.parents)]


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir() and not path.is_symlink():
        for folder, _, names in os.walk(path):
            yield from (Path(folder) / name for name in names)
    elif path.exists() or path.is_symlink():
        yield path
