"""Policies: each image as torchvision's own transforms leave it, after the same draws."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.policies import (
    CIFAR10_POLICY,
    POLICIES,
    RANDAUGMENT_OPERATIONS,
    at_level,
    auto_augment,
    rand_augment,
    transform,
)
from ltat_tune.data.torchvision_door import import_torchvision

torch.set_num_threads(1)

v2 = import_torchvision("transforms.v2")
_RAND, _AUTO = v2.RandAugment(2, 8), v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(n: int, *, channels: int = 3, height: int = 32, width: int = 32) -> Tensor:
    """Smooth uint8 images of different brightness and contrast: noise hides what equalize does."""
    coarse = torch.rand(n, channels, 4, 4, generator=_seeded(1))
    low, high = torch.rand(2, n, 1, 1, 1, generator=_seeded(2)).sort(dim=0).values
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    pixels: Tensor = (low + (high - low) * smooth) * 255
    return pixels.to(torch.uint8)


def _magnitude(
    augment: Any, name: str, level: int | None, levels: int, image: Tensor, negative: bool
) -> float:
    """As in the forward of torchvision's RandAugment and AutoAugment."""
    ladder, signed = augment._AUGMENTATION_SPACE[name]
    magnitudes = ladder(levels, *image.shape[-2:])
    if magnitudes is None:
        return 0.0
    return float(magnitudes[level]) * (-1 if signed and negative else 1)


def _torchvision(augment: Any, image: Tensor, name: str, magnitude: float) -> Tensor:
    changed: Tensor = augment._apply_image_or_video_transform(
        image, name, magnitude, interpolation=v2.InterpolationMode.NEAREST, fill=augment._fill
    )
    return changed


def test_the_operations_are_torchvisions() -> None:
    assert list(RANDAUGMENT_OPERATIONS) == list(_RAND._AUGMENTATION_SPACE)
    assert _RAND.num_magnitude_bins == 31


def test_the_sub_policies_are_torchvisions_of_cifar10() -> None:
    ladderless = {"AutoContrast", "Equalize", "Invert"}
    expected = [
        tuple((name, chance, 0 if name in ladderless else level) for name, chance, level in pair)
        for pair in _AUTO._policies
    ]
    assert list(CIFAR10_POLICY) == expected


@pytest.mark.parametrize(
    ("name", "magnitude"),
    [("ShearX", 0.08), ("Rotate", 8.0), ("Color", 0.24), ("Solarize", 22 / 30),
     ("TranslateX", 8 / 30 * 150 / 331 * 32), ("TranslateY", 8 / 30 * 150 / 331 * 20),
     ("Equalize", 0.0), ("Identity", 0.0)],
)  # fmt: skip
def test_level_8_of_0_to_30_by_hand(name: str, magnitude: float) -> None:
    found = at_level(name, 8, 31, height=20, width=32)
    assert found[0] == name
    assert found[1] == pytest.approx(magnitude, rel=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [*RANDAUGMENT_OPERATIONS, "Invert"])
def test_each_operation_at_each_level_is_torchvisions_on_single_images(
    name: str, channels: int
) -> None:
    augment = _AUTO if name == "Invert" else _RAND
    images = _images(3, channels=channels, height=20, width=24)
    for levels, level in [(31, 0), (31, 8), (31, 15), (31, 30), (10, 1), (10, 6), (10, 9)]:
        for negative in (False, True):
            magnitude = _magnitude(augment, name, level, levels, images, negative)
            operation = at_level(name, level, levels, height=20, width=24, negative=negative)
            found = transform(images, operation)
            for image, result in zip(images, found, strict=True):
                assert torch.equal(result, _torchvision(augment, image, name, magnitude))


def test_every_operation_but_the_identity_does_something() -> None:
    """So that the comparison above is not one of unchanged images."""
    images = _images(8)
    for name in (*RANDAUGMENT_OPERATIONS, "Invert"):
        changed = transform(images, at_level(name, 8, 31, height=32, width=32))
        assert torch.equal(changed, images) == (name == "Identity")


