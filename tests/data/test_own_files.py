"""The user's own files: arrays, lists, MNIST's files and fixed splits."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ltat_tune.config.sections import DataConfig
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.cache import open_cached, prepare_cache
from ltat_tune.data.datasets import load_splits
from ltat_tune.data.images import resized
from ltat_tune.data.own_files import mnist_files
from ltat_tune.data.sources import class_counts, ensure_available, is_available, open_source
from ltat_tune.errors import ConfigError, DataError
from tests.data.toys import write_folder, write_image

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
COUNTS = {"train": [6, 3, 2], "val": [2, 2, 2], "test": [1, 2, 1]}


def write_npz(path: Path, *, channels: int = 1, side: int = 28, **changed: Any) -> DataConfig:
    """A file as MedMNIST publishes them: labels N x 1, grey images without an axis of channels.

    `changed` replaces arrays; None leaves one out.
    """
    generator = np.random.RandomState(0)
    arrays: dict[str, Any] = {}
    for split, counts in COUNTS.items():
        labels = np.repeat(np.arange(3), counts)[::-1]
        shape = (len(labels), side, side, *([channels] if channels > 1 else []))
        arrays[f"{split}_images"] = generator.randint(0, 256, shape).astype(np.uint8)
        arrays[f"{split}_labels"] = labels[:, None].astype(np.uint8)
    arrays = {name: array for name, array in (arrays | changed).items() if array is not None}
    np.savez_compressed(path, **arrays)
    return DataConfig(name="npz", root=str(path), val_source="given")


# --- npz ---


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 28), (3, 64), (1, 224)])
def test_a_file_of_medmnist_is_read_as_published(tmp_path: Path, channels: int, side: int) -> None:
    config = write_npz(tmp_path / "a.npz", channels=channels, side=side)
    source = open_source(config)
    train, val = source.train(), source.val and source.val()
    with np.load(tmp_path / "a.npz") as written:
        pixels, labels = written["train_images"], written["train_labels"]
    assert source.classes == ("0", "1", "2")
    assert source.train_counts() == [6, 3, 2]
    assert train.images.shape == (11, channels, side, side)
    assert train.targets.tolist() == labels[:, 0].tolist() == [2] * 2 + [1] * 3 + [0] * 6
    last = pixels[4, 5, 7] if channels == 1 else pixels[4, 5, 7, channels - 1]
    assert train.images[4, channels - 1, 5, 7] == last
    assert val is not None and len(val.targets) == 6


def test_the_natural_tail_stays_or_is_cut(tmp_path: Path) -> None:
    config = write_npz(tmp_path / "a.npz")
    full = {"data.name": "npz", "data.root": config.root, "data.profile": "full"}
    splits = load_splits(
        TrialConfig.from_flat({**full, "data.val_source": "given"}), cache_dir=tmp_path / "cache"
    )
    assert splits.samples_per_class.tolist() == [6, 3, 2]
    assert len(splits.val) == 6 and len(splits.test()) == 4
    cut = {**full, "data.profile": "exp", "data.imbalance_ratio": 2, "data.val_source": "given"}
    assert class_counts(TrialConfig.from_flat(cut)) == [2, 1, 1]  # 2, 2 / sqrt(2), 2 / 2
    held_out = {**full, "data.val_per_class": 1}
    assert class_counts(TrialConfig.from_flat(held_out)) == [5, 2, 1]


def test_names_of_classes_come_from_the_file(tmp_path: Path) -> None:
    config = write_npz(tmp_path / "a.npz", classes=np.array(["cyst", "stone", "tumour"]))
    chosen = config.model_copy(update={"classes": ("tumour", "cyst")})
    source = open_source(chosen)
    assert source.classes == ("tumour", "cyst")
    assert source.train_counts() == [2, 6]
    assert source.train().targets.tolist() == [0] * 2 + [1] * 6


def test_images_are_resized_as_pillow_does_it() -> None:
    pixels = np.random.RandomState(1).randint(0, 256, (3, 3, 28, 28)).astype(np.uint8)
    made = resized(pixels, 12)
    own = Image.fromarray(pixels[2].transpose(1, 2, 0)).resize((12, 12), Image.Resampling.BILINEAR)
    assert made.shape == (3, 3, 12, 12)
    assert np.abs(made[2].astype(int) - np.asarray(own).transpose(2, 0, 1)).max() <= 1
    assert resized(pixels, 28) is pixels


_ZEROS = np.zeros((11, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"train_labels": np.zeros((11, 14), np.uint8)}, "got 14; data sets with several labels"),
        ({"train_labels": np.zeros(11)}, "one whole number for each image, got shape (11,) of fl"),
        ({"test_labels": None, "val_images": None}, "test_labels, val_images are missing"),
        ({"train_labels": np.arange(11) % 2}, "must be classes of train_labels, 0 to 1, got 2"),
        ({"train_labels": np.arange(11) % 2 * 2}, "must hold every class, but 1 is missing"),
        ({"test_labels": np.array([0, 0, 1, 1])}, "test_labels must hold every class, but 2 is"),
        ({"train_labels": np.zeros(11, int)}, "two or more classes, got 1"),
        ({"train_labels": np.arange(11) % 3 - 1}, "numbers from 0 on, got -1"),
        ({"classes": np.array(["a", "b"])}, "a different name for each of the 3 classes, got 2"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_before_any_image_is_read(
    tmp_path: Path, changed: dict[str, Any], says: str
) -> None:
    config = write_npz(tmp_path / "a.npz", **changed)
    with pytest.raises(DataError) as error:
        open_source(config)
    assert says in str(error.value) and str(tmp_path / "a.npz") in str(error.value)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"train_images": _ZEROS.astype(float)}, "uint8, got shape (11, 28, 28) of float64"),
        ({"train_images": np.zeros((11, 9, 9, 9), np.uint8)}, "got shape (11, 9, 9, 9) of uint8"),
        ({"train_images": np.zeros((11, 9, 8), np.uint8)}, "must be square, got 9 x 8 pixels"),
        ({"train_images": _ZEROS[:10]}, "got 10 train_images and 11 train_labels"),
        ({"train_images": np.array([{}] * 11)}, "Object arrays cannot be loaded"),
    ],
)
def test_images_that_cannot_be_used_are_refused(
    tmp_path: Path, changed: dict[str, Any], says: str
) -> None:
    config = write_npz(tmp_path / "a.npz", **changed)
    with pytest.raises(DataError) as error:
        prepare_cache(config, tmp_path / "cache")
    assert says in str(error.value)


def test_what_is_no_npz_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK, and torn")
    for root, says in (
        (tmp_path / "a.npz", "cannot be read as an .npz file"),
        (tmp_path, "is a folder"),
        (tmp_path / "b.npz", "is missing"),
    ):
        with pytest.raises(DataError, match=says):
            open_source(DataConfig(name="npz", root=str(root)))


def test_another_file_is_decoded_anew(tmp_path: Path) -> None:
    config = write_npz(tmp_path / "a.npz")
    before = open_cached(config, tmp_path / "cache").train()
    write_npz(tmp_path / "a.npz", side=32)
    assert before.images.shape[2] == 28
    assert open_cached(config, tmp_path / "cache").train().images.shape[2] == 32


# --- CSV lists ---


def write_list(root: Path, rows: list[str], name: str = "list.csv") -> DataConfig:
    (root / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return DataConfig(name="csv", root=str(root / name))


def _small_list(root: Path) -> list[str]:
    """Labels 2 and 10: five images to train on, two to validate, two to test."""
    rows = ["label,split,path"]
    for split, labels in (("train", [10, 2, 10, 10, 2]), ("val", [2, 10]), ("test", [2, 10])):
        for number, label in enumerate(labels):
            write_image(root / "images" / f"{split}{number}.png", len(rows))
            rows.append(f"{label},{split},images/{split}{number}.png")
    return rows


def test_a_list_of_paths_and_labels_is_a_data_set(tmp_path: Path) -> None:
    config = write_list(tmp_path, _small_list(tmp_path))
    source = open_source(config)
    train = source.train()
    assert source.classes == ("2", "10")  # as numbers
    assert source.train_counts() == [2, 3]
    assert train.targets.tolist() == [1, 0, 1, 1, 0]
    with Image.open(tmp_path / "images" / "train3.png") as image:
        assert np.array_equal(train.images[3], np.asarray(image).transpose(2, 0, 1))
    assert source.val is not None and source.val().targets.tolist() == [0, 1]


def test_a_folder_of_three_lists_will_do(tmp_path: Path) -> None:
    rows = _small_list(tmp_path)
    for split in ("train", "val", "test"):
        chosen = [row.split(",") for row in rows[1:] if f",{split}," in row]
        lines = [f"{path}, {label}" for label, _, path in chosen]
        (tmp_path / f"{split}.csv").write_text("\n".join(["path, label", *lines]))
    whole = open_source(write_list(tmp_path, rows))
    parts = open_source(DataConfig(name="csv", root=str(tmp_path)))
    assert parts.classes == whole.classes
    for split in ("train", "val", "test"):
        assert np.array_equal(parts.splits[split]().images, whole.splits[split]().images)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: ["file,label,split", *rows[1:]], ":1: the first line must name the columns "
         "path, label, split, but path is missing"),
        (lambda rows: [*rows, "2,dev,a.png", ",train,"], ":11: split must be one of train, val, "
         "test, got dev"),
        (lambda rows: [*rows, "2,dev,a.png", ",train,"], ":12: path and label must not be empty"),
        (lambda rows: [row for row in rows if row[:7] != "10,test"], "test must list images of "
         "every class, but lists none of 10"),
        (lambda rows: [*rows, rows[1].replace("train,", "test,")], "train0.png (train and test)"),
        (lambda rows: [row for row in rows if row[:2] != "10"], "two or more labels, got 2"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_used_names_the_line(
    tmp_path: Path, change: Callable[[list[str]], list[str]], says: str
) -> None:
    config = write_list(tmp_path, change(_small_list(tmp_path)))
    with pytest.raises(DataError) as error:
        open_source(config)
    assert says in str(error.value)


def test_a_missing_image_of_a_list_is_named(tmp_path: Path) -> None:
    config = write_list(tmp_path, _small_list(tmp_path))
    (tmp_path / "images" / "test1.png").unlink()
    with pytest.raises(DataError, match=r"1 of 2 images cannot be read:\n.*test1\.png"):
        prepare_cache(config, tmp_path / "cache")


# --- MNIST and Fashion-MNIST ---


def _write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes(), 1))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with 30 and 20 images in MNIST's files, and a package that tests must not find."""
    monkeypatch.setattr(mnist_files, "_NUMBERS", {"train": 30, "test": 20})
    monkeypatch.setattr(mnist_files, "_PACKAGES", {"fashion_mnist": tmp_path / "debian"})
    for stem, number in (("train", 30), ("t10k", 20)):
        pixels = np.random.RandomState(number).randint(0, 256, (number, 28, 28))
        _write_idx(tmp_path / "raw" / f"{stem}-images-idx3-ubyte.gz", pixels)
        _write_idx(tmp_path / "raw" / f"{stem}-labels-idx1-ubyte.gz", np.arange(number) % 10)
    return tmp_path / "raw"


