"""The cache: decoded once, mapped by all, another key for other images."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ltat_tune.config import DataConfig
from ltat_tune.data import sources
from ltat_tune.data.cache import open_cached
from tests.data.toys import write_folder, write_image


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that is decoded from here on."""
    seen: list[Path] = []
    original = sources._decode

    def decode(paths: list[Path], size: int | None) -> object:
        seen.extend(paths)
        return original(paths, size)

    monkeypatch.setattr(sources, "_decode", decode)
    return seen


@pytest.fixture
def folder(tmp_path: Path) -> DataConfig:
    """Three ants and two bees."""
    return write_folder(tmp_path / "images", {"ant": 3, "bee": 2}, test=1)


def test_images_are_decoded_once_and_the_same_with_and_without_a_cache(
    folder: DataConfig, tmp_path: Path, decoded: list[Path]
) -> None:
    plain = open_cached(folder, None).train()
    assert len(decoded) == 5
    first = open_cached(folder, tmp_path / "cache").train()
    assert len(decoded) == 10
    again = open_cached(folder, tmp_path / "cache").train()
    assert len(decoded) == 10
    for found in (first, again):
        assert np.array_equal(found.images, plain.images)
        assert np.array_equal(found.targets, plain.targets)


def test_without_a_cache_every_read_decodes(folder: DataConfig, decoded: list[Path]) -> None:
    source = open_cached(folder, None)
    source.train()
    source.train()
    assert len(decoded) == 10


def test_images_are_memory_mapped_and_read_only(folder: DataConfig, tmp_path: Path) -> None:
    for _ in range(2):
        images = open_cached(folder, tmp_path / "cache").train().images
        assert isinstance(images, np.memmap)
        assert not images.flags.writeable


def test_the_test_split_is_not_decoded_while_only_train_is_read(
    folder: DataConfig, tmp_path: Path, decoded: list[Path]
) -> None:
    source = open_cached(folder, tmp_path / "cache")
    source.train()
    assert {path.parent.parent.name for path in decoded} == {"train"}
    assert [entry.name for entry in next((tmp_path / "cache").iterdir()).iterdir()] == ["train"]
    assert source.test().targets.tolist() == [0, 1]
    assert len(decoded) == 7


def test_digits_are_cached_too(tmp_path: Path) -> None:
    plain, cached = open_cached(DataConfig(), None), open_cached(DataConfig(), tmp_path)
    assert np.array_equal(plain.train().images, cached.train().images)
    assert np.array_equal(plain.test().targets, cached.test().targets)
    assert cached.train_counts() == plain.train_counts()


def test_the_slower_of_two_processes_takes_the_copy_of_the_quicker(
    folder: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = sources._decode

    def overtaken(paths: list[Path], size: int | None) -> object:
        monkeypatch.setattr(sources, "_decode", original)
        open_cached(folder, tmp_path / "cache").train()
        return original(paths, size)

    monkeypatch.setattr(sources, "_decode", overtaken)
    found = open_cached(folder, tmp_path / "cache").train()
    assert found.targets.tolist() == [0, 0, 0, 1, 1]
    (entry,) = (tmp_path / "cache").iterdir()
    assert [path.name for path in entry.iterdir()] == ["train"]  # no temporary folder is left


def test_two_processes_may_fill_the_cache_at_once(folder: DataConfig, tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from ltat_tune.config import DataConfig
from ltat_tune.data.cache import open_cached

root, cache, go = sys.argv[1:]
source = open_cached(DataConfig(name="image_folder", root=root), Path(cache))
print("ready", flush=True)
while not Path(go).exists():
    time.sleep(0.001)
print(int(source.train().images.sum(dtype="int64")))
"""
    go = tmp_path / "go"
    arguments = [sys.executable, "-c", script, str(folder.root), str(tmp_path / "cache"), str(go)]
    processes = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sums = []
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        go.touch()
        sums = [int(process.communicate(timeout=60)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    assert [process.returncode for process in processes] == [0, 0]
    expected = int(open_cached(folder, None).train().images.sum(dtype=np.int64))
    assert sums == [expected, expected]
    (entry,) = (tmp_path / "cache").iterdir()
    assert [path.name for path in entry.iterdir()] == ["train"]


def test_a_failed_write_leaves_nothing_behind(
    folder: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "save", full)
        with pytest.raises(OSError, match="No space left"):
            open_cached(folder, tmp_path / "cache").train()
    (entry,) = (tmp_path / "cache").iterdir()
    assert list(entry.iterdir()) == []
    assert len(open_cached(folder, tmp_path / "cache").train().targets) == 5


def test_a_file_that_is_added_gives_another_key(folder: DataConfig, tmp_path: Path) -> None:
    assert len(open_cached(folder, tmp_path / "cache").train().targets) == 5
    write_image(tmp_path / "images" / "train" / "bee" / "new.png", 99)
    assert open_cached(folder, tmp_path / "cache").train().targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_file_that_is_written_over_gives_another_key(folder: DataConfig, tmp_path: Path) -> None:
    """Writing a file anew does not change the time of its folder."""
    path = tmp_path / "images" / "train" / "ant" / "000.png"
    before = path.stat()
    old = open_cached(folder, tmp_path / "cache").train().images[0].copy()
    write_image(path, 99)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    new = open_cached(folder, tmp_path / "cache").train().images[0]
    assert not np.array_equal(old, new)


def test_the_key_tells_classes_and_sizes_apart(folder: DataConfig, tmp_path: Path) -> None:
    others = [
        folder,
        folder.model_copy(update={"classes": ("bee", "ant")}),
        folder.model_copy(update={"image_size": 16}),
    ]
    shapes = []
    for config in others:
        found = open_cached(config, tmp_path / "cache").train()
        shapes.append((found.targets.tolist()[:3], found.images.shape[-1]))
    assert shapes == [([0, 0, 0], 8), ([0, 0, 1], 8), ([0, 0, 0], 16)]
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_the_key_does_not_depend_on_what_changes_no_pixel(
    folder: DataConfig, tmp_path: Path, decoded: list[Path]
) -> None:
    open_cached(folder, tmp_path / "cache").train()
    open_cached(folder.model_copy(update={"imbalance_ratio": 2.0}), tmp_path / "cache").train()
    assert len(decoded) == 5
