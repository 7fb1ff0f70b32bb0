"""Images on the device, batched and augmented there: no workers, no per-image Python."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ltat_tune.data.datasets import LabelledImages


def to_unit(images: Tensor) -> Tensor:
    """Images (N, C, H, W) as float32 in [0, 1], from uint8 in 0..255 or floats as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Zero-pads by `padding` and crops each image of (N, C, H, W) at its own random place."""
    n, _, height, width = images.shape
    device = images.device
    shift = torch.randint(0, 2 * padding + 1, (2, n, 1), generator=generator).to(device)
    padded = F.pad(images, (padding,) * 4)
    rows = (shift[0] + torch.arange(height, device=device))[:, None, :, None]  # (N, 1, H, 1)
    columns = (shift[1] + torch.arange(width, device=device))[:, None, None, :]  # (N, 1, 1, W)
    samples = torch.arange(n, device=device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=device)[None, :, None, None]
    return padded[samples, channels, rows, columns]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors each image of (N, C, H, W) left to right with probability 1/2."""
    mirrored = torch.rand(images.shape[0], generator=generator).to(images.device) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def training_batches(
    data: LabelledImages,
    batch_size: int,
    *,
    augmentation: str,
    crop_padding: int,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of shuffled, augmented (images (B, C, H, W), targets (B,)).

    A last batch of one image joins the batch before it: BatchNorm cannot train on one.
    """
    order = torch.randperm(len(data), generator=generator).to(data.targets.device)
    starts = list(range(0, len(data), batch_size))
    if len(starts) > 1 and len(data) - starts[-1] == 1:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        chosen = order[start:end]
        images = to_unit(data.images[chosen])
        if augmentation in ("crop", "crop_flip"):
            images = random_crop(images, crop_padding, generator)
        if augmentation == "crop_flip":
            images = random_flip(images, generator)
        yield images, data.targets[chosen]


def evaluation_batches(data: LabelledImages, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All of (images (B, C, H, W), targets (B,)) in order, unchanged."""
    for images, targets in zip(
        data.images.split(batch_size), data.targets.split(batch_size), strict=True
    ):
        yield to_unit(images), targets
