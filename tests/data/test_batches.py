"""Batches: augmented as sample by sample, each image once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.batches import (
    evaluation_batches,
    random_crop,
    random_flip,
    random_rotation,
    to_unit,
    training_batches,
)
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.data.policies import auto_augment, rand_augment
from ltat_tune.data.torchvision_door import import_torchvision

torch.set_num_threads(1)


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _numbered(n: int) -> LabelledImages:
    """Image i is filled with i / 256, its target is i."""
    values = torch.arange(n)
    return LabelledImages((values / 256).reshape(n, 1, 1, 1).expand(n, 1, 8, 8).clone(), values)


def _epoch(
    data: LabelledImages, batch_size: int, *, seed: int = 0, **config: Any
) -> list[tuple[Tensor, Tensor]]:
    config = {"crop_padding": 2, **config}
    return list(
        training_batches(data, batch_size, config=DataConfig(**config), generator=_seeded(seed))
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


@pytest.mark.parametrize(("height", "width"), [(9, 9), (8, 8), (7, 12)])
def test_rotations_are_torchvisions_for_each_images_own_angle(height: int, width: int) -> None:
    rotate = import_torchvision("transforms.v2.functional").rotate
    images = torch.rand(200, 2, height, width, generator=_seeded(1))
    found = random_rotation(images, 40.0, _seeded())
    angles = (2 * torch.rand(200, generator=_seeded(), dtype=torch.float32) - 1) * 40.0
    for i, angle in enumerate(angles.tolist()):
        apart = (found[i] != rotate(images[i], angle)).any(dim=0)
        assert not (apart & ~_near_a_tie(height, width, angle)).any()


def _near_a_tie(height: int, width: int, degrees: float) -> Tensor:
    """Whether rounding may decide which pixel (H, W) is the nearest."""
    y, x = np.mgrid[:height, :width].astype(float)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows = sin * x + cos * y + (height - 1) / 2
    columns = cos * x - sin * y + (width - 1) / 2
    distance = np.minimum(abs(rows % 1 - 0.5), abs(columns % 1 - 0.5))
    return torch.from_numpy(distance < 1e-5)


def test_a_quarter_turn_by_hand() -> None:
    """Positive angles turn against the clock: after 90 degrees the right column is on top."""
    images = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    angles = (2 * torch.rand(900, generator=_seeded()) - 1) * 180
    found = random_rotation(images.expand(900, 1, 3, 3), 180.0, _seeded())
    quarter, half, none = ((angles.abs() - turn).abs() < 1 for turn in (90, 180, 0))
    assert quarter.sum() > 2 and half.sum() > 2 and none.sum() > 2
    turned = {tuple(image.flatten().int().tolist()) for image in found[quarter & (angles > 0)]}
    assert turned == {(3, 6, 9, 2, 5, 8, 1, 4, 7)}
    assert {tuple(i.flatten().tolist()) for i in found[half]} == {(9, 8, 7, 6, 5, 4, 3, 2, 1)}
    assert {tuple(i.flatten().tolist()) for i in found[none]} == {(1, 2, 3, 4, 5, 6, 7, 8, 9)}


def test_rotations_fill_corners_with_0_and_keep_within_the_degrees() -> None:
    ones = torch.ones(400, 1, 32, 32)
    turned = random_rotation(ones, 45.0, _seeded())
    assert set(turned.unique().tolist()) == {0.0, 1.0}
    assert (turned[:, :, 8:24, 8:24] == 1).all()
    # 1 degree moves no corner of 32x32 by half a pixel or more: 15.5 * 1.414 * 0.01745 < 0.5
    slightly = random_rotation(torch.rand(400, 1, 32, 32, generator=_seeded()), 1.0, _seeded())
    assert torch.equal(slightly, torch.rand(400, 1, 32, 32, generator=_seeded()))


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
                    _numbered(20), 6, config=DataConfig(), generator=generator
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


def _coloured(n: int) -> LabelledImages:
    images = torch.randint(0, 256, (n, 3, 8, 8), generator=_seeded(1), dtype=torch.uint8)
    return LabelledImages(images, torch.arange(n))


def test_the_policy_comes_first_then_crop_flip_and_rotation() -> None:
    """One batch, with each part's random numbers drawn in that order."""
    data = _coloured(20)
    ((found, targets),) = _epoch(
        data, 32, policy="randaugment", augmentation="crop_flip", rotation=15.0
    )
    generator = _seeded()
    order = torch.randperm(20, generator=generator)
    images = to_unit(rand_augment(data.images[order], 2, 8, generator))
    images = random_flip(random_crop(images, 2, generator), generator)
    assert torch.equal(found, random_rotation(images, 15.0, generator))
    assert torch.equal(targets, order)


def test_without_policy_and_rotation_the_random_numbers_are_order_crop_flip_batch_by_batch() -> (
    None
):
    """As before there were any: a configuration without them trains to the same bits."""
    data = _coloured(10)
    generator = _seeded()
    order = torch.randperm(10, generator=generator)
    for i, (images, targets) in enumerate(_epoch(data, 4, augmentation="crop_flip")):
        chosen = order[4 * i : 4 * i + 4]
        cropped = random_crop(to_unit(data.images[chosen]), 2, generator)
        assert torch.equal(images, random_flip(cropped, generator))
        assert torch.equal(targets, chosen)


def test_the_policy_takes_whole_batches_2048_images_at_once() -> None:
    """Batches of 500 go four at a time."""
    data = _coloured(2600)
    found = _epoch(data, 500, policy="autoaugment")
    generator = _seeded()
    order = torch.randperm(2600, generator=generator)
    blocks = [auto_augment(data.images[part], generator) for part in order.split(2000)]
    assert [len(targets) for _, targets in found] == [500, 500, 500, 500, 500, 100]
    assert torch.equal(torch.cat([images for images, _ in found]), to_unit(torch.cat(blocks)))
    assert torch.equal(torch.cat([targets for _, targets in found]), order)


@pytest.mark.parametrize("policy", ["randaugment", "autoaugment"])
@pytest.mark.parametrize("batch_size", [3, 9, 5000])
def test_a_policy_yields_every_image_once_in_0_to_1(policy: str, batch_size: int) -> None:
    seen = []
    for images, targets in _epoch(_numbered(28), batch_size, policy=policy):
        seen += targets.tolist()
        assert images.shape == (len(targets), 1, 8, 8)
        assert images.dtype == torch.float32
        assert 0 <= images.min() and images.max() <= 1
    assert sorted(seen) == list(range(28))
