"""Measures a pass through a network that this package did not write."""

from __future__ import annotations

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode


def measured_pass(model: nn.Module, images: Tensor) -> tuple[float, float]:
    """Run one forward in train mode, and count what it does.

    Args:
        model: images (N, C, H, W) to logits (N, K). Its buffers may change.
        images: the images, (N, C, H, W).

    Returns:
        Multiply-adds by image, and numbers by image that a backward pass needs. A tensor that
        several operations keep counts once, and weights do not count.
    """
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor  # held, so that its place is not given to another
        return tensor

    counter = FlopCounterMode(display=False)
    with counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        model(images)
    numbers = sum(t.untyped_storage().nbytes() // t.element_size() for t in kept.values())
    return counter.get_total_flops() / 2 / len(images), numbers / len(images)
