"""Sizes on disk, and deleting: whole studies, or only what nobody needs any more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ltat_tune.errors import StudyError
from ltat_tune.files import beside, is_left_over
from ltat_tune.storage.folder import StudyFolder

_WEIGHTS = "checkpoint*"


@dataclass(frozen=True)
class Waste:
    """Something to delete.

    Attributes:
        why: what it was for, so that it is known what is gone.
        size: bytes.
    """

    path: Path
    why: str
    size: int


def size_of(path: Path) -> int:
    """Bytes of a file or of all files below a folder; links are not followed, twins count once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for file in _files(path):
        try:
            found = file.lstat()
        except FileNotFoundError:  # a running study deletes what it wrote
            continue
        if (found.st_dev, found.st_ino) not in seen:
            seen.add((found.st_dev, found.st_ino))
            total += found.st_size
    return total


def own_store(folder: StudyFolder) -> list[Path]:
    """Files of an MLflow store that is the study's own; empty for one that others may use."""
    uri = folder.read_facts().get("tracking_uri")
    if uri not in (None, f"sqlite:///{folder.root.resolve() / 'mlflow.db'}"):
        return []
    return [p for p in folder.root.glob("mlflow*") if p.name != "mlflow-waiting.jsonl"]


def remove(folder: StudyFolder) -> None:
    """Deletes a study with everything in its folder.

    It is renamed first, so that a deletion that is cut short leaves no half of it by its name.

    Raises:
        StudyError: it is being run, or is a link.
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
    """List all but best/, the winners' checkpoints, the results and the small files of trials.

    With those, `compare`, `show`, `evaluate` and `export` go on; what was deleted cannot be
    branched or continued from.

    Args:
        folder: the study.
        winners: scenario and recipe of each winner; None of a study without results.

    Raises:
        StudyError: the study has no results, so nothing is known to be best.
    """
    if winners is None:
        raise StudyError(
            f"{folder.root.name} has no results yet, so its best is not known; finish it: "
            f"{folder.resume_command}, or delete it without --keep-best"
        )
    found = _everywhere(folder)
    found += [_waste(p, "MLflow's store of this study") for p in own_store(folder)]
    found += [_waste(p, "weights of a trial") for p in _weights(folder.root / "trials")]
    for place in sorted((folder.root / "confirmations").glob("*/*")):
        if (place.parent.name, place.name.rpartition("-seed")[0]) not in winners:
            found += [_waste(p, "weights of a confirmation that did not win")
                      for p in _weights(place)]  # fmt: skip
    return _once(found)


def waste(folder: StudyFolder) -> list[Waste]:
    """What nobody needs: of a finished study, and of one that is left only what broke off.

    Nothing that a resume, figures or an evaluation reads, but decoded images, which they make
    again, and weights of trials that were stopped, which nothing continues.
    """
    found = [
        _waste(path, "half written by a process that is gone")
        for path in _files(folder.root)
        if is_left_over(path)
    ]
    if folder.ray.exists():
        found.append(_waste(folder.ray, "Ray's own files of a study that is not running"))
    if not folder.results.exists():
        return _once(found)
    from ltat_tune.storage.trials import read_trials

    found += _everywhere(folder)
    for row in read_trials(folder):
        ended = row.state in ("pruned", "failed", "diverged")
        why = f"weights of a trial that {'was pruned' if row.state == 'pruned' else row.state}"
        if ended:
            found += [_waste(path, why) for path in _weights(row.folder)]
        else:
            copies = [path for copy in row.folder.glob("copy-*") for path in _weights(copy)]
            found += [_waste(path, "weights of a short copy, judged and done") for path in copies]
    return _once(found)


def left_over_studies(out: Path) -> list[Waste]:
    """Folders of studies whose deletion was cut short."""
    folders = out.iterdir() if out.is_dir() else ()
    return [
        _waste(path, "a deletion that was cut short")
        for path in sorted(folders)
        if path.is_dir() and is_left_over(path)
    ]


def delete(items: Iterable[Waste]) -> int:
    """Deletes; what is gone already is as good. Returns the bytes."""
    freed = 0
    for item in items:
        if item.path.is_dir() and not item.path.is_symlink():
            shutil.rmtree(item.path, ignore_errors=True)
        else:
            item.path.unlink(missing_ok=True)
        freed += item.size
    return freed


def _everywhere(folder: StudyFolder) -> list[Waste]:
    """Folders that a finished study makes again if it ever needs them."""
    kinds = {folder.stems: "beginnings that trials shared",
             folder.cache: "decoded images, made again when they are needed"}  # fmt: skip
    return [_waste(path, why) for path, why in kinds.items() if path.exists()]


def _weights(place: Path) -> Iterator[Path]:
    return (path for path in sorted(place.rglob(_WEIGHTS)) if path.is_file())


def _waste(path: Path, why: str) -> Waste:
    return Waste(path, why, size_of(path))


def _once(found: Iterable[Waste]) -> list[Waste]:
    """Each path once, and none inside a folder that is on the list."""
    by_path: dict[Path, Waste] = {}
    for item in found:
        by_path.setdefault(item.path, item)
    return [item for path, item in by_path.items() if not by_path.keys() & set(path.parents)]


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir() and not path.is_symlink():
        for folder, _, names in os.walk(path):
            yield from (Path(folder) / name for name in names)
    elif path.exists() or path.is_symlink():
        yield path
