"""Batches: augmented as sample by sample, each image once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ltat_tune.data.batches import (
    evaluation_batches,
    random_crop,
    random_flip,
    to_unit,
    training_batches,
)
from ltat_tune.data.datasets import LabelledImages


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _numbered(n: int) -> LabelledImages:
    """Image i is filled with i / 256, its target is i."""
    values = torch.arange(n)
    return LabelledImages((values / 256).reshape(n, 1, 1, 1).expand(n, 1, 8, 8).clone(), values)


def _epoch(
    data: LabelledImages, batch_size: int, *, augmentation: str = "none", seed: int = 0
) -> list[tuple[Tensor, Tensor]]:
    return list(
        training_batches(
            data,
            batch_size,
            augmentation=augmentation,
            crop_padding=2,
            generator=_seeded(seed),
        )
    )


def test_uint8_becomes_0_to_1_and_floats_stay() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert to_unit(pixels).tolist() == pytest.approx([0, 0.2, 1])
    assert to_unit(pixels).dtype == torch.float32
    assert pixels.tolist() == [0, 51, 255]
    assert to_unit(torch.tensor([0.0, 0.25])).tolist() == [0.0, 0.25]


@pytest.mark.parametrize("padding", [1, 4])
def test_crops_are_those_of_padding_and_cutting_each_image_by_itself(padding: int) -> None:
    images = torch.rand(50, 3, 6, 8, generator=_seeded(1))
    found = random_crop(images, padding, _seeded())
    shift = torch.randint(0, 2 * padding + 1, (2, 50, 1), generator=_seeded()).numpy()
    for i, image in enumerate(images.numpy()):
        padded = np.pad(image, [(0, 0), (padding, padding), (padding, padding)])
        top, left = shift[0, i, 0], shift[1, i, 0]
        assert np.array_equal(found[i].numpy(), padded[:, top : top + 6, left : left + 8])


def test_the_crops_of_a_2x2_image_by_hand() -> None:
    """[[1, 2], [3, 4]] in a frame of zeros has nine 2x2 windows, and all occur."""
    images = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(300, 1, 2, 2)
    found = {tuple(crop.flatten().tolist()) for crop in random_crop(images, 1, _seeded())}
    assert found == {
        (0, 0, 0, 1), (0, 0, 1, 2), (0, 0, 2, 0),
        (0, 1, 0, 3), (1, 2, 3, 4), (2, 0, 4, 0),
        (0, 3, 0, 0), (3, 4, 0, 0), (4, 0, 0, 0),
    }  # fmt: skip


def test_flips_mirror_each_image_by_its_own_draw() -> None:
    images = torch.rand(50, 3, 4, 4, generator=_seeded(1))
    found = random_flip(images, _seeded())
    mirrored = (torch.rand(50, generator=_seeded()) < 0.5).tolist()
    assert 10 < sum(mirrored) < 40
    for image, flip, result in zip(images.numpy(), mirrored, found.numpy(), strict=True):
        assert np.array_equal(result, image[:, :, ::-1] if flip else image)


def test_augmenting_leaves_the_stored_images_alone() -> None:
    data = LabelledImages(torch.rand(8, 1, 4, 4, generator=_seeded()), torch.arange(8))
    before = data.images.clone()
    for images, _ in _epoch(data, 4, augmentation="crop_flip"):
        images.zero_()
    for images, _ in _epoch(data, 4):
        images.zero_()
    assert torch.equal(data.images, before)


@pytest.mark.parametrize("augmentation", ["none", "crop", "crop_flip"])
def test_each_image_comes_once_an_epoch_with_its_own_target(augmentation: str) -> None:
    seen = []
    for images, targets in _epoch(_numbered(37), 5, augmentation=augmentation):
        seen += targets.tolist()
        # The centre of an 8x8 image filled with one value survives a crop after padding by 2.
        assert (images[:, 0, 4, 4] * 256).round().tolist() == targets.tolist()
    assert sorted(seen) == list(range(37))
    assert seen != list(range(37))


@pytest.mark.parametrize(
    ("n", "sizes"),
    [(8, [4, 4]), (9, [4, 5]), (10, [4, 4, 2]), (4, [4]), (5, [5]), (3, [3]), (1, [1])],
)
def test_a_last_batch_of_one_joins_the_batch_before_it(n: int, sizes: list[int]) -> None:
    assert [len(targets) for _, targets in _epoch(_numbered(n), 4)] == sizes


def test_equal_generators_give_equal_epochs_and_other_ones_differ() -> None:
    data = _numbered(20)
    a, b, c = (_epoch(data, 6, augmentation="crop_flip", seed=seed) for seed in (0, 0, 1))
    for (images, targets), (same_images, same_targets) in zip(a, b, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(targets, same_targets)
    assert not torch.equal(a[0][1], c[0][1])


def test_the_second_epoch_of_a_generator_has_another_order() -> None:
    generator = _seeded()
    first, second = (
        torch.cat(
            [
                targets
                for _, targets in training_batches(
                    _numbered(20), 6, augmentation="none", crop_padding=1, generator=generator
                )
            ]
        )
        for _ in range(2)
    )
    assert not torch.equal(first, second)


def test_uint8_images_are_trained_and_evaluated_in_0_to_1() -> None:
    data = LabelledImages(torch.full((4, 1, 2, 2), 51, dtype=torch.uint8), torch.arange(4))
    for images, _ in [*_epoch(data, 4), *evaluation_batches(data, 4)]:
        assert images.dtype == torch.float32
        assert images.flatten().tolist() == pytest.approx([0.2] * 16)


def test_evaluation_takes_all_images_in_order() -> None:
    batches = list(evaluation_batches(_numbered(9), 4))
    assert [len(targets) for _, targets in batches] == [4, 4, 1]
    assert torch.equal(torch.cat([targets for _, targets in batches]), torch.arange(9))
    assert torch.equal(torch.cat([images for images, _ in batches]), _numbered(9).images)
