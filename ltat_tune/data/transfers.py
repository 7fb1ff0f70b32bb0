"""Copies from the CPU to the device that trains, for which the CPU does not wait."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Return values on a device. A copy to a GPU goes through pinned memory and is not waited for.

    A copy from ordinary memory makes the CPU wait until the GPU has done everything before it.
    """
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
