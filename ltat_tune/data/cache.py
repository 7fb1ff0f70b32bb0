"""A cache of decoded splits as memory-mapped arrays, which all trials of a node share."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from ltat_tune.config.sections import DataConfig
from ltat_tune.data import image_folder
from ltat_tune.data.images import Images, Source
from ltat_tune.data.sources import open_source, select_images, whole_source
from ltat_tune.errors import DataError
from ltat_tune.files import HashedFile, read_json, write_json

_DIGESTS = "digests.json"


def open_cached(config: DataConfig, cache_dir: Path | None) -> Source:
    """Open a data set and decode its splits at most once into `cache_dir`; None always decodes.

    Whole splits are cached and classes are selected afterwards, so that profiles, ratios,
    hold-outs and (except for image folders) selections of classes share one copy. Every split has
    its own entry, so a training never opens the test images. An entry is written to a temporary
    folder and renamed, so several processes may write it at once.

    Raises:
        DataError: see `open_source`.
    """
    if cache_dir is None:
        return open_source(config)
    source = whole_source(config)

    def cached(split: str, load: Callable[[], Images]) -> Callable[[], Images]:
        def read() -> Images:
            entry = cache_dir / f"{config.name}-{split}-{_key(config, source, split)}"
            if entry.is_dir():
                try:
                    return _read(entry)
                except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
                    logging.getLogger("ltat_tune").warning(
                        f"decoded images {entry} are damaged ({error}); they are decoded again"
                    )
                    if not _set_aside(entry):
                        return load()
            _write(entry, load())
            return _read(entry)

        return read

    return select_images(source.with_splits(cached), config)


def prepare_cache(config: DataConfig, cache_dir: Path) -> list[str]:
    """Decode every split into the cache now, so that a bad image shows before a study begins.

    The official files must be present (`sources.ensure_available`).

    Returns:
        Human-readable notes, such as how many images are not RGB.

    Raises:
        DataError: images cannot be used. The error lists the problems of all splits.
    """
    try:
        splits = [read() for read in open_cached(config, cache_dir).splits.values()]
        alike = len({data.images.shape[1:] for data in splits}) == 1
    except DataError:
        if config.name == "image_folder":
            # Lists all problems, where reading stops at the first split.
            image_folder.check_image_folder(config)
        raise
    if not alike and config.name == "image_folder":
        image_folder.check_image_folder(config)
    return list(dict.fromkeys(note for data in splits for note in data.notes))


def _read(entry: Path) -> Images:
    """Return a split from its entry.

    Raises:
        OSError, ValueError, KeyError, TypeError, EOFError: the entry is damaged.
    """
    images, targets = entry / "images.npy", entry / "targets.npy"
    if (entry / _DIGESTS).exists():  # 0.4.0 wrote none
        digests = read_json(entry / _DIGESTS)
        for path in (images, targets):
            stat = path.stat()
            _check(path, digests[path.name], (stat.st_ino, stat.st_size, stat.st_mtime_ns))
    notes = tuple(map(str, read_json(entry / "notes.json")))
    return Images(np.load(images, mmap_mode="r"), np.load(targets), notes)


@functools.lru_cache(maxsize=64)
def _check(path: Path, digest: str, stat: tuple[int, int, int]) -> None:
    """Raise ValueError if a file's bytes have changed; once in a process for each state of it."""
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise ValueError(f"the bytes of {path.name} have changed since it was written")


def is_whole(entry: Path) -> bool:
    """Return whether an entry of a cache can be read and has the bytes that were written."""
    try:
        _read(entry)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return False
    return True


def _set_aside(entry: Path) -> bool:
    """Delete an entry, at once for every reader. Return False if the folder is not writable."""
    aside = entry.with_name(f".{entry.name}-damaged-{os.getpid()}")
    try:
        os.rename(entry, aside)
    except FileNotFoundError:  # another process was faster
        return True
    except OSError:
        return False
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _key(config: DataConfig, source: Source, split: str) -> str:
    """Hash everything that changes the decoded arrays, above all the files of the split."""
    files = []
    for path in source.files(split):
        try:
            stat = os.stat(path)
            files.append([os.path.abspath(path), stat.st_size, stat.st_mtime_ns])
        except OSError:  # reading the file will report the error
            files.append([os.path.abspath(path)])
    facts: list[Any] = [config.name, source.classes, config.image_size, files]
    facts += [config.model_extra] if config.model_extra else []  # of a plugin's data set
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def _write(entry: Path, data: Images) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    try:
        arrays = {"images.npy": data.images, "targets.npy": data.targets}
        digests = {name: _save(temporary / name, array) for name, array in arrays.items()}
        write_json(temporary / "notes.json", list(data.notes), sync=False)
        write_json(temporary / _DIGESTS, digests, sync=False)
        os.chmod(temporary, 0o755)
        os.rename(temporary, entry)
    except OSError:
        if not entry.is_dir():  # otherwise another process was faster, and its copy is equal
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _save(path: Path, array: npt.NDArray[Any]) -> str:
    """Write an array; return the SHA-256 of the file."""
    with open(path, "wb") as file:
        hashed = HashedFile(file)
        np.save(cast(IO[bytes], hashed), array)
    return hashed.digest.hexdigest()