def test_mnists_files_are_read_from_the_root_and_from_torchvisions_folder(
    few: Path, tmp_path: Path
) -> None:
    direct = open_source(DataConfig(name="mnist", root=str(few)))
    (tmp_path / "home" / "MNIST").mkdir(parents=True)
    few.rename(tmp_path / "home" / "MNIST" / "raw")
    few.parent.joinpath("other").mkdir()
    below = open_source(DataConfig(name="mnist", root=str(tmp_path / "home")))
    assert direct.classes == below.classes == tuple("0123456789")
    train = below.train()
    pixels = np.random.RandomState(30).randint(0, 256, (30, 28, 28))
    assert train.images.shape == (30, 1, 28, 28)
    assert np.array_equal(train.images[:, 0], pixels)
    assert train.targets.tolist() == [number % 10 for number in range(30)]
    assert below.train_counts() == [3] * 10


def test_images_of_every_data_set_can_be_resized_and_are_cached_so(
    few: Path, tmp_path: Path
) -> None:
    plain = DataConfig(name="mnist", root=str(few))
    large = plain.model_copy(update={"image_size": 32})
    expected = resized(open_source(plain).train().images, 32)
    for _ in range(2):  # the second time from the cache
        made = open_cached(large, tmp_path / "cache").train().images
        assert np.array_equal(made, expected)
    assert open_cached(plain, tmp_path / "cache").train().images.shape == (30, 1, 28, 28)
    digits = open_source(DataConfig(name="digits", image_size=16)).test().images
    own = open_source(DataConfig(name="digits")).test().images
    assert digits.shape == (len(own), 1, 16, 16) and digits.dtype == own.dtype
    assert abs(digits.mean() / own.mean() - 1) < 0.02


