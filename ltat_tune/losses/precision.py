"""The least precision in which logits and features become a loss."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """Half precision to float32, the rest as it is: a softmax over 8 or 11 bits is noise."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
