"""The optimiser, gradient clipping and the learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ltat_tune.config.sections import OptimConfig
from ltat_tune.config.timeline import drop_epochs


def build_optimizer(config: OptimConfig, model: nn.Module) -> torch.optim.SGD:
    """Build SGD over all parameters, including BatchNorm and biases, as both releases do."""
    return torch.optim.SGD(
        model.parameters(),
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov and config.momentum > 0,
        weight_decay=config.weight_decay,
        fused=True,
    )


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a saved state and give each momentum the memory layout of its parameter.

    A state from another device or precision may have another layout, and the fused update reads
    momentum and parameter in memory order.
    """
    optimizer.load_state_dict(state)
    for parameter, buffers in optimizer.state.items():
        for name, value in buffers.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                buffers[name] = torch.empty_like(parameter).copy_(value)


def clip_gradients(model: nn.Module, max_norm: float | None) -> None:
    """Scale all gradients by one factor so that their joint L2 norm is at most `max_norm`.

    Nothing is read back from the device. A non-finite norm puts NaN into the gradients and so into
    the weights, where the trainer's own check finds it.
    """
    if max_norm is not None:
        nn.utils.clip_grad_norm_(
            model.parameters(), max_norm, error_if_nonfinite=False, foreach=True
        )


def learning_rate(config: OptimConfig, epoch: int) -> float:
    """Return the learning rate of one epoch, counted from 0: a linear warm-up, then the schedule.

    The rate depends on the epoch alone, so a resumed run needs no schedule state. The schedule
    counts from the start of the run, not from the end of the warm-up. REAT (80 epochs, milestones
    60 and 75) has a rate of 0.1 in epochs 0..59, 0.01 in 60..74 and 0.001 in 75..79.
    """
    if config.lr_schedule == "robal_release":
        return config.lr * _robal_release(config, epoch)
    if epoch < config.warmup_epochs:
        return config.lr * (epoch + 1) / config.warmup_epochs
    return config.lr * _SHAPES[config.lr_schedule](config, epoch)


def _falls(config: OptimConfig, epoch: int) -> int:
    return sum(epoch >= drop for drop in drop_epochs(config))


def _piecewise(config: OptimConfig, epoch: int) -> float:
    return (1.0, *config.lr_factors)[_falls(config, epoch)]


def _robal_release(config: OptimConfig, epoch: int) -> float:
    """Return the share of the peak rate in RoBal's release, which never returns to the peak.

    Before each epoch, counted from 1, the release multiplies the rate of the previous epoch:
    during the warm-up by (epoch + 1) / warmup_epochs, afterwards by lr_decay for each milestone
    that has been reached. With lr 0.1 and milestones 60 and 75 of 80, the rate of the release
    (wutong16/Adversarial_Long-Tail@ab2f3a7) is 0.1 until epoch 59, 1e-2 in 60, 1e-16 in 74, 1e-18
    in 75 and 1e-28 in 80. A warm-up of 5 multiplies 2/5, 3/5, 4/5 and 5/5, so that the rate is
    0.0192 until the first milestone.
    """
    now, warmup = epoch + 1, config.warmup_epochs
    rise = math.prod((e + 1) / warmup for e in range(1, min(now + 1, warmup)))
    milestones = [round(fraction * config.epochs) for fraction in config.milestones]
    falls = sum(max(0, now - max(milestone, warmup, 1) + 1) for milestone in milestones)
    return rise * config.lr_decay**falls


_SHAPES: dict[str, Callable[[OptimConfig, int], float]] = {
    "multistep": lambda config, epoch: config.lr_decay ** _falls(config, epoch),
    "step": lambda config, epoch: config.lr_decay ** _falls(config, epoch),
    "piecewise": _piecewise,
    "cosine": lambda config, epoch: 0.5 * (1 + math.cos(math.pi * epoch / config.epochs)),
    "linear": lambda config, epoch: 1 - epoch / config.epochs,
    "constant": lambda config, epoch: 1.0,
}
