"""Tiny-ImageNet in its official layout: val is our test, grey becomes RGB, counts are checked."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.cache import prepare_cache
from ltat_tune.data.sources import ensure_available, is_available, open_source
from ltat_tune.errors import DataError
from tests.data.official import offer_tiny_imagenet, served, write_tiny_imagenet


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """The toy data set in `tmp_path/root`, its archive in there too."""
    write_tiny_imagenet(tmp_path / "root", monkeypatch)
    return DataConfig(name="tiny_imagenet", root=str(tmp_path / "root"))


def _folder(config: DataConfig) -> Path:
    assert config.root is not None
    return Path(config.root) / "tiny-imagenet-200"


def test_classes_are_the_sorted_ids_and_images_come_in_the_order_of_names(
    config: DataConfig,
) -> None:
    source = open_source(config)
    train = source.train()
    assert source.classes == ("n01", "n02", "n03")
    assert train.images.shape == (12, 3, 64, 64)
    assert train.images.dtype == np.uint8
    assert train.targets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    # Red is 60 for each step of the id and 10 for each image; the fourth of each class is grey.
    red, green = train.images[:, 0, 30, 30], train.images[:, 1, 30, 30]
    expected = [60 * c + 10 * i for c in (1, 2, 3) for i in range(4)]
    assert np.abs(red.astype(int) - expected).max() <= 3  # JPEG
    assert (np.abs(green.astype(int) - red)[3::4] <= 3).all()
    assert source.train_counts() == [4, 4, 4]


def test_the_official_validation_images_are_the_test_split(config: DataConfig) -> None:
    test = open_source(config).test()
    assert test.targets.tolist() == [2, 0, 1, 2, 0, 1]  # n03, n01, n02 twice
    assert np.abs(test.images[:, 0, 9, 9] / 60 - (test.targets + 1)).max() < 0.1


def test_grey_images_are_read_as_rgb_with_a_note(config: DataConfig, tmp_path: Path) -> None:
    notes = prepare_cache(config, tmp_path / "cache")
    assert notes == ["train: 3 of 12 images are not RGB and are read as RGB (3 L)"]
    assert prepare_cache(config, tmp_path / "cache") == notes  # of the cache


def test_without_the_folder_the_error_says_how_to_get_it(tmp_path: Path) -> None:
    config = DataConfig(name="tiny_imagenet", root=str(tmp_path))
    assert not is_available(config)
    with pytest.raises(DataError) as caught:
        open_source(config)
    assert str(caught.value) == (
        f"{tmp_path}/tiny-imagenet-200/wnids.txt and others are missing; run `ltat-tune prepare "
        f"tiny_imagenet --root {tmp_path}`, which downloads "
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip (248 MB); without a network, put "
        f"tiny-imagenet-200.zip into {tmp_path} first"
    )


def test_the_archive_is_downloaded_unpacked_and_checked(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "root" / "tiny-imagenet-200.zip"
    other = DataConfig(name="tiny_imagenet", root=str(tmp_path / "other"))
    with served(tmp_path / "root", monkeypatch) as address:
        offer_tiny_imagenet(archive, monkeypatch, f"{address}/{archive.name}")
        ensure_available(other)
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == [
        "tiny-imagenet-200",
        "tiny-imagenet-200.zip",
    ]
    assert (
        open_source(other).train().targets.tolist() == open_source(config).train().targets.tolist()
    )


def test_without_a_network_nothing_half_made_is_left(config: DataConfig, tmp_path: Path) -> None:
    other = DataConfig(name="tiny_imagenet", root=str(tmp_path / "other"))
    with pytest.raises(DataError, match="tiny-imagenet-200.zip .0 MB. cannot be downloaded"):
        ensure_available(other)
    with pytest.raises(DataError, match="tiny-imagenet-200.zip is missing; run"):
        ensure_available(other, download=False)
    assert list((tmp_path / "other").iterdir()) == []


def test_an_incomplete_folder_is_named_class_by_class(config: DataConfig) -> None:
    folder = _folder(config)
    (folder / "train" / "n01" / "images" / "n01_2.JPEG").unlink()
    shutil.rmtree(folder / "train" / "n03")
    for failing in (lambda: ensure_available(config), lambda: open_source(config).train()):
        with pytest.raises(DataError) as caught:
            failing()
        lines = str(caught.value).splitlines()
        assert lines[0] == f"{folder}/train/n01/images must hold 4 images, got 3"
        assert lines[1] == f"{folder}/train/n03/images must hold 4 images, got 0"
        assert lines[2].startswith(f"delete {folder} and run `ltat-tune prepare tiny_imagenet")
        assert len(lines) == 3


def test_test_images_that_are_missing_or_of_no_class_are_refused(config: DataConfig) -> None:
    folder = _folder(config) / "val"
    (folder / "images" / "val_4.JPEG").unlink()
    with pytest.raises(DataError, match="val/images lacks 1 images, the first is val_4.JPEG"):
        open_source(config).test()
    listed = folder / "val_annotations.txt"
    listed.write_text(listed.read_text().replace("n02", "n99"))
    with pytest.raises(
        DataError, match="must assign one of the 3 classes to each of 6 images, got 4 valid"
    ):
        open_source(config).test()
