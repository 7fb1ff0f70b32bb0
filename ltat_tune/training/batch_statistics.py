"""Estimates BatchNorm statistics anew, for weights that no training step has led to."""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ltat_tune.attacks.frozen import frozen
from ltat_tune.attacks.training import build_attack
from ltat_tune.config.timeline import clean_epochs
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import training_batches
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.losses import build_loss
from ltat_tune.methods.fairness.class_state import ClassState, class_factors
from ltat_tune.seeding import new_generator

STATISTICS_IMAGES = 2048  # training images that give an average its statistics
_STREAM = "statistics of the average"


def statistics_layers(module: nn.Module) -> list[_BatchNorm]:
    """Return the layers whose statistics are estimated."""
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]


def estimate_statistics(
    module: nn.Module,
    config: TrialConfig,
    train: LabelledImages,
    samples_per_class: Tensor,
    *,
    epoch: int,
    classes: ClassState,
) -> None:
    """Give averaged weights the BatchNorm statistics of adversarial training images.

    They are the mean of batch statistics over the same images in the same order each time,
    augmented as in the training: those of whole images cost a point of robust accuracy where a
    training pads and crops. A method that trains on clean images gets those of clean images.

    Source: Izmailov2018Averaging 3.2.

    Args:
        module: the averaged network, changed in place.
        config: the configuration, which says how training images are attacked.
        train: training images as they were read, on the module's device.
        samples_per_class: training images by class, (K,).
        epoch: the epoch whose attack is made, from 0: the last one that was trained.
        classes: what the training knows of its classes after it.
    """
    layers, device = statistics_layers(module), train.targets.device
    if not layers:
        return
    own = config.replace({"attack.bn_mode": "eval"})
    adversarial = config.method.name != "natural" and epoch >= clean_epochs(config)
    counts = samples_per_class.to(device)
    attack = build_attack(
        own,
        counts,
        epoch=epoch,
        loss=build_loss(config.loss, counts, beta=config.reweight.beta),
        radii=class_factors(config, counts, classes, epoch).radius,
    )
    draws = new_generator(0, _STREAM)
    size = config.optim.batch_size
    order = training_batches(train, size, config=config.data, generator=draws)
    batches = []
    for images, targets in islice(order, max(1, STATISTICS_IMAGES // size)):
        changed = attack(module, images, targets, generator=draws) if adversarial else images
        batches.append(changed)
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # a mean of all batches
        with torch.no_grad(), frozen(module, training=True):
            for images in batches:
                module(images)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
