"""Loads a trained model safely from its files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ltat_tune.config.config_file import load_config
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import to_unit
from ltat_tune.data.datasets import Splits, load_splits
from ltat_tune.errors import CheckpointError
from ltat_tune.evaluation.foreign import is_ours, load_foreign
from ltat_tune.evaluation.targets import Target
from ltat_tune.methods import needs_projection
from ltat_tune.methods.fairness.class_state import ClassState
from ltat_tune.models import Classifier, build_model, measured, prepare_model
from ltat_tune.storage.training_files import RESULT, read_complete
from ltat_tune.training.checkpoint import loading, read_checkpoint, weights_hash
from ltat_tune.training.metrics import ClassGroups
from ltat_tune.training.trainer import Trainer
from ltat_tune.training.weights_file import SUFFIX, check_identity, read_weights


@dataclass(frozen=True)
class Loaded:
    """A model in eval mode and the images it is measured on."""

    target: Target
    config: TrialConfig
    model: nn.Module  # as measured: with inference_scale and the log-prior of posthoc_tau
    splits: Splits
    groups: ClassGroups
    weights: str
    epoch: int
    selected_on_test: bool
    is_foreign: bool = False  # of another script, so the configuration describes no training
    class_state: ClassState = field(default_factory=ClassState)  # after a training's last epoch
    soup: str = ""  # the trials that it is the average of: `t0003 t0007`

    def at_scale(self, scale: float) -> nn.Module:
        """Return the model with another `model.inference_scale` and the same log-prior."""
        if scale == self.config.model.inference_scale:
            return self.model
        if isinstance(self.model, Classifier):
            return measured(self.model, scale=scale)
        inner, shift = cast(nn.Module, self.model.model), cast(Tensor, self.model.shift)
        return measured(inner, scale=scale, shift=shift)

    def fingerprint(self, scale: float) -> str:
        """Return a text that identifies the model at this scale: `<16 hex digits> at scale 1`.

        The digits are of the weights and of the log-prior that is subtracted; the scale is written
        with all its digits.
        """
        return f"{weights_hash(self.at_scale(scale).state_dict())} at scale {scale!r}"


def load_target(target: Target, *, device: str = "cpu") -> Loaded:
    """Load the model of a finished training with the weights that it kept.

    The checkpoint cannot run code: only tensors and plain values are read.

    Raises:
        CheckpointError: the checkpoint is torn, of another format, network, data set or
            configuration, or not trained to its end; the message says which.
        ConfigError, DataError: as for a training.
    """
    config, recorded = load_config(target.config)
    if not is_ours(target.checkpoint):
        splits = load_splits(config, cache_dir=target.cache)
        network = load_foreign(target.checkpoint, config, recorded or {}, splits)
        groups = ClassGroups.from_counts(splits.samples_per_class.tolist())
        weights = weights_hash(network.state_dict())
        return Loaded(target, config, network.to(device), splits, groups, weights, 0, False, True)
    if target.checkpoint.suffix == SUFFIX:
        return _load_exported(target, config, recorded or {}, device)
    state = _read(target.checkpoint)
    splits = load_splits(config, cache_dir=target.cache)
    _check_network(target, config, state, splits)
    same_images = state["subset_hash"] == splits.subset_hash
    if same_images:
        _check_normalisation(target, config, state, splits)
    if state["identity"] != config.identity:
        raise CheckpointError(
            f"{target.checkpoint} must belong to configuration {config.identity} "
            f"({target.config}), "
            f"got {state['identity']}; its weights fit, but another value differs (a seed, the "
            "data, the attack): name its own configuration file with --config"
        )
    if not same_images:
        raise _other_images(target, state["subset_hash"], splits)
    done, planned = len(state["history"]), config.optim.epochs
    if done < planned:
        raise CheckpointError(
            f"{target.checkpoint} has {done} of {planned} epochs; train it to its end: "
            f"ltat-tune train {target.config} --checkpoint {target.checkpoint}"
        )
    trainer = Trainer(config, splits=splits, device=device)
    result = trainer.fit(checkpoint=target.checkpoint)
    result.model.eval()
    if target.study is not None and (end := read_complete(target.checkpoint.parent)):
        _check_recorded(target, result.weights, end.weights, RESULT)
    on_test = config.data.val_source == "test" or bool((recorded or {}).get("selected_on_test"))
    return Loaded(
        target, config, result.model, splits, trainer.groups,
        result.weights, result.epoch, on_test, class_state=result.class_state,
    )  # fmt: skip


def _load_exported(
    target: Target, config: TrialConfig, recorded: dict[str, Any], device: str
) -> Loaded:
    """Load the model of a safetensors file, which is complete: nothing trains."""
    read = read_weights(target.checkpoint)
    splits = load_splits(config, cache_dir=target.cache)
    _check_network(target, config, {"model": read.tensors}, splits)
    check_identity(target.checkpoint, read, config, target.config)
    if read.subset_hash != splits.subset_hash:
        raise _other_images(target, read.subset_hash, splits)
    if "weights" in recorded:
        _check_recorded(target, read.weights, recorded["weights"], target.config.name)
    on_test = config.data.val_source == "test" or bool(recorded.get("selected_on_test"))
    with loading(target.checkpoint):
        model = read.build(config).to(device)
    prepare_model(model, "fp32", torch.device(device))  # as a training's, to the last digit
    return Loaded(
        target, config, model, splits,
        ClassGroups.from_counts(splits.samples_per_class.tolist()),
        read.weights, read.epoch, on_test, soup=str(recorded.get("soup", "")),
    )  # fmt: skip


def _check_recorded(target: Target, actual: str, recorded: str, where: str) -> None:
    """Raise CheckpointError if the weights are not those that the file beside them records."""
    if actual != recorded:
        raise CheckpointError(
            f"{target.checkpoint} must hold the weights {recorded}, which {where} records, got "
            f"{actual}: one of the two has changed; copy both again, or train them again"
        )


def _other_images(target: Target, actual: str, splits: Splits) -> CheckpointError:
    return CheckpointError(
        f"{target.checkpoint} must be of the images {splits.subset_hash}, got "
        f"{actual}: the data set has changed since the training"
    )


def _read(path: Path) -> dict[str, Any]:
    """Return the state of a checkpoint that may come from anybody, with the parts used here."""
    try:
        state = read_checkpoint(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    model = state.get("model")
    parts = {
        "identity": isinstance(state.get("identity"), str),
        "subset_hash": isinstance(state.get("subset_hash"), str),
        "history": isinstance(state.get("history"), list),
        "model": isinstance(model, dict) and all(isinstance(v, Tensor) for v in model.values()),
    }
    if wrong := [name for name, is_right in parts.items() if not is_right]:
        raise CheckpointError(
            f"{path} must hold the state of a training, but {' and '.join(wrong)} are missing or "
            "of another kind; train it again"
        )
    return state


def _check_network(
    target: Target, config: TrialConfig, state: dict[str, Any], splits: Splits
) -> None:
    """Check class count, input and architecture.

    Raises:
        CheckpointError: with the first of them that differs.
    """
    weights: dict[str, Tensor] = state["model"]
    path, classes = target.checkpoint, len(splits.classes)
    head, mean = weights.get("head.weight"), weights.get("mean")
    if head is not None and head.shape[0] != classes:
        raise CheckpointError(
            f"{path} must have {classes} classes, those of {config.data.name} in "
            f"{target.config}, got {head.shape[0]}: it was trained on other data"
        )
    channels = splits.train.images.shape[1]
    if mean is not None and mean.shape[1] != channels:
        raise CheckpointError(
            f"{path} must take images of {channels} channels, got {mean.shape[1]}"
        )
    expected = build_model(
        config.model, in_channels=channels, num_classes=classes,
        side=splits.train.images.shape[2], projection=needs_projection(config),
    ).state_dict()  # fmt: skip
    problems = [f"lacks {name}" for name in expected if name not in weights]
    problems += [f"has {name} besides" for name in weights if name not in expected]
    problems += [
        f"has {name} of shape {tuple(weights[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if problems:
        model = config.model
        width = "" if model.width is None else f", width {model.width}"
        raise CheckpointError(
            f"{path} must hold the network of {target.config} ({model.name}{width}, "
            f"{model.head} head), but it {problems[0]}"
            + (f", and {len(problems) - 1} more differences" if len(problems) > 1 else "")
            + "; name its own configuration file with --config"
        )


def _check_normalisation(
    target: Target, config: TrialConfig, state: dict[str, Any], splits: Splits
) -> None:
    """Compare the checkpoint's mean and std with the configuration's.

    Raises:
        CheckpointError: they differ.
    """
    images = to_unit(splits.train.images)
    if config.model.normalisation == "none":
        mean, std = torch.zeros(images.shape[1]), torch.ones(images.shape[1])
    else:
        mean, std = images.mean(dim=(0, 2, 3)), images.std(dim=(0, 2, 3)).clamp_min(1e-6)
    for name, expected in (("mean", mean), ("std", std)):
        actual = state["model"][name].flatten()
        # another machine may sum in another order
        if not torch.allclose(actual, expected, rtol=1e-4, atol=1e-5):
            raise CheckpointError(
                f"{target.checkpoint} must have model.normalisation {config.model.normalisation}, "
                f"that is {name} {_digits(expected)}, got {name} {_digits(actual)}: its images "
                "would be shifted; name its own configuration file with --config"
            )


def _digits(values: Tensor) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values.tolist()) + ")"
