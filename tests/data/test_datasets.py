"""The splits of a trial: disjoint, balanced where they must be, test behind a call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data import image_folder, sources
from ltat_tune.data.datasets import LabelledImages, Splits, load_splits
from ltat_tune.data.sources import Images, Source, class_counts
from ltat_tune.errors import DataError
from tests.data.toys import write_folder, write_image

TINY = {"data.max_per_class": 20, "data.imbalance_ratio": 4, "data.val_per_class": 10}


def _config(**values: object) -> TrialConfig:
    """Few digits, and the given values by path with `__` for the dot."""
    given = {path.replace("__", "."): value for path, value in values.items()}
    return TrialConfig.from_flat({**TINY, **given})


def _load(**values: object) -> Splits:
    return load_splits(_config(**values))


def _contents(data: LabelledImages) -> set[bytes]:
    return {image.numpy().tobytes() for image in data.images}


# --- load_splits ---


def test_train_is_long_tailed_and_val_is_balanced() -> None:
    splits = _load()
    # 20 * 4^(-i/9), truncated
    assert splits.samples_per_class.tolist() == [20, 17, 14, 12, 10, 9, 7, 6, 5, 5]
    assert torch.bincount(splits.val.targets).tolist() == [10] * 10
    assert splits.classes == tuple("0123456789")
    assert splits.train.images.shape == (105, 1, 8, 8)


def test_no_image_is_in_two_splits() -> None:
    splits = _load(data__profile="full")
    train, val, test = map(_contents, (splits.train, splits.val, splits.test()))
    assert len(train) + len(val) + len(test) == 1797
    assert not train & val
    assert not train & test
    assert not val & test


def test_equal_configurations_have_equal_hashes_whatever_the_training_seed() -> None:
    assert _load().subset_hash == _load(seeds__seed=5, optim__lr=0.5).subset_hash


@pytest.mark.parametrize(
    "values",
    [
        {"seeds__subset_seed": 1},
        {"data__imbalance_ratio": 5},
        {"data__profile": "step"},
        {"data__max_per_class": 21},
        {"data__val_per_class": 11},
        {"data__val_source": "test"},
        {"data__classes": ("1", "0", "2", "3", "4", "5", "6", "7", "8", "9")},
    ],
)
def test_other_images_or_labels_have_another_hash(values: dict[str, object]) -> None:
    assert _load(**values).subset_hash != _load().subset_hash


def test_the_cache_changes_no_image(tmp_path: Path) -> None:
    plain = _load()
    for _ in range(2):
        cached = load_splits(_config(), cache_dir=tmp_path)
        assert cached.subset_hash == plain.subset_hash
        assert torch.equal(cached.test().images, plain.test().images)


def test_cached_images_can_be_written_to_without_touching_the_cache(tmp_path: Path) -> None:
    config = _config(data__val_source="test")
    first = load_splits(config, cache_dir=tmp_path)
    first.train.images.zero_()
    first.val.images.zero_()
    assert (
        load_splits(config, cache_dir=tmp_path).subset_hash
        == _load(data__val_source="test").subset_hash
    )


def test_val_source_test_validates_on_the_test_images_and_holds_nothing_out() -> None:
    splits = _load(data__val_source="test", data__max_per_class=None, data__imbalance_ratio=1)
    assert torch.equal(splits.val.images, splits.test().images)
    assert torch.equal(splits.val.targets, splits.test().targets)
    assert splits.samples_per_class.tolist() == [134] * 10  # all of the rarest class, 8


def _guarded_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits of which the test split must not be read."""

    def test() -> Images:
        raise AssertionError("the test split was read")

    targets = np.repeat(np.arange(3), 40)
    images = np.random.RandomState(0).rand(120, 1, 8, 8).astype(np.float32)
    source = Source(("a", "b", "c"), lambda: Images(images, targets), test, lambda: [40] * 3)
    monkeypatch.setitem(sources.SOURCES, "digits", lambda config: source)


def test_the_test_split_is_not_read_until_it_is_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _guarded_source(monkeypatch)
    for cache_dir in (None, tmp_path):
        splits = load_splits(_config(), cache_dir=cache_dir)
        assert splits.samples_per_class.tolist() == [20, 10, 5]
        with pytest.raises(AssertionError, match="the test split was read"):
            splits.test()


def test_val_source_test_reads_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _guarded_source(monkeypatch)
    with pytest.raises(AssertionError, match="the test split was read"):
        _load(data__val_source="test")


def test_without_a_subset_seed_the_training_seed_decides_the_images() -> None:
    for seed in (0, 3):
        free = _load(seeds__seed=seed, seeds__subset_seed=None)
        assert free.subset_hash == _load(seeds__subset_seed=seed).subset_hash
    assert _load(seeds__seed=3, seeds__subset_seed=None).subset_hash != _load().subset_hash


def test_val_source_folder_validates_on_val_and_holds_nothing_out(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 8, "bee": 4}, test=1)
    for number, name in enumerate(("ant", "ant", "bee")):
        write_image(tmp_path / "val" / name / f"{number}.png", 900 + number)
    config = _config(
        data__name="image_folder",
        data__root=str(tmp_path),
        data__val_source="folder",
        data__profile="full",
    )
    for cache_dir in (None, tmp_path / "cache"):
        splits = load_splits(config, cache_dir=cache_dir)
        assert splits.samples_per_class.tolist() == class_counts(config) == [8, 4]
        assert splits.val.targets.tolist() == [0, 0, 1]
        assert not _contents(splits.val) & (_contents(splits.train) | _contents(splits.test()))


