"""Trained weights as a safetensors file beside their configuration. Reading it runs no code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ltat_tune.config.config_file import load_config
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import CheckpointError
from ltat_tune.files import read_file, write_bytes
from ltat_tune.methods import needs_projection
from ltat_tune.models import Classifier, build_model, measured
from ltat_tune.training.checkpoint import loading, weights_hash

SUFFIX = ".safetensors"
WEIGHTS_FORMAT = "ltat-tune 2"
_WITHOUT_DIGEST = "ltat-tune 1"  # the format of 0.4.0
_SHIFT = "shift"  # the only tensor that is not the network's


@dataclass(frozen=True)
class Exported:
    """The content of a safetensors file that `save_weights` wrote."""

    tensors: dict[str, Tensor]  # of the network, on the CPU
    shift: Tensor | None  # subtracted from the logits, (K,); from `model.posthoc_tau`
    identity: str  # of the configuration
    subset_hash: str
    weights: str  # hash of the tensors, as in a study and a card
    epoch: int  # after which the weights were kept
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]  # C, H, W

    def build(self, config: TrialConfig) -> nn.Module:
        """Build the model in eval mode, ready to measure: images in [0, 1] to logits."""
        network = build_model(
            config.model, in_channels=self.image_shape[0], num_classes=len(self.classes),
            side=self.image_shape[1], projection=needs_projection(config),
        )  # fmt: skip
        network.load_state_dict(self.tensors)
        return measured(network.eval(), scale=config.model.inference_scale, shift=self.shift)


def save_weights(
    path: Path,
    model: nn.Module,
    *,
    identity: str,
    subset_hash: str,
    epoch: int,
    classes: tuple[str, ...],
    image_shape: tuple[int, int, int],
    about: dict[str, str],
) -> None:
    """Write a model, with its adjustments, to a file that is complete or absent.

    Args:
        path: the file; it ends in .safetensors.
        model: the result of `build_model`, possibly wrapped by `measured`.
        identity: identity of its configuration.
        subset_hash: hash of the images that it was trained and selected on.
        epoch: the epoch that the weights come from.
        classes: class names, (K,).
        image_shape: C, H, W.
        about: origin of the file, for people who open it elsewhere: study, scenario, seed.
    """
    from safetensors.torch import save

    shift: Tensor | None = None
    if not isinstance(model, Classifier):
        shift, model = cast(Tensor, model.shift), cast(nn.Module, model.model)
    tensors = {n: t.detach().cpu().contiguous().clone() for n, t in model.state_dict().items()}
    weights = weights_hash(tensors)
    if shift is not None and shift.dim() == 1:  # otherwise it is a scalar 0
        tensors[_SHIFT] = shift.detach().cpu().contiguous().clone()
    metadata = {
        **about, "format": WEIGHTS_FORMAT, "identity": identity, "subset_hash": subset_hash,
        "weights": weights, "epoch": str(epoch), "classes": json.dumps(list(classes)),
        "image_shape": json.dumps(list(image_shape)),
    }  # fmt: skip
    metadata["digest"] = _digest(metadata, tensors)
    # safetensors' own writer makes files that only the owner can read
    write_bytes(path, save(tensors, metadata))


def read_weights(path: Path) -> Exported:
    """Read a file that `save_weights` wrote.

    Raises:
        CheckpointError: the file is torn, its bytes have changed, or this package did not write
            it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        read_file(path, 0)
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}); copy it again, or export it again"
        ) from None
    written = metadata.get("format")
    if written not in (WEIGHTS_FORMAT, _WITHOUT_DIGEST):
        raise CheckpointError(
            f"{path} must be a file of `ltat-tune export --weights` (format {WEIGHTS_FORMAT} "
            f"or an earlier one), got {written or 'another kind of safetensors file'}"
        )
    network = {name: tensor for name, tensor in tensors.items() if name != _SHIFT}
    digest = metadata.pop("digest", None)
    try:
        weights = weights_hash(network)
        is_whole = written == _WITHOUT_DIGEST or digest == _digest(metadata, tensors)
    except TypeError:  # a type of tensor that NumPy and this package do not know
        weights, is_whole = "", False
    if weights != metadata.get("weights") or not is_whole:
        raise CheckpointError(
            f"{path}: its bytes have changed since it was exported; copy it again, or export it "
            "again"
        )
    try:
        channels, height, width = map(int, json.loads(metadata["image_shape"]))
        return Exported(
            network, tensors.get(_SHIFT), metadata["identity"], metadata["subset_hash"], weights,
            int(metadata["epoch"]), tuple(map(str, json.loads(metadata["classes"]))),
            (channels, height, width),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} lacks what an exported model has, or has something else in its place "
            f"({type(error).__name__}: {error}); export it again"
        ) from None


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of everything in a file: metadata, names, types, shapes and values."""
    kinds = {name: [str(each.dtype), list(each.shape)] for name, each in tensors.items()}
    facts = json.dumps([metadata, kinds, weights_hash(tensors)], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()


def load_model(
    path: Path | str, *, config: Path | str | None = None, device: torch.device | str = "cpu"
) -> nn.Module:
    """Load an exported model in eval mode: images (N, C, H, W) in [0, 1] to logits (N, K).

    Args:
        path: the safetensors file.
        config: its configuration file; None is the file of the same name beside it.
        device: the device to put the model on.

    Raises:
        CheckpointError: the file is torn, of another kind, or belongs to another configuration.
        ConfigError: the configuration cannot be read.
    """
    path = Path(path)
    place = path.with_suffix(".yaml") if config is None else Path(config)
    exported = read_weights(path)
    settings, _ = load_config(place)
    check_identity(path, exported, settings, place)
    with loading(path):
        return exported.build(settings).to(device)


def check_identity(path: Path, read: Exported, config: TrialConfig, place: Path) -> None:
    """Raise CheckpointError if the weights belong to another configuration."""
    if read.identity != config.identity:
        raise CheckpointError(
            f"{path} must belong to configuration {config.identity} ({place}), got "
            f"{read.identity}; name its own configuration file with --config"
        )


WEIGHTS, CONFIG = f"model{SUFFIX}", "model.yaml"  # names inside an MLflow model
OUTPUTS = ("probabilities", "logits")
