"""What every attack does to the model it is handed, and undoes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from ltat_tune.models.conv_bn import folded_once


@contextmanager
def frozen(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Inside: the whole model in one mode, no parameter asks for a gradient. After: as found.

    Frozen parameters save the weight gradients, a third of each backward pass, and in eval mode
    BatchNorm is folded into the convolutions once for the whole attack. The mode of every
    submodule is restored for itself, and after an exception too.
    """
    modes = [(module, module.training) for module in model.modules()]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        model.train(training)
        for parameter in trainable:
            parameter.requires_grad_(False)
        with folded_once(model):
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module, mode in modes:
            module.training = mode
