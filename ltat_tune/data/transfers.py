"""Copies from the CPU to the device that trains, for which the CPU does not wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Return values on a device. A copy to a GPU goes through pinned memory and is not waited for.

    A copy from ordinary memory makes the CPU wait until the GPU has done everything before it.
    """
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


@contextmanager
def sums_in_any_order() -> Iterator[None]:
    """Let a GPU add whole numbers in any order, which changes no sum.

    In a fixed order, a count by scatter makes the CPU wait.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)


class constants_sent(TorchFunctionMode):
    """Make `torch.tensor(values, device="cuda")` of other libraries a copy that `sent` makes."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        device = named.get("device")
        if func is torch.tensor and device is not None and torch.device(device).type == "cuda":
            del named["device"]
            return sent(func(*args, **named), torch.device(device))
        return func(*args, **named)
