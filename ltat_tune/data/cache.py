"""Decoded once: official splits as memory-mapped arrays that all trials of a node share."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ltat_tune.config import DataConfig
from ltat_tune.data.sources import Images, Source, open_source


def open_cached(config: DataConfig, cache_dir: Path | None) -> Source:
    """The data set, its splits decoded at most once into `cache_dir`; None decodes every time.

    Train and test lie in separate files, so that a training never opens the test images. Entries
    are made in a temporary folder and renamed, so several processes may do it at once.
    """
    source = open_source(config)
    if cache_dir is None:
        return source
    folder = cache_dir / f"{config.name}-{_key(config, source)}"

    def cached(split: str, load: Callable[[], Images]) -> Callable[[], Images]:
        def read() -> Images:
            entry = folder / split
            if not entry.is_dir():
                _write(entry, load())
            return Images(
                np.load(entry / "images.npy", mmap_mode="r"), np.load(entry / "targets.npy")
            )

        return read

    return replace(source, train=cached("train", source.train), test=cached("test", source.test))


def _key(config: DataConfig, source: Source) -> str:
    """Changes with everything that changes the decoded arrays, the files of a folder included."""
    facts: list[object] = [config.name, source.classes, config.image_size]
    if config.root is not None:
        root = Path(config.root).expanduser().resolve()
        facts.append(str(root))
        for split in ("train", "test"):
            for name in source.classes:
                with os.scandir(root / split / name) as entries:
                    stats = [(e.name, e.stat(follow_symlinks=False)) for e in entries]
                files = sorted([file, s.st_size, s.st_mtime_ns] for file, s in stats)
                facts.append([split, name, files])
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def _write(entry: Path, data: Images) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    try:
        np.save(temporary / "images.npy", data.images)
        np.save(temporary / "targets.npy", data.targets)
        os.chmod(temporary, 0o755)
        os.rename(temporary, entry)
    except OSError:
        if not entry.is_dir():  # else another process was quicker, and its copy is as good
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
