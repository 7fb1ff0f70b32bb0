"""How many images are attacked at once on a GPU, where no number depends on it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ltat_tune.attacks.replays import return_cached_memory

MULTIPLE = 64

# (numbers of images (N,), targets (N,)) -> images (N, C, H, W)
NumberedAttack = Callable[[Tensor, Tensor], Tensor]


def attacked_alone(attack: NumberedAttack, numbers: Tensor, targets: Tensor) -> Tensor:
    """Attack images that do not depend on each other: (N,), (N,) -> (N, C, H, W).

    On a GPU, the first image fills the batch up to a multiple of 64, because cuDNN plans anew for
    each number of images, and those that still stand are another number each time. If memory runs
    out, each half is attacked for itself.

    Raises:
        OutOfMemoryError: there is no room for one image.
    """
    if not numbers.is_cuda or len(numbers) == 0:
        return attack(numbers, targets)
    try:
        return _filled(attack, numbers, targets)
    except torch.OutOfMemoryError:
        if len(numbers) == 1:
            raise
    return_cached_memory()  # here the error's frames are gone, and so are their tensors
    half = (len(numbers) + 1) // 2
    parts = zip(numbers.split(half), targets.split(half), strict=True)
    return torch.cat([attacked_alone(attack, *part) for part in parts])


def _filled(attack: NumberedAttack, numbers: Tensor, targets: Tensor) -> Tensor:
    lacking = -len(numbers) % MULTIPLE
    if lacking == 0:
        return attack(numbers, targets)
    filled = [torch.cat((values, values[:1].expand(lacking))) for values in (numbers, targets)]
    return attack(*filled)[: len(numbers)]
