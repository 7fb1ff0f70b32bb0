"""Loads checkpoints that another training script wrote, to measure them like our own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ltat_tune.config.config_file import dump_config
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.datasets import Splits
from ltat_tune.errors import CheckpointError, ConfigError
from ltat_tune.losses.counts import log_prior
from ltat_tune.models import build_model, measured
from ltat_tune.models.foreign.weights import first_names, fit_weights, read_tensors

_COMMENT = (
    "Written by `ltat-tune evaluate --model --data` for a checkpoint of another script.\n"
    "The training is not described here: method, loss and attack are defaults."
)


def written_config(
    folder: Path, model: str, data: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> Path:
    """Write the configuration of a foreign checkpoint. Equal arguments give the same file.

    Args:
        folder: where to write it.
        model: `model.name`.
        data: `data.name`, or a folder of images by class.
        mean: subtracted from each channel before the network, in [0, 1]; empty is 0.
        std: divides each channel; empty is 1.

    Raises:
        ConfigError: the model does not exist, or only one of mean and std is given.
    """
    if bool(mean) != bool(std) or len(mean) != len(std):
        raise ConfigError(
            f"--mean and --std must both hold one number a channel, got {len(mean)} and {len(std)}"
        )
    values: dict[str, Any] = {"model.name": model, "data.profile": "full"}
    values |= (
        {"data.name": "image_folder", "data.root": data} if Path(data).is_dir()
        else {"data.name": data}
    )  # fmt: skip
    config = TrialConfig.from_flat(values)
    recorded = {"normalisation": {"mean": list(mean), "std": list(std)}} if mean else None
    digits = hashlib.sha256(repr((config.flat(), mean, std)).encode()).hexdigest()[:8]
    path = folder / f"foreign-{digits}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    dump_config(path, config, comment=_COMMENT, recorded=recorded)
    return path


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
    given = recorded.get("normalisation") or {}
    model = build_model(
        config.model, in_channels=channels, num_classes=len(splits.classes), side=side,
        mean=torch.tensor(given["mean"]) if given else None,
        std=torch.tensor(given["std"]) if given else None,
    )  # fmt: skip
    fitted = fit_weights(read_tensors(path), model)
    unused = tuple(name for name in fitted.unused if "sub_block1" not in name)
    if fitted.left or unused:
        raise CheckpointError(
            f"{path} must hold the network {config.model.name} with {len(splits.classes)} "
            f"classes; missing: {first_names(fitted.left) or 'none'}; besides: "
            f"{first_names(unused) or 'none'}; name its network with --model"
        )
    model.load_state_dict(fitted.weights, strict=False)
    shift = None
    if config.model.posthoc_tau > 0:
        shift = (config.model.posthoc_tau * log_prior(splits.samples_per_class.double())).float()
    return measured(model.eval(), scale=config.model.inference_scale, shift=shift)
