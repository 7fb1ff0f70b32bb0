"""The networks of a training in their start: the one that is trained, and its teacher."""

from __future__ import annotations

from functools import partial

import torch

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import channel_statistics
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.methods import needs_projection
from ltat_tune.models import Classifier, build_model, prepare_model
from ltat_tune.models.foreign.start import load_teacher, start_from
from ltat_tune.seeding import stream_seed


def starting_networks(
    config: TrialConfig,
    train: LabelledImages,
    classes: int,
    device: torch.device,
    *,
    precision: str,
    resumes: bool,
) -> tuple[Classifier, Classifier | None]:
    """Return the network and the teacher, which is None without `method.teacher`.

    Args:
        config: the configuration.
        train: the training images.
        classes: K.
        device: the device of both.
        precision: the precision of both.
        resumes: whether a checkpoint follows, so that `model.init` is not read.
    """
    normalises = config.model.normalisation == "data"
    mean, std = channel_statistics(train.images) if normalises else (None, None)
    build = partial(
        build_model, config.model, in_channels=train.images.shape[1], num_classes=classes,
        side=train.images.shape[2], mean=mean, std=std,
        seed=stream_seed(config.seeds.seed, "weights"),
    )  # fmt: skip
    model = build(projection=needs_projection(config))
    teacher = build() if config.method.teacher else None
    if teacher is not None and config.method.teacher:
        load_teacher(teacher, config.method.teacher)
        prepare_model(teacher.to(device), precision, device)
    if config.model.init and not resumes:
        start_from(model, config.model.init)
    prepare_model(model.to(device), precision, device)
    return model, teacher
