"""Where images come from: digits and folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from ltat_tune.config import DataConfig
from ltat_tune.data.sources import open_source
from ltat_tune.errors import DataError
from tests.data.toys import write_folder, write_image


def _error(config: DataConfig) -> str:
    """What opening or reading complains about."""
    with pytest.raises(DataError) as caught:
        source = open_source(config)
        source.train()
    return str(caught.value)


# --- digits ---


def test_digits_are_1797_images_of_which_40_of_each_class_test() -> None:
    source = open_source(DataConfig())
    train, test = source.train(), source.test()
    assert source.classes == tuple("0123456789")
    assert len(train.targets) + len(test.targets) == 1797
    assert np.bincount(test.targets).tolist() == [40] * 10
    assert source.train_counts() == np.bincount(train.targets).tolist()
    # load_digits has 178, 182, 177, 183, 181, 182, 181, 179, 174 and 180 scans of 0 to 9
    assert source.train_counts() == [138, 142, 137, 143, 141, 142, 141, 139, 134, 140]


def test_digits_are_the_scans_in_0_to_1_each_once() -> None:
    source = open_source(DataConfig())
    images = np.concatenate([source.train().images, source.test().images])
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == np.float32
    assert (images.min(), images.max()) == (0, 1)
    published = (load_digits().images / 16).astype(np.float32)
    assert sorted(i.tobytes() for i in images) == sorted(i.tobytes() for i in published)


def test_the_test_digits_are_always_the_same() -> None:
    first, again = (open_source(DataConfig()).test() for _ in range(2))
    assert np.array_equal(first.images, again.images)


def test_some_digits_are_relabelled_in_the_order_that_is_asked_for() -> None:
    everything = open_source(DataConfig()).train()
    some = open_source(DataConfig(classes=("7", "0", "3")))
    assert some.classes == ("7", "0", "3")
    assert some.train_counts() == [139, 138, 143]
    for new, digit in enumerate((7, 0, 3)):
        mine = some.train().images[some.train().targets == new]
        assert np.array_equal(mine, everything.images[everything.targets == digit])
    assert np.bincount(some.test().targets).tolist() == [40, 40, 40]


def test_unknown_digits_are_all_named() -> None:
    text = _error(DataConfig(classes=("1", "ten", "cat")))
    assert text == "data.classes of digits are '0' to '9', got ten, cat"


# --- image folders ---


def test_a_folder_is_read_class_after_class_in_the_order_of_names(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"cat": 3, "ant": 2}, test=1, size=(8, 6))
    source = open_source(config)
    train = source.train()
    assert source.classes == ("ant", "cat")
    assert train.images.shape == (5, 3, 6, 8)  # a width of 8, a height of 6
    assert train.images.dtype == np.uint8
    assert train.targets.tolist() == [0, 0, 1, 1, 1]
    assert source.test().targets.tolist() == [0, 1]
    assert source.train_counts() == [2, 3]
    with Image.open(tmp_path / "train" / "ant" / "001.png") as file:
        pixels = np.asarray(file)
    assert np.array_equal(train.images[1], pixels.transpose(2, 0, 1))


def test_classes_are_taken_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 2, "bee": 1, "cat": 3})
    source = open_source(
        DataConfig(name="image_folder", root=str(tmp_path), classes=("cat", "ant"))
    )
    assert source.classes == ("cat", "ant")
    assert source.train().targets.tolist() == [0, 0, 0, 1, 1]
    assert source.train_counts() == [3, 2]


def test_grey_transparent_and_palette_images_become_rgb(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 1, "bee": 1})
    folder = tmp_path / "train" / "ant"
    Image.new("L", (8, 8), 100).save(folder / "1.png")
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(folder / "2.png")
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 200, 150, 50])
    palette.save(folder / "3.png")
    Image.new("1", (8, 8), 1).save(folder / "4.png")
    images = open_source(DataConfig(name="image_folder", root=str(tmp_path))).train().images
    colours = [image[:, 0, 0].tolist() for image in images[1:5]]
    assert colours == [[100, 100, 100], [10, 20, 30], [200, 150, 50], [255, 255, 255]]


def test_images_are_resized_where_a_size_is_given(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 1, "bee": 1})
    write_image(tmp_path / "train" / "ant" / "odd.png", 0, size=(20, 10))
    source = open_source(DataConfig(name="image_folder", root=str(tmp_path), image_size=8))
    assert source.train().images.shape == (3, 3, 8, 8)


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 1, "bee": 1})
    (tmp_path / "train" / "ant" / "notes.txt").write_text("ants")
    (tmp_path / "train" / "labels.csv").write_text("a,b")
    assert open_source(config).train_counts() == [1, 1]


def test_sizes_that_differ_are_counted_with_the_remedy(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 2, "bee": 1})
    write_image(tmp_path / "train" / "ant" / "odd.png", 0, size=(20, 10))
    assert _error(config) == (
        "images must all have one size, found 2 sizes (3 of 8x8, 1 of 20x10); "
        "set data.image_size to resize them"
    )


def test_unreadable_files_are_all_named_at_once(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 2, "bee": 1})
    text, cut_off = tmp_path / "train" / "ant" / "a.png", tmp_path / "train" / "bee" / "b.png"
    text.write_text("not an image")
    cut_off.write_bytes((tmp_path / "train" / "ant" / "000.png").read_bytes()[:60])
    message = _error(config)
    assert message.startswith("2 of 5 images cannot be read:\n")
    assert f"{text}: UnidentifiedImageError: cannot identify image file" in message
    assert f"{cut_off}: " in message
    assert len(message.splitlines()) == 3


def test_of_many_unreadable_files_20_are_named(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 2, "bee": 1})
    for number in range(23):
        (tmp_path / "train" / "bee" / f"broken{number}.png").write_text("no")
    message = _error(config)
    assert message.startswith("23 of 26 images cannot be read:\n")
    assert message.endswith("... and 3 more")
    assert len(message.splitlines()) == 22


def test_16_bit_images_are_refused_because_they_would_be_clipped_to_white(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 1, "bee": 1})
    deep = tmp_path / "train" / "ant" / "deep.png"
    Image.fromarray(np.full((8, 8), 30000, dtype=np.uint16)).save(deep)
    assert f"{deep}: ValueError: more than 8 bits a channel (I;16)" in _error(config)


def test_a_file_that_claims_to_be_enormous_is_one_of_the_unreadable(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 1, "bee": 1})
    huge = tmp_path / "train" / "ant" / "huge.ppm"
    huge.write_bytes(b"P6 90000 90000 255\n")
    assert f"{huge}: DecompressionBombError: " in _error(config)


def test_missing_folders_are_both_named(tmp_path: Path) -> None:
    config = DataConfig(name="image_folder", root=str(tmp_path))
    both = f"{tmp_path / 'train'} and {tmp_path / 'test'} are not there"
    assert _error(config) == (
        f"data.root must hold train/ and test/ with one folder a class, but {both}"
    )
    (tmp_path / "train").mkdir()
    assert _error(config).endswith(f"but {tmp_path / 'test'} is not there")


def test_empty_class_folders_are_all_named_those_of_test_too_before_any_image_is_read(
    tmp_path: Path,
) -> None:
    config = write_folder(tmp_path, {"ant": 1, "bee": 1, "cat": 1})
    (tmp_path / "train" / "bee" / "000.png").rename(tmp_path / "train" / "bee" / "000.txt")
    for image in (tmp_path / "test" / "cat").iterdir():
        image.unlink()
    (tmp_path / "test" / "cat").rmdir()
    with pytest.raises(DataError) as caught:
        open_source(config)
    assert str(caught.value) == (
        "every class folder must hold images, but these hold none: "
        f"{tmp_path / 'train' / 'bee'}, {tmp_path / 'test' / 'cat'}"
    )


def test_unknown_classes_are_all_named_with_those_that_exist(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 1, "bee": 1})
    config = DataConfig(name="image_folder", root=str(tmp_path), classes=("ant", "wasp", "hornet"))
    assert _error(config) == (
        f"data.classes must be folders of {tmp_path / 'train'}, but wasp, hornet are not; "
        "there are: ant, bee"
    )


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 1})
    assert _error(config).endswith("must hold two or more class folders, found ['ant']")
