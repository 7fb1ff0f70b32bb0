"""The minimum precision in which losses are computed from logits and features."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """Convert half precision to float32, because a softmax of 8 or 11 bits would be noise."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
