"""What every attack does to the model it is handed, and undoes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ltat_tune.models.conv_bn import folded_once


@contextmanager
def frozen(model: nn.Module, *, training: bool, moves_statistics: bool = True) -> Iterator[None]:
    """Inside: the whole model in one mode, no parameter asks for a gradient. After: as found.

    Frozen parameters save the weight gradients, a third of each backward pass, and in eval mode
    BatchNorm is folded into the convolutions once for the whole attack. The mode of every
    submodule is restored for itself, and after an exception too. Without `moves_statistics` a
    train-mode forward normalises by the batch and leaves the running statistics alone.
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
    """Inside, train-mode forwards normalise by the batch and move no running statistics."""
    moving = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    try:
        for module in moving:
            module.track_running_stats = False
        yield
    finally:
        for module in moving:
            module.track_running_stats = True
