"""Anybody's own folders of images, and everything that can be wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.image_folder import check_image_folder
from ltat_tune.data.sources import open_source
from ltat_tune.errors import DataError
from tests.data.toys import write_folder, write_image


def _error(config: DataConfig) -> str:
    """What opening or reading complains about."""
    with pytest.raises(DataError) as caught:
        source = open_source(config)
        source.train()
    return str(caught.value)


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
        "all images must have the same size, got 2 sizes (3 of 8x8, 1 of 20x10); "
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
    assert f"{deep}: ValueError: more than 8 bits per channel (I;16)" in _error(config)


def test_a_file_that_claims_to_be_enormous_is_one_of_the_unreadable(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 1, "bee": 1})
    huge = tmp_path / "train" / "ant" / "huge.ppm"
    huge.write_bytes(b"P6 90000 90000 255\n")
    assert f"{huge}: DecompressionBombError: " in _error(config)


def test_missing_folders_are_both_named(tmp_path: Path) -> None:
    config = DataConfig(name="image_folder", root=str(tmp_path))
    both = f"{tmp_path / 'train'} and {tmp_path / 'test'} are missing"
    assert _error(config) == (
        f"data.root must hold train/ and test/ with one folder per class, but {both}"
    )
    (tmp_path / "train").mkdir()
    assert _error(config).endswith(f"but {tmp_path / 'test'} is missing")


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
        f"{tmp_path / 'train' / 'bee'} (but 1 other files), {tmp_path / 'test' / 'cat'}"
    )


def test_unknown_classes_are_all_named_with_those_that_exist(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 1, "bee": 1})
    config = DataConfig(name="image_folder", root=str(tmp_path), classes=("ant", "wasp", "hornet"))
    assert _error(config) == (
        f"data.classes must be classes of {tmp_path / 'train'}, but wasp, hornet are not; "
        "choose from: ant, bee"
    )


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 1})
    assert _error(config).endswith("must hold two or more class folders, got ['ant']")


def test_hidden_files_and_nested_folders_are_ignored(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 2, "bee": 1})
    (tmp_path / "train" / "ant" / "._000.png").write_text("what a Mac leaves behind")
    write_image(tmp_path / "train" / "ant" / "more" / "deep.png", 5)
    write_image(tmp_path / "train" / ".thumbnails" / "small.png", 5)
    source = open_source(config)
    assert source.classes == ("ant", "bee")
    assert source.train_counts() == [2, 1]
    assert check_image_folder(config) == [
        "train/: passed over: 1 folders that are no class (ant/more); 2 hidden files "
        "(.thumbnails, ant/._000.png)"
    ]


def test_a_palette_with_transparent_entries_keeps_their_colours(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 1, "bee": 1})
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 200, 150, 50])
    palette.save(tmp_path / "train" / "ant" / "1.png", transparency=bytes([255, 0]))
    images = open_source(config).train().images
    assert images[1, :, 0, 0].tolist() == [200, 150, 50]


def test_val_is_read_only_where_the_configuration_asks_for_it(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 2, "bee": 1})
    asked = config.model_copy(update={"val_source": "folder"})
    with pytest.raises(DataError) as caught:
        open_source(asked)
    assert str(caught.value) == (
        "data.root must hold train/, val/ (for data.val_source folder) and test/ with one folder "
        f"per class, but {tmp_path / 'val'} is missing"
    )
    write_image(tmp_path / "val" / "ant" / "1.png", 1)
    with pytest.raises(DataError, match=f"these hold none: {tmp_path / 'val' / 'bee'}$"):
        open_source(asked)
    write_image(tmp_path / "val" / "bee" / "1.png", 2)
    assert open_source(config).val is None
    val = open_source(asked).val
    assert val is not None
    assert val().targets.tolist() == [0, 1]


def test_a_check_names_everything_of_every_kind_and_split_at_once(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 2, "bee": 1, "cat": 1}).model_copy(
        update={"val_source": "folder"}
    )
    for name in ("ant", "bee"):
        write_image(tmp_path / "val" / name / "1.png", 1)
    write_image(tmp_path / "train" / "ant" / "odd.png", 0, size=(20, 10))
    (tmp_path / "train" / "bee" / "torn.png").write_text("no")
    (tmp_path / "train" / "bee" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    deep = tmp_path / "test" / "ant" / "deep.png"
    Image.fromarray(np.full((8, 8), 30000, dtype=np.uint16)).save(deep)
    with pytest.raises(DataError) as caught:
        check_image_folder(config)
    lines = str(caught.value).splitlines()
    cat = tmp_path / "val" / "cat"
    assert lines[0] == f"every class folder must hold images, but these hold none: {cat}"
    assert lines[1] == "train/: 2 of 7 images cannot be read:"
    assert lines[2].startswith(f"  {tmp_path / 'train' / 'bee' / 'gone.png'}: FileNotFoundError")
    assert lines[3].startswith(f"  {tmp_path / 'train' / 'bee' / 'torn.png'}: Unidentified")
    assert lines[4].startswith(
        "train/: all images must have the same size, got 2 sizes (4 of 8x8, 1"
    )
    assert lines[5] == "test/: 1 of 10 images cannot be read:"
    assert lines[6].startswith(f"  {deep}: ValueError: more than 8 bits per channel (I;16)")
    assert len(lines) == 7


def test_splits_of_different_sizes_are_found_by_a_check(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 2, "bee": 1}, test=1)
    for name in ("ant", "bee"):
        write_image(tmp_path / "test" / name / "000.png", 1, size=(9, 9))
    with pytest.raises(DataError, match="got 2 sizes .3 of 8x8, 2 of 9x9.; set data.image_size"):
        check_image_folder(config)
    assert check_image_folder(config.model_copy(update={"image_size": 8})) == []


def test_whatever_is_passed_over_is_counted_and_named_in_one_note(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 2, "bee": 1})
    train, test = tmp_path / "train", tmp_path / "test"
    os.mkfifo(train / "ant" / "pipe.png")
    (train / "loop").symlink_to(train / "loop")
    (train / "ant" / "up").symlink_to(train)
    (train / "bee" / "labels.txt").write_text("x")
    write_image(test / "zebra" / "1.png", 1)
    source = open_source(config)
    assert (source.classes, source.train_counts()) == (("ant", "bee"), [2, 1])
    assert sorted(check_image_folder(config)) == [
        "test/: passed over: 1 folders that are no class (zebra)",
        "train/: passed over: 1 folders that are no class (ant/up); 2 pipes, devices and broken "
        "links (ant/pipe.png, loop); 1 files that are no images (bee/labels.txt)",
    ]


def test_a_class_of_other_kinds_of_files_or_of_another_case_is_named(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 1, "bee": 1})
    for path in (tmp_path / "train" / "bee").iterdir():
        path.rename(path.with_suffix(".svg"))
    (tmp_path / "test" / "ant").rename(tmp_path / "test" / "Ant")
    said = _error(config)
    assert f"{tmp_path / 'train' / 'bee'} (but 1 other files)" in said
    assert f"{tmp_path / 'test' / 'ant'} (there is Ant, which differs in case)" in said


@pytest.mark.parametrize("suffix", [".jfif", ".pgm", ".JPE"])
def test_other_endings_that_pillow_reads_are_images(suffix: str, tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant": 1, "bee": 1})
    kind = "PPM" if suffix == ".pgm" else "JPEG"
    Image.new("L", (8, 8), 100).save(tmp_path / "train" / "ant" / f"more{suffix}", kind)
    assert open_source(config).train_counts() == [2, 1]


def test_a_name_of_a_class_steers_no_terminal(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"ant\x1b[31m": 1, "bee": 1})
    assert "must be printable; rename 'ant\\x1b[31m'" in _error(config)
