"""RandAugment and AutoAugment on whole batches. They loop over operations, never over images.

Source: Cubuk2020RandAugment, arXiv:1909.13719; Cubuk2019AutoAugment, arXiv:1805.09501, with the
    operations, ranges and random choices of torchvision 0.28 `transforms.v2`, which AT-BSL's
    release applies image by image (NISPLab/AT-BSL@23f433e).
Deviations: random numbers come from the trial's generator, so choices have the same probabilities
    but another order. The operations are torchvision's for tensors; the release passes PIL images,
    and the two round some pixels differently. Both work in 8 bits, so floats in [0, 1] are rounded
    to 256 levels first and converted back to floats. On images of one channel "Color" changes
    nothing, as in PIL. Pixels that move in from outside the image are 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.torchvision_door import import_torchvision
from ltat_tune.data.transfers import constants_sent, sent, sums_in_any_order

Operation = tuple[str, float]  # name, and magnitude with its sign


def _equalized(tv: Any, images: Tensor) -> Tensor:
    with sums_in_any_order():  # of pixels by brightness
        equalized: Tensor = tv.equalize(images)
    return equalized


class _Kind(NamedTuple):
    """The function of an operation, and the range of its magnitude."""

    apply: Callable[[Any, Tensor, float], Tensor]
    weakest: float = 0.0
    strongest: float = 0.0
    signed: bool = False


def _shear(tv: Any, images: Tensor, x: float, y: float) -> Tensor:
    degrees = [math.degrees(math.atan(x)), math.degrees(math.atan(y))]
    return _affine(tv, images, shear=degrees, center=[0, 0])


def _translate(tv: Any, images: Tensor, x: float, y: float) -> Tensor:
    return _affine(tv, images, translate=[int(x), int(y)])


def _affine(
    tv: Any,
    images: Tensor,
    *,
    translate: Sequence[int] = (0, 0),
    shear: Sequence[float] = (0.0, 0.0),
    center: list[float] | None = None,
) -> Tensor:
    moved: Tensor = tv.affine(
        images, angle=0.0, translate=list(translate), scale=1.0, shear=list(shear), center=center
    )
    return moved


# Units of magnitudes: shear is a slope, translation a share of the side, rotation is in degrees.
# "Brightness" to "Sharpness" are distances from the factor 1, posterize is a number of remaining
# bits, and solarize a share of white.
_KINDS = {
    "Identity": _Kind(lambda tv, images, m: images),
    "ShearX": _Kind(lambda tv, images, m: _shear(tv, images, m, 0), 0, 0.3, True),
    "ShearY": _Kind(lambda tv, images, m: _shear(tv, images, 0, m), 0, 0.3, True),
    "TranslateX": _Kind(lambda tv, images, m: _translate(tv, images, m, 0), 0, 150 / 331, True),
    "TranslateY": _Kind(lambda tv, images, m: _translate(tv, images, 0, m), 0, 150 / 331, True),
    "Rotate": _Kind(lambda tv, images, m: tv.rotate(images, m), 0, 30, True),
    "Brightness": _Kind(lambda tv, images, m: tv.adjust_brightness(images, 1 + m), 0, 0.9, True),
    "Color": _Kind(lambda tv, images, m: tv.adjust_saturation(images, 1 + m), 0, 0.9, True),
    "Contrast": _Kind(lambda tv, images, m: tv.adjust_contrast(images, 1 + m), 0, 0.9, True),
    "Sharpness": _Kind(lambda tv, images, m: tv.adjust_sharpness(images, 1 + m), 0, 0.9, True),
    "Posterize": _Kind(lambda tv, images, m: tv.posterize(images, round(m)), 8, 4),
    "Solarize": _Kind(lambda tv, images, m: tv.solarize(images, 255 * m), 1, 0),
    "AutoContrast": _Kind(lambda tv, images, m: tv.autocontrast(images)),
    "Equalize": _Kind(lambda tv, images, m: _equalized(tv, images)),
    "Invert": _Kind(lambda tv, images, m: tv.invert(images)),
}
RANDAUGMENT_OPERATIONS = tuple(name for name in _KINDS if name != "Invert")
_RANDAUGMENT_LEVELS = 31
_AUTOAUGMENT_LEVELS = 10

# (operation, probability, level of 0..9) twice for each sub-policy. Operations without a magnitude
# have level 0. Cubuk2019AutoAugment searched these sub-policies on CIFAR-10.
CIFAR10_POLICY = (
    (("Invert", 0.1, 0), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 0), ("Equalize", 0.9, 0)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 0), ("Equalize", 0.5, 0)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 0), ("AutoContrast", 0.4, 0)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 0)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 0), ("Equalize", 0.6, 0)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 0)),
    (("AutoContrast", 0.8, 0), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 0)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 0), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 0), ("Invert", 0.1, 0)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 0)),
)


@cache
def at_level(
    name: str, level: int, levels: int, *, height: int, width: int, negative: bool = False
) -> Operation:
    """Return the operation at one of `levels` equally spaced strengths.

    Args:
        name: a key of the table of operations.
        level: strength; 0 is the weakest and `levels - 1` the strongest.
        levels: number of levels: 31 in RandAugment, 10 in AutoAugment.
        height: height of the images in pixels.
        width: width of the images in pixels.
        negative: uses the other direction, if the operation has two.
    """
    kind = _KINDS[name]
    side = {"TranslateX": width, "TranslateY": height}.get(name, 1)
    # float32 as in torchvision, so that int() and comparisons with pixels see the same number.
    magnitude = float(torch.linspace(kind.weakest, kind.strongest * side, levels)[level])
    return name, -magnitude if negative and kind.signed else magnitude


def transform(images: Tensor, operation: Operation) -> Tensor:
    """Apply one operation to all uint8 images (N, C, H, W), where C is 1 or 3."""
    name, magnitude = operation
    with constants_sent() if images.is_cuda else nullcontext():
        return _KINDS[name].apply(_functional(), images, magnitude)


@cache
def _functional() -> Any:
    return import_torchvision("transforms.v2.functional")


def rand_augment(
    images: Tensor, operations: int, magnitude: int, generator: torch.Generator
) -> Tensor:
    """Apply random operations to each image, all equally likely and drawn for each image.

    Args:
        images: shape (N, C, H, W), uint8 or floats in [0, 1], C is 1 or 3. The dtype is kept.
        operations: number of operations on each image, one after the other.
        magnitude: level of all operations, 0..30.
        generator: on the CPU; draws the operations (operations, N), then the signs.
    """
    names = RANDAUGMENT_OPERATIONS
    height, width = images.shape[-2:]
    choices = [
        at_level(
            name, magnitude, _RANDAUGMENT_LEVELS, height=height, width=width, negative=negative
        )
        for negative in (False, True)
        for name in names
    ]
    shape = (operations, images.shape[0])
    indices = torch.randint(len(names), shape, generator=generator)
    indices += len(names) * (torch.rand(shape, generator=generator) < 0.5)
    pixels = _to_8_bits(images)
    for which in indices:
        pixels = _each_its_own(pixels, choices, which)
    return _from_8_bits(pixels, images.dtype)


def auto_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply to each image one of the 25 sub-policies for CIFAR-10, drawn for each image.

    Args:
        images: shape (N, C, H, W), uint8 or floats in [0, 1], C is 1 or 3. The dtype is kept.
        generator: on the CPU; draws the sub-policies (N,), whether each of their two operations
            happens (2, N), then the signs (2, N).
    """
    n, _, height, width = images.shape
    policies = torch.randint(len(CIFAR10_POLICY), (n,), generator=generator)
    chance = torch.rand((2, n), generator=generator)
    negative = torch.rand((2, n), generator=generator) < 0.5
    pixels = _to_8_bits(images)
    for i, half in enumerate(zip(*CIFAR10_POLICY, strict=True)):
        choices = [
            at_level(name, level, _AUTOAUGMENT_LEVELS, height=height, width=width, negative=minus)
            for minus in (False, True)
            for name, _, level in half
        ]
        happens = chance[i] < torch.tensor([probability for _, probability, _ in half])[policies]
        which = torch.where(happens, policies + len(half) * negative[i], len(choices))
        pixels = _each_its_own(pixels, [*choices, ("Identity", 0.0)], which)
    return _from_8_bits(pixels, images.dtype)


