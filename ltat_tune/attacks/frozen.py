"""Context managers that freeze a model during an attack and restore it afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ltat_tune.models.conv_bn import folded_once


@contextmanager
def frozen(model: nn.Module, *, training: bool, moves_statistics: bool = True) -> Iterator[None]:
    """Put the whole model into one mode without parameter gradients; restore it afterwards.

    Frozen parameters save the weight gradients, which are a third of each backward pass. In eval
    mode BatchNorm is folded into the convolutions once for the whole attack. The mode of every
    submodule is restored individually, even after an exception. Without `moves_statistics` a
    train-mode forward normalises by the batch and does not update the running statistics.
    """
    modes = [(module, module.training) for module in model.modules()]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        model.train(training)
        for parameter in trainable:
            parameter.requires_grad_(False)
        with folded_once(model), nullcontext() if moves_statistics else still_statistics(model):
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module, mode in modes:
            module.training = mode


@contextmanager
def still_statistics(model: nn.Module) -> Iterator[None]:
    """Make train-mode forwards normalise by the batch without updating running statistics."""
    moving = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    try:
        for module in moving:
            module.track_running_stats = False
        yield
    finally:
        for module in moving:
            module.track_running_stats = True