def test_files_that_are_not_the_published_ones_are_refused_except_debians(
    few: Path, tmp_path: Path
) -> None:
    config = DataConfig(name="fashion_mnist", root=str(few))
    assert is_available(config)
    with pytest.raises(DataError, match=r"must be as published \(MD5\).*dataset-fashion-mnist"):
        ensure_available(config, download=False)
    few.rename(tmp_path / "debian")
    elsewhere = DataConfig(name="fashion_mnist", root=str(tmp_path / "nothing"))
    ensure_available(elsewhere, download=False)
    assert len(open_source(elsewhere).test().targets) == 20


def test_missing_and_torn_files_name_the_remedy(few: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="prepare mnist --root .*MNIST/raw"):
        open_source(DataConfig(name="mnist", root=str(tmp_path / "nothing"))).train()
    images = few / "train-images-idx3-ubyte.gz"
    for damage in (images.read_bytes()[:200], gzip.compress(b"\0\0\x08\x03 other")):
        images.write_bytes(damage)
        with pytest.raises(DataError, match=r"train-images.*delete it and run `ltat-tune prepare"):
            open_source(DataConfig(name="mnist", root=str(few))).train()


@pytest.mark.skipif(not DEBIAN.exists(), reason="Debian's dataset-fashion-mnist is not installed")
def test_debians_package_is_read_without_a_download(tmp_path: Path) -> None:
    config = DataConfig(name="fashion_mnist", root=str(tmp_path))
    ensure_available(config, download=False)
    source = open_source(config)
    test = source.test()
    assert source.train_counts() == [6000] * 10
    assert test.images.shape == (10_000, 1, 28, 28)
    assert np.bincount(test.targets).tolist() == [1000] * 10
    # The first test image is an ankle boot, dark above and bright below, as in the paper's figure.
    assert source.classes[test.targets[0]] == "Ankle boot"
    assert test.images[0, 0, :7].max() == 0 and test.images[0, 0, 14:].max() == 255