def _each_its_own(images: Tensor, choices: Sequence[Operation], which: Tensor) -> Tensor:
    """Apply operation which[i] of `choices` to image i of (N, C, H, W); `which` is on the CPU.

    Images are sorted by operation, so that one call changes all images of the same operation.
    """
    distinct = list(dict.fromkeys(choices))
    which = torch.tensor([distinct.index(choice) for choice in choices])[which]
    order = which.argsort(stable=True)
    sizes = which.bincount(minlength=len(distinct)).tolist()
    groups = images[sent(order, images.device)].split(sizes)
    changed = [
        transform(group, choice) if len(group) else group
        for group, choice in zip(groups, distinct, strict=True)
    ]
    return torch.cat(changed)[sent(order.argsort(), images.device)]


def _to_8_bits(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        return images
    return images.mul(255).round_().to(torch.uint8)


def _from_8_bits(images: Tensor, dtype: torch.dtype) -> Tensor:
    return images if dtype == torch.uint8 else images.to(dtype).div_(255)


POLICIES: dict[str, Callable[[Tensor, DataConfig, torch.Generator], Tensor]] = {
    "none": lambda images, config, generator: images,
    "randaugment": lambda images, config, generator: rand_augment(
        images, config.policy_ops, config.policy_magnitude, generator
    ),
    "autoaugment": lambda images, config, generator: auto_augment(images, generator),
}