# --- class_counts ---


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"data__profile": "step"},
        {"data__profile": "balanced"},
        {"data__profile": "full"},
        {"data__max_per_class": None},
        {"data__max_per_class": None, "data__base": "per_class"},
        {"data__profile": "linear", "data__rounding": "round"},
        {"data__profile": "balanced_small"},
        {"data__profile": "given", "data__counts": tuple(range(11, 21))},
        {"data__val_source": "test", "data__profile": "full"},
        {"data__classes": ("8", "1", "5")},
    ],
)
def test_class_counts_are_the_counts_of_the_loaded_images(values: dict[str, object]) -> None:
    assert class_counts(_config(**values)) == _load(**values).samples_per_class.tolist()


def test_class_counts_of_a_folder_are_those_loaded_and_read_no_pixel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path, {"ant": 30, "bee": 14, "cat": 25})
    config = _config(
        data__name="image_folder",
        data__root=str(tmp_path),
        data__max_per_class=None,
        data__imbalance_ratio=2,
    )
    loaded = load_splits(config).samples_per_class.tolist()
    monkeypatch.delattr(image_folder, "decode")
    # 4 bees are left after the hold-out: 4, 4 / sqrt(2) = 2.8, 2
    assert class_counts(config) == loaded == [4, 2, 2]


def test_class_counts_name_the_class_that_is_too_small_for_the_hold_out(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 11, "bee": 10})
    config = _config(data__name="image_folder", data__root=str(tmp_path))
    with pytest.raises(DataError) as caught:
        class_counts(config)
    assert str(caught.value) == (
        "class bee has 10 training images, but data.val_per_class holds out 10 and at least one "
        "must remain; lower data.val_per_class to at most 9"
    )
    with pytest.raises(DataError, match="lower data.val_per_class"):
        load_splits(config)


# --- class_balanced_part ---


def _unbalanced() -> LabelledImages:
    """10, 6 and 4 images; image i is filled with i."""
    targets = torch.tensor([0] * 10 + [1] * 6 + [2] * 4)
    return LabelledImages(torch.arange(20.0).reshape(20, 1, 1, 1), targets)


def test_a_part_holds_as_many_of_every_class_and_each_image_once() -> None:
    part = _unbalanced().class_balanced_part(11, seed=0)  # 11 // 3 = 3 of each
    assert torch.bincount(part.targets).tolist() == [3, 3, 3]
    numbers = part.images.flatten().long()
    assert len(set(numbers.tolist())) == 9
    assert torch.equal(_unbalanced().targets[numbers], part.targets)


def test_a_part_is_decided_by_its_seed_and_moves_no_global_generator() -> None:
    data = _unbalanced()
    state = np.random.get_state()[1].tolist()  # type: ignore[index]
    a, b, c = (data.class_balanced_part(9, seed=seed).images.flatten() for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index]


@pytest.mark.parametrize("images", [None, 20, 1000])
def test_a_part_of_all_images_is_the_data_itself(images: int | None) -> None:
    data = _unbalanced()
    assert data.class_balanced_part(images, seed=0) is data


def test_a_part_smaller_than_the_classes_is_refused() -> None:
    with pytest.raises(
        DataError, match="a part of 2 images cannot hold one of each of the 3 classes"
    ):
        _unbalanced().class_balanced_part(2, seed=0)


def test_a_part_larger_than_a_class_allows_is_refused() -> None:
    with pytest.raises(DataError, match="class 2 must have at least 5 images, got 4"):
        _unbalanced().class_balanced_part(15, seed=0)


def test_a_smaller_part_lies_inside_a_larger_one() -> None:
    data = _unbalanced()
    parts = [set(data.class_balanced_places(n, seed=0).tolist()) for n in (3, 6, 9, 12, 20)]
    assert [len(part) for part in parts] == [3, 6, 9, 12, 20]
    assert all(small <= large for small, large in zip(parts, parts[1:], strict=False))


def test_a_short_class_may_give_all_it_has_and_too_many_classes_one_image_or_none() -> None:
    data = _unbalanced()
    places = data.class_balanced_places(15, seed=0, at_most=True)  # 5 of each, but for class 2
    assert torch.bincount(data.targets[places]).tolist() == [5, 5, 4]
    few = data.class_balanced_places(2, seed=0, at_most=True)
    assert sorted(torch.bincount(data.targets[few], minlength=3).tolist()) == [0, 1, 1]
    one_each = data.class_balanced_places(3, seed=0)
    assert set(few.tolist()) < set(one_each.tolist()) < set(places.tolist())


def test_a_class_without_images_takes_no_share_of_a_part_of_at_most_so_many() -> None:
    data = LabelledImages(torch.zeros(12, 1, 1, 1), torch.tensor([0] * 6 + [2] * 6))
    places = data.class_balanced_places(8, seed=0, at_most=True)
    assert torch.bincount(data.targets[places]).tolist() == [4, 0, 4]
