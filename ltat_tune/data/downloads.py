"""Official files of data sets: their folder, their hashes and their download."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.images import expanded
from ltat_tune.data.torchvision_door import import_torchvision
from ltat_tune.errors import DataError

_UNPACKED = ("cifar-10-batches-py", "cifar-100-python", "tiny-imagenet-200")


@dataclass(frozen=True)
class Download:
    """A file that its publisher offers for download."""

    url: str
    name: str
    md5: str
    size: int  # bytes


def official_root(config: DataConfig) -> Path:
    """Return the folder of official files: data.root, or else `ltat-tune` in the user's cache.

    If data.root is the folder that an archive unpacks to, its parent is returned.

    Raises:
        DataError: data.root names a home directory that does not exist.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    root = expanded(config.root or Path(cache) / "ltat-tune").absolute()
    return root.parent if root.name in _UNPACKED else root


def require(config: DataConfig, paths: Sequence[Path], downloads: Sequence[Download]) -> None:
    """Raise DataError with a remedy if one of the official files is missing."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        first = f"{missing[0]} is" if len(missing) == 1 else f"{missing[0]} and others are"
        raise DataError(f"{first} missing; {how_to_get(config, downloads)}")


def how_to_get(config: DataConfig, downloads: Sequence[Download]) -> str:
    """Return the remedy for missing files, with and without a network."""
    root = official_root(config)
    at = "" if config.root is None else f" --root {config.root}"
    files = " and ".join(f"{d.url} ({d.size / 1e6:.0f} MB)" for d in downloads)
    return (
        f"run `ltat-tune prepare {config.name}{at}`, which downloads {files}; without a network, "
        f"put {' and '.join(d.name for d in downloads)} into {root} first"
    )


def has_md5(path: Path, md5: str) -> bool:
    """Return whether the file exists and is the published one."""
    if not path.is_file():
        return False
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == md5


def fetch(
    config: DataConfig, downloads: Sequence[Download], *, download: bool, unpack_to: Path
) -> None:
    """Download the files that the root lacks and unpack archives into `unpack_to`.

    A file that is already in the root is used if it is the published one.

    Raises:
        DataError: a file is missing and cannot or must not be downloaded, or cannot be unpacked.
    """
    root = official_root(config)
    for file in downloads:
        path = root / file.name
        if not has_md5(path, file.md5):
            if not download:
                raise DataError(f"{path} is missing; {how_to_get(config, downloads)}")
            _download(file, root)
        try:
            if path.name.endswith((".tar.gz", ".tgz")):
                shutil.unpack_archive(path, unpack_to, filter="data")
            elif path.suffix == ".zip":
                shutil.unpack_archive(path, unpack_to)
        except (OSError, shutil.ReadError) as error:
            raise DataError(
                f"{path} cannot be unpacked into {unpack_to} ({type(error).__name__}: {error}); "
                "is the disk full?"
            ) from error


def _download(file: Download, root: Path) -> None:
    datasets = import_torchvision("datasets.utils")
    try:
        datasets.download_url(file.url, root, file.name, file.md5)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise DataError(
            f"{file.url} ({file.size / 1e6:.0f} MB) cannot be downloaded "
            f"({type(error).__name__}: {error}); download it on a machine with a network, put "
            f"{file.name} into {root} and run the same command again"
        ) from error
