"""The optimiser, and the learning rate as a function of the epoch."""

from __future__ import annotations

import math

import torch
from torch import nn

from ltat_tune.config import OptimConfig
from ltat_tune.relevance import drop_epochs


def build_optimizer(config: OptimConfig, model: nn.Module) -> torch.optim.SGD:
    """SGD over all parameters, BatchNorm and biases included, as both papers' releases do."""
    return torch.optim.SGD(
        model.parameters(),
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov and config.momentum > 0,
        weight_decay=config.weight_decay,
        fused=True,
    )


def learning_rate(config: OptimConfig, epoch: int) -> float:
    """The rate of one epoch, counted from 0: linear warm-up, then multistep, cosine or constant.

    A pure function of the epoch, so a resumed run needs no schedule state. REAT (80 epochs,
    milestones 60 and 75): 0.1 in 0..59, 0.01 in 60..74, 0.001 in 75..79.
    """
    if epoch < config.warmup_epochs:
        return config.lr * (epoch + 1) / config.warmup_epochs
    return config.lr * _SHAPES[config.lr_schedule](config, epoch)


def _multistep(config: OptimConfig, epoch: int) -> float:
    return config.lr_decay ** sum(epoch >= drop for drop in drop_epochs(config))


def _cosine(config: OptimConfig, epoch: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * epoch / config.epochs))


def _constant(config: OptimConfig, epoch: int) -> float:
    return 1.0


_SHAPES = {"multistep": _multistep, "cosine": _cosine, "constant": _constant}