# --- fixed splits ---


@pytest.fixture
def folder(tmp_path: Path) -> DataConfig:
    """Six ants and four bees to train on; places 0 to 5 are ants."""
    return write_folder(tmp_path / "images", {"ant": 6, "bee": 4}, test=2)


def _indexed(config: DataConfig, tmp_path: Path, **indices: Any) -> DataConfig:
    files = {}
    for split, places in indices.items():
        files[split] = str(tmp_path / f"{split}.npy")
        np.save(files[split], np.array(places))
    source = "given" if "val" in indices else "train"
    return DataConfig.model_validate(
        {**config.model_dump(), "indices": files, "val_source": source}
    )


def test_indices_fix_the_splits(folder: DataConfig, tmp_path: Path) -> None:
    all_of_them = open_source(folder).train()
    config = _indexed(folder, tmp_path, train=[7, 0, 2, 5], val=[1, 9], test=[0, 3])
    source = open_cached(config, tmp_path / "cache")
    train = source.train()
    assert train.targets.tolist() == [1, 0, 0, 0]
    assert np.array_equal(train.images, all_of_them.images[[7, 0, 2, 5]])
    assert source.val is not None and source.val().targets.tolist() == [0, 1]
    assert source.test().targets.tolist() == [0, 1]
    assert source.train_counts() == [3, 1]