@pytest.mark.parametrize(("operations", "magnitude"), [(2, 8), (1, 30), (4, 0)])
@pytest.mark.parametrize("channels", [1, 3])
def test_randaugment_is_torchvisions_for_each_images_draws(
    operations: int, magnitude: int, channels: int
) -> None:
    images = _images(120, channels=channels)
    found = rand_augment(images, operations, magnitude, _seeded())
    generator = _seeded()
    drawn = torch.randint(14, (operations, 120), generator=generator).tolist()
    negative = (torch.rand(operations, 120, generator=generator) < 0.5).tolist()
    names = list(_RAND._AUGMENTATION_SPACE)
    for i, image in enumerate(images):
        for which, minus in zip(drawn, negative, strict=True):
            name = names[which[i]]
            strength = _magnitude(_RAND, name, magnitude, 31, image, minus[i])
            image = _torchvision(_RAND, image, name, strength)
        assert torch.equal(found[i], image)


@pytest.mark.parametrize("channels", [1, 3])
def test_autoaugment_is_torchvisions_for_each_images_draws(channels: int) -> None:
    images = _images(200, channels=channels)
    found = auto_augment(images, _seeded())
    generator = _seeded()
    drawn = torch.randint(25, (200,), generator=generator).tolist()
    chance = torch.rand(2, 200, generator=generator).tolist()
    negative = (torch.rand(2, 200, generator=generator) < 0.5).tolist()
    for i, image in enumerate(images):
        for half, (name, probability, level) in enumerate(_AUTO._policies[drawn[i]]):
            if chance[half][i] < probability:
                strength = _magnitude(_AUTO, name, level, 10, image, negative[half][i])
                image = _torchvision(_AUTO, image, name, strength)
        assert torch.equal(found[i], image)


def test_outcomes_are_as_likely_as_torchvisions() -> None:
    """14 operations with 2 signs are 28 outcomes. On one pixel of 100, at level 30, brightness
    makes 10 and 190 of it in one each; solarize, from 0 on, 255 - 100 and posterize, to 4 bits,
    0b0110_0000 in two each."""
    grey = torch.full((28000, 1, 1, 1), 100, dtype=torch.uint8)
    counts = Counter(rand_augment(grey, 1, 30, _seeded()).flatten().tolist())
    for value, outcomes in {10: 1, 190: 1, 155: 2, 96: 2}.items():
        assert counts[value] == pytest.approx(1000 * outcomes, rel=0.12)


@pytest.mark.parametrize("policy", ["randaugment", "autoaugment"])
def test_floats_go_through_8_bits(policy: str) -> None:
    config = DataConfig.model_validate({"policy": policy})
    pixels = _images(60)
    before = pixels.clone()
    expected = POLICIES[policy](pixels, config, _seeded())
    nearby = pixels / 255 + 0.4 / 255 * (torch.rand(pixels.shape, generator=_seeded()) - 0.5)
    found = POLICIES[policy](nearby, config, _seeded())
    assert expected.dtype == torch.uint8
    assert found.dtype == torch.float32
    assert torch.equal(found, expected / 255)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("policy", ["randaugment", "autoaugment"])
def test_equal_generators_give_equal_images_and_other_ones_differ(policy: str) -> None:
    config = DataConfig.model_validate({"policy": policy})
    a, b, c = (POLICIES[policy](_images(60), config, _seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("policy", ["randaugment", "autoaugment"])
@pytest.mark.parametrize("n", [1, 2])
def test_a_batch_of_one_or_two_8x8_digits_works(policy: str, n: int) -> None:
    config = DataConfig.model_validate({"policy": policy, "policy_magnitude": 30})
    for seed in range(30):
        found = POLICIES[policy](torch.rand(n, 1, 8, 8), config, _seeded(seed))
        assert found.shape == (n, 1, 8, 8)
        assert 0 <= found.min() and found.max() <= 1


def test_randaugment_reads_its_operations_and_magnitude_from_the_configuration() -> None:
    config = DataConfig(policy="randaugment", policy_ops=3, policy_magnitude=20)
    found = POLICIES["randaugment"](_images(40), config, _seeded())
    assert torch.equal(found, rand_augment(_images(40), 3, 20, _seeded()))


def test_no_policy_changes_and_draws_nothing() -> None:
    images, generator = _images(2), _seeded()
    assert POLICIES["none"](images, DataConfig(), generator) is images
    assert torch.equal(generator.get_state(), _seeded().get_state())
