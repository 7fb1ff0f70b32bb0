"""The cache: decoded once, mapped by all, another key for other images."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltat_tune.config.sections import DataConfig
from ltat_tune.data import image_folder
from ltat_tune.data.cache import open_cached, prepare_cache
from ltat_tune.data.decoding import decode
from ltat_tune.data.sources import open_source
from ltat_tune.data.torchvision_door import import_torchvision
from ltat_tune.errors import DataError
from tests.damage import flip
from tests.data.official import write_cifar10
from tests.data.toys import write_folder, write_image


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that is decoded from here on."""
    seen: list[Path] = []
    original = decode

    def counted(paths: list[Path], size: int | None) -> object:
        seen.extend(paths)
        return original(paths, size)

    monkeypatch.setattr(image_folder, "decode", counted)
    return seen


def _entries(cache: Path) -> list[str]:
    """The splits in the cache of a folder's images; fails on anything that is not one."""
    names = sorted(entry.name for entry in cache.iterdir())
    assert all(name.startswith("image_folder-") for name in names)
    return [name.split("-")[1] for name in names]


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
    assert _entries(tmp_path / "cache") == ["train"]
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
    original = decode

    def overtaken(paths: list[Path], size: int | None) -> object:
        monkeypatch.setattr(image_folder, "decode", original)
        open_cached(folder, tmp_path / "cache").train()
        return original(paths, size)

    monkeypatch.setattr(image_folder, "decode", overtaken)
    found = open_cached(folder, tmp_path / "cache").train()
    assert found.targets.tolist() == [0, 0, 0, 1, 1]
    assert _entries(tmp_path / "cache") == ["train"]  # no temporary folder is left


def test_two_processes_may_fill_the_cache_at_once(folder: DataConfig, tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from ltat_tune.config.sections import DataConfig
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
    assert _entries(tmp_path / "cache") == ["train"]


def test_a_failed_write_leaves_nothing_behind(
    folder: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "save", full)
        with pytest.raises(OSError, match="No space left"):
            open_cached(folder, tmp_path / "cache").train()
    assert list((tmp_path / "cache").iterdir()) == []
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


def test_classes_of_an_official_set_are_picked_from_one_copy_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path / "files", monkeypatch)
    reads: list[str] = []
    data_set = import_torchvision("datasets").CIFAR10
    build = data_set.__init__

    def counted(source: object, *arguments: object, **options: object) -> None:
        reads.append("CIFAR10")
        build(source, *arguments, **options)

    monkeypatch.setattr(data_set, "__init__", counted)
    config = DataConfig(name="cifar10", root=str(tmp_path / "files"))
    open_cached(config, tmp_path / "cache").train()
    for classes in (("cat", "dog"), ("dog", "cat"), ("ship", "frog", "bird")):
        some = config.model_copy(update={"classes": classes})
        found = open_cached(some, tmp_path / "cache").train()
        assert len(reads) == 1
        plain = open_source(some).train()
        reads.pop()
        assert np.array_equal(found.images, plain.images)
        assert np.array_equal(found.targets, plain.targets)
    assert [entry.name.split("-")[:2] for entry in (tmp_path / "cache").iterdir()] == [
        ["cifar10", "train"]
    ]


def test_official_files_that_change_give_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path / "files", monkeypatch)
    config = DataConfig(name="cifar10", root=str(tmp_path / "files"))
    open_cached(config, tmp_path / "cache").test()
    batch = tmp_path / "files" / "cifar-10-batches-py" / "test_batch"
    os.utime(batch, ns=(0, batch.stat().st_mtime_ns + 1))
    open_cached(config, tmp_path / "cache").test()
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_prepare_decodes_every_split_with_notes_and_not_again(
    folder: DataConfig, tmp_path: Path, decoded: list[Path]
) -> None:
    Image.new("L", (8, 8), 100).save(tmp_path / "images" / "test" / "bee" / "grey.png")
    cache = tmp_path / "cache"
    notes = ["test/: 1 of 3 images are not RGB and are read as RGB (1 L)"]
    assert prepare_cache(folder, cache) == notes
    assert _entries(cache) == ["test", "train"]
    assert len(decoded) == 8
    assert prepare_cache(folder, cache) == notes
    open_cached(folder, cache).test()
    assert len(decoded) == 8


def test_prepare_names_what_is_wrong_in_all_splits_at_once(
    folder: DataConfig, tmp_path: Path
) -> None:
    torn = [tmp_path / "images" / split / "ant" / "torn.png" for split in ("train", "test")]
    for path in torn:
        path.write_text("no")
    with pytest.raises(DataError) as caught:
        prepare_cache(folder, tmp_path / "cache")
    assert all(str(path) in str(caught.value) for path in torn)


def test_prepare_finds_splits_whose_images_differ_in_size(
    folder: DataConfig, tmp_path: Path
) -> None:
    for name in ("ant", "bee"):
        write_image(tmp_path / "images" / "test" / name / "000.png", 1, size=(9, 9))
    with pytest.raises(DataError, match="got 2 sizes"):
        prepare_cache(folder, tmp_path / "cache")


def test_prepare_of_digits_has_nothing_to_say(tmp_path: Path) -> None:
    assert prepare_cache(DataConfig(), tmp_path) == []
    assert sorted(entry.name.split("-")[1] for entry in tmp_path.iterdir()) == ["test", "train"]


# --- damage ---


@pytest.mark.parametrize("name", ["images.npy", "targets.npy"])
@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_a_damaged_entry_is_decoded_again_and_gives_the_same_images(
    name: str,
    how: str,
    folder: DataConfig,
    tmp_path: Path,
    decoded: list[Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = tmp_path / "cache"
    whole = np.array(open_cached(folder, cache).train().images)
    (entry,) = cache.iterdir()
    path = entry / name
    if how == "flip":
        flip(path, path.stat().st_size - 3)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        path.unlink()
    decoded.clear()
    again = open_cached(folder, cache).train()
    assert len(decoded) == 5
    assert np.array_equal(again.images, whole)
    assert again.targets.tolist() == [0, 0, 0, 1, 1]
    assert "are damaged" in caplog.text and "decoded again" in caplog.text
    assert len(list(cache.iterdir())) == 1
    open_cached(folder, cache).train()
    assert len(decoded) == 5  # it was mended


def test_an_entry_of_0_4_0_has_no_digests_and_is_read(
    folder: DataConfig, tmp_path: Path, decoded: list[Path]
) -> None:
    open_cached(folder, tmp_path / "cache").train()
    (entry,) = (tmp_path / "cache").iterdir()
    (entry / "digests.json").unlink()
    decoded.clear()
    assert open_cached(folder, tmp_path / "cache").train().targets.tolist() == [0, 0, 0, 1, 1]
    assert decoded == []