def test_without_train_the_other_images_train(folder: DataConfig, tmp_path: Path) -> None:
    source = open_source(_indexed(folder, tmp_path, val=[0, 6]))
    assert source.train().targets.tolist() == [0] * 5 + [1] * 3
    assert source.train_counts() == [5, 3]


def test_masks_and_text_are_indices_too(folder: DataConfig, tmp_path: Path) -> None:
    mask = np.arange(10) % 3 == 0
    assert open_source(_indexed(folder, tmp_path, train=mask)).train_counts() == [2, 2]
    (tmp_path / "a.txt").write_text("# fold 1\n0\n6\n7\n")
    text = folder.model_copy(update={"indices": {"train": str(tmp_path / "a.txt")}})
    assert open_source(text).train_counts() == [1, 2]


def test_changed_indices_count_anew(folder: DataConfig, tmp_path: Path) -> None:
    config = _indexed(folder, tmp_path, train=[0, 6])
    assert open_source(config).train_counts() == [1, 1]
    np.save(tmp_path / "train.npy", np.array([0, 6, 7]))
    assert open_source(config).train_counts() == [1, 2]


@pytest.mark.parametrize(
    ("indices", "says"),
    [
        ({"train": [0, 6, 6], "val": [1.5]}, "must hold each image once, but holds 6 2 times"),
        ({"train": [0, 6, 6], "val": [1.5]}, "a list of whole numbers, got shape (1,) of float64"),
        ({"train": [0, 6, 1], "val": [1, 7]}, "train and val must share no image, but share 1, "
         "the first is 1"),
        ({"train": [-1, 6]}, "must hold numbers from 0 on, got -1"),
        ({"train": [0, 6, 10]}, "must index the 10 training images of the data set, 0 to 9, got "
         "10"),
        ({"test": [4]}, "must index the 4 test images of the data set, 0 to 3, got 4"),
        ({"train": [0, 1]}, "must leave training images of every class, but none of bee"),
    ],
)  # fmt: skip
def test_indices_that_cannot_be_used_are_refused(
    folder: DataConfig, tmp_path: Path, indices: dict[str, Any], says: str
) -> None:
    config = _indexed(folder, tmp_path, **indices)
    with pytest.raises(DataError) as error:
        prepare_cache(config, tmp_path / "cache")
    assert says in str(error.value)


def test_a_missing_file_of_indices_is_named(folder: DataConfig) -> None:
    config = folder.model_copy(update={"indices": {"train": "nowhere.npy"}})
    with pytest.raises(DataError, match=r"train \(nowhere\.npy\) must name a file of indices"):
        open_source(config)


def test_the_rules_between_the_parameters() -> None:
    def broken(**values: Any) -> str:
        with pytest.raises(ConfigError) as error:
            TrialConfig.from_nested({"data": values})
        return str(error.value)

    assert "data.root must name the .npz file when" in broken(name="npz")
    assert "data.root must name the CSV file when" in broken(name="csv")
    assert "data.val_source must be given, got train" in broken(indices={"val": "a.npy"})
    assert "must name train, val or test" in broken(indices={})
    with pytest.raises(DataError, match="given takes the data set's own .* digits has none"):
        open_source(DataConfig(name="digits", val_source="given"))


def test_indices_are_part_of_the_identity_only_where_they_are_given() -> None:
    plain = TrialConfig.from_flat({})
    indexed = plain.replace({"data.indices": {"train": "a.npy"}})
    assert plain.identity == "27465764"  # that of 0.4.0
    assert indexed.identity != plain.identity
