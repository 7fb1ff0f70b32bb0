"""The networks of a training in their start: the one that is trained, and its teacher."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import channel_statistics
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.methods import needs_projection
from ltat_tune.models import Classifier, build_model, prepare_model
from ltat_tune.models.foreign.start import load_teacher, start_from
from ltat_tune.seeding import stream_seed


def starting_network(
    config: TrialConfig,
    train: LabelledImages,
    classes: int,
    device: torch.device,
    *,
    precision: str,
    resumes: bool,
) -> Classifier:
    """Return the network that is trained.

    Args:
        config: the configuration.
        train: the training images.
        classes: K.
        device: its device.
        precision: its precision.
        resumes: whether a checkpoint follows, so that `model.init` is not read.
    """
    model = _builder(config, train, classes)(projection=needs_projection(config))
    if config.model.init and not resumes:
        start_from(model, config.model.init)
    prepare_model(model.to(device), precision, device)
    return model


def teacher_network(
    config: TrialConfig,
    train: LabelledImages,
    classes: int,
    device: torch.device,
    *,
    precision: str,
) -> Classifier | None:
    """Return the network of `method.teacher`, read from its file; None if nobody is taught.

    The arguments are those of `starting_network`.

    Raises:
        CheckpointError: its file cannot be read, or is of another network.
    """
    method = config.method
    if method.teacher is None or method.distillation_weight == 0:
        return None
    teacher = _builder(config, train, classes)()
    load_teacher(teacher, method.teacher)
    prepare_model(teacher.to(device), precision, device)
    return teacher


def _builder(
    config: TrialConfig, train: LabelledImages, classes: int
) -> Callable[..., Classifier]:
    normalises = config.model.normalisation == "data"
    mean, std = channel_statistics(train.images) if normalises else (None, None)
    return partial(
        build_model, config.model, in_channels=train.images.shape[1], num_classes=classes,
        side=train.images.shape[2], mean=mean, std=std,
        seed=stream_seed(config.seeds.seed, "weights"),
    )  # fmt: skip
