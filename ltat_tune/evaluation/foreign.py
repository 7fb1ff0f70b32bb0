"""Loads checkpoints that another training script wrote, to measure them like our own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ltat_tune.config.config_file import dump_config
from ltat_tune.config.foreign.description import CheckpointDescription, read_description
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.datasets import Splits
from ltat_tune.errors import CheckpointError, ConfigError
from ltat_tune.losses.counts import log_prior
from ltat_tune.models import build_model, measured
from ltat_tune.models.foreign.weights import first_names, fit_weights, read_tensors

_COMMENT = (
    "Written by `ltat-tune` for a checkpoint of another script.\n"
    "The training is not described here: method, loss and attack are defaults."
)


def written_config(folder: Path, described: CheckpointDescription, data: str) -> Path:
    """Write the configuration of a foreign checkpoint. Equal arguments give the same file.

    Args:
        folder: where to write it.
        described: its network and normalisation.
        data: `data.name`, or a folder of images by class.

    Raises:
        ConfigError: the model or the data set does not exist.
    """
    own = {"data.name": "image_folder", "data.root": data} if Path(data).is_dir() else (
        {"data.name": data}
    )  # fmt: skip
    return write_described(folder, described, {"data.profile": "full", **own})


def write_described(
    folder: Path, described: CheckpointDescription, values: dict[str, Any]
) -> Path:
    """Write the configuration of a foreign checkpoint with these values besides `model.*`.

    Raises:
        ConfigError: as `written_config`.
    """
    network = {f"model.{name}": value for name, value in described.model.items()}
    config = TrialConfig.from_flat({**values, **network})
    recorded = described.recorded
    digits = hashlib.sha256(repr((config.flat(), recorded)).encode()).hexdigest()[:8]
    path = folder / f"foreign-{digits}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    dump_config(path, config, comment=_COMMENT, recorded=recorded or None)
    return path


def config_of_checkpoint(
    text: str, folder: Path, described: CheckpointDescription | None, data: str | None
) -> Path | None:
    """Write the configuration of a checkpoint that another script wrote.

    Args:
        text: the file. For anything else than a file of weights there is nothing to write.
        folder: where to write the configuration.
        described: the description; None reads the file of the same name beside the checkpoint.
        data: `data.name`, or a folder of images by class.

    Returns:
        The configuration; None for what describes itself: ours, a study, a folder.

    Raises:
        ConfigError: the description has wrong fields, or the data set is not given.
    """
    path = Path(text)
    if not path.is_file() or path.suffix in (".yaml", ".yml"):
        return None
    beside = path.with_suffix(".yaml")
    if described is None and beside.is_file():
        described = read_description(beside)
    if described is None:
        return None
    if data is None:
        raise ConfigError(
            f"{text} is of another script, so the images must be named: add --data, such as "
            "--data cifar10"
        )
    return written_config(folder, described, data)


def is_ours(path: Path) -> bool:
    """Return whether this package wrote a checkpoint, or whether its reader should say why not."""
    from ltat_tune.training.checkpoint import read_checkpoint
    from ltat_tune.training.weights_file import SUFFIX, read_weights

    try:
        if path.suffix == SUFFIX:
            read_weights(path)
        else:
            read_checkpoint(path)
    except CheckpointError as error:
        # a torn or changed file of ours must not pass for another script's
        return not any(word in str(error) for word in ("another format", "another kind of"))
    except OSError:
        return True
    return True


def load_foreign(
    path: Path, config: TrialConfig, recorded: dict[str, Any], splits: Splits
) -> nn.Module:
    """Build the configured network, as measured, with the weights of another script.

    Raises:
        CheckpointError: the file leaves a tensor of the network at random, or has more of them.
    """
    channels, side = splits.train.images.shape[1:3]
    told = recorded.get("foreign") or {}
    given, classes = told.get("normalisation") or {}, len(splits.classes)
    if told.get("classes", classes) != classes:
        raise CheckpointError(
            f"{path} must have the {classes} classes of {config.data.name}, but its description "
            f"says {told['classes']}; name the images that it was trained for with --data"
        )
    model = build_model(
        config.model, in_channels=channels, num_classes=classes, side=side,
        mean=torch.tensor(given["mean"]) if given else None,
        std=torch.tensor(given["std"]) if given else None,
    )  # fmt: skip
    fitted = fit_weights(read_tensors(path), model, keys=told.get("keys"))
    unused = tuple(name for name in fitted.unused if "sub_block1" not in name)
    if fitted.left or unused:
        raise CheckpointError(
            f"{path} must hold the network {config.model.name} with {classes} "
            f"classes; missing: {first_names(fitted.left) or 'none'}; besides: "
            f"{first_names(unused) or 'none'}; name its network with --model"
        )
    model.load_state_dict(fitted.weights, strict=False)
    shift = None
    if config.model.posthoc_tau > 0:
        shift = (config.model.posthoc_tau * log_prior(splits.samples_per_class.double())).float()
    return measured(model.eval(), scale=config.model.inference_scale, shift=shift)
