"""Batches and augments images on the device, without workers and without per-image Python."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.data.policies import POLICIES
from ltat_tune.data.transfers import sent

_POLICY_IMAGES = 2048  # more images at once do not make a policy faster per image


def to_unit(images: Tensor) -> Tensor:
    """Convert images (N, C, H, W) to float32 in [0, 1]. Only uint8 images are divided by 255."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of images by channel, in [0, 1], (C,) each."""
    unit = to_unit(images)
    return unit.mean(dim=(0, 2, 3)), unit.std(dim=(0, 2, 3)).clamp_min(1e-6)


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Zero-pad by `padding` and crop each image of (N, C, H, W) at its own random place."""
    n, _, height, width = images.shape
    device = images.device
    shift = sent(torch.randint(0, 2 * padding + 1, (2, n, 1), generator=generator), device)
    padded = F.pad(images, (padding,) * 4)
    rows = (shift[0] + torch.arange(height, device=device))[:, None, :, None]  # (N, 1, H, 1)
    columns = (shift[1] + torch.arange(width, device=device))[:, None, None, :]  # (N, 1, 1, W)
    samples = torch.arange(n, device=device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=device)[None, :, None, None]
    return padded[samples, channels, rows, columns]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image of (N, C, H, W) left to right with probability 1/2."""
    mirrored = sent(torch.rand(images.shape[0], generator=generator), images.device) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def random_rotation(images: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Rotate each image of (N, C, H, W) about its centre, by its own angle within +-`degrees`.

    Each pixel takes the value of the nearest source pixel, or 0 outside the image, as in
    torchvision's RandomRotation.
    """
    n, _, height, width = images.shape
    device = images.device
    uniform = torch.rand(n, generator=generator)
    angles = sent((2 * uniform - 1) * math.radians(degrees), device)
    angle = angles[:, None, None]  # (N, 1, 1)
    # The source of each pixel, in pixels from the centre. The product is written out: a GPU may
    # multiply matrices in TF32, which is too coarse to address a pixel.
    y = torch.arange((1 - height) / 2, height / 2, device=device)[:, None]  # (H, 1)
    x = torch.arange((1 - width) / 2, width / 2, device=device)  # (W,)
    column = angle.cos() * x - angle.sin() * y  # (N, H, W)
    row = angle.sin() * x + angle.cos() * y
    places = torch.stack((column * (2 / width), row * (2 / height)), dim=3)
    return F.grid_sample(images, places, mode="nearest", align_corners=False)


def steps_of_epoch(images: int, batch_size: int) -> int:
    """Return the batches of an epoch: a last image alone joins the batch before it."""
    batches = -(-images // batch_size)
    alone = batches > 1 and images - (batches - 1) * batch_size == 1
    return batches - alone


def training_batches(
    data: LabelledImages, batch_size: int, *, config: DataConfig, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch of shuffled batches: images (B, C, H, W) and targets (B,).

    Images pass through the policy, the crop, the flip and the rotation, in this order. A step that
    is turned off draws no random numbers. A policy takes many batches at once, because its 30 or
    so operations cost about as much for 16 images as for one. A last batch of one image joins the
    batch before it, because BatchNorm cannot train on one image.
    """
    order = sent(torch.randperm(len(data), generator=generator), data.targets.device)
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    at_once = max(1, _POLICY_IMAGES // batch_size)
    for first in range(0, len(batches), at_once):
        some = batches[first : first + at_once]
        block = POLICIES[config.policy](data.images[torch.cat(some)], config, generator)
        for chosen, part in zip(some, block.split([len(b) for b in some]), strict=True):
            images = to_unit(part)
            if config.augmentation in ("crop", "crop_flip"):
                images = random_crop(images, config.crop_padding, generator)
            if config.augmentation == "crop_flip":
                images = random_flip(images, generator)
            if config.rotation > 0:
                images = random_rotation(images, config.rotation, generator)
            yield images, data.targets[chosen]


def evaluation_batches(data: LabelledImages, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all images (B, C, H, W) and targets (B,) in order, without augmentation."""
    for images, targets in zip(
        data.images.split(batch_size), data.targets.split(batch_size), strict=True
    ):
        yield to_unit(images), targets
