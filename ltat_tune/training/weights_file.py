"""Trained weights as a safetensors file beside their configuration: nothing in it can run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ltat_tune.config.config_file import load_config
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import CheckpointError
from ltat_tune.files import write_bytes
from ltat_tune.methods import needs_projection
from ltat_tune.models import Classifier, build_model, measured

SUFFIX = ".safetensors"
FORMAT = "ltat-tune 1"
_SHIFT = "shift"  # the only tensor that is not the network's


@dataclass(frozen=True)
class Exported:
    """What a safetensors file of ours holds."""

    tensors: dict[str, Tensor]  # of the network, on the CPU
    shift: Tensor | None  # taken from the logits, (K,); of `model.posthoc_tau`
    identity: str  # of the configuration
    subset_hash: str
    weights: str  # hash of the tensors, as a study and a card name it
    epoch: int  # that they are from
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]  # C, H, W

    def build(self, config: TrialConfig) -> nn.Module:
        """The model as it is measured, in eval mode: images in [0, 1] to logits."""
        network = build_model(
            config.model, in_channels=self.image_shape[0], num_classes=len(self.classes),
            projection=needs_projection(config),
        )  # fmt: skip
        network.load_state_dict(self.tensors)
        return measured(network.eval(), scale=config.model.inference_scale, shift=self.shift)


def save_weights(
    path: Path,
    model: nn.Module,
    *,
    identity: str,
    subset_hash: str,
    weights: str,
    epoch: int,
    classes: tuple[str, ...],
    image_shape: tuple[int, int, int],
    about: dict[str, str],
) -> None:
    """Writes a model as it is measured; the file is whole or not there.

    Args:
        path: ends in .safetensors.
        model: of `build_model`, perhaps within `measured`.
        identity: of its configuration.
        subset_hash: of the images it was trained and chosen on.
        weights: hash of its tensors.
        epoch: that they are from.
        classes: names, (K,).
        image_shape: C, H, W.
        about: for people who open the file elsewhere: study, scenario, seed.
    """
    from safetensors.torch import save

    shift: Tensor | None = None
    if not isinstance(model, Classifier):
        shift, model = cast(Tensor, model.shift), cast(nn.Module, model.model)
    tensors = {n: t.detach().cpu().contiguous().clone() for n, t in model.state_dict().items()}
    if shift is not None and shift.dim() == 1:  # else it is a plain 0
        tensors[_SHIFT] = shift.detach().cpu().contiguous().clone()
    metadata = {
        **about, "format": FORMAT, "identity": identity, "subset_hash": subset_hash,
        "weights": weights, "epoch": str(epoch), "classes": json.dumps(list(classes)),
        "image_shape": json.dumps(list(image_shape)),
    }  # fmt: skip
    write_bytes(path, save(tensors, metadata))  # its own writer lets only the owner read


def read_weights(path: Path) -> Exported:
    """Reads what `save_weights` wrote.

    Raises:
        CheckpointError: torn, or not written by this package.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            about: dict[str, Any] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}); copy it again, or export it again"
        ) from None
    if about.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} must be a file of `ltat-tune export --checkpoint` (format {FORMAT}), got "
            f"{about.get('format', 'another kind of safetensors file')}"
        )
    channels, height, width = json.loads(about["image_shape"])
    return Exported(
        {name: tensor for name, tensor in tensors.items() if name != _SHIFT},
        tensors.get(_SHIFT),
        about["identity"], about["subset_hash"], about["weights"], int(about["epoch"]),
        tuple(json.loads(about["classes"])), (channels, height, width),
    )  # fmt: skip


def load_model(
    path: Path | str, *, config: Path | str | None = None, device: torch.device | str = "cpu"
) -> nn.Module:
    """The exported model, in eval mode: images (N, C, H, W) in [0, 1] to logits (N, K).

    Args:
        path: the safetensors file.
        config: its configuration file; None is the one of the same name beside it.
        device: where it is to be.

    Raises:
        CheckpointError: torn, of another kind, or of another configuration.
        ConfigError: the configuration cannot be read.
    """
    path = Path(path)
    place = path.with_suffix(".yaml") if config is None else Path(config)
    read = read_weights(path)
    settings, _ = load_config(place)
    check_identity(path, read, settings, place)
    return read.build(settings).to(device)


def check_identity(path: Path, read: Exported, config: TrialConfig, place: Path) -> None:
    """Raises: CheckpointError where the weights are of another configuration."""
    if read.identity != config.identity:
        raise CheckpointError(
            f"{path} must be of configuration {config.identity} ({place}), got {read.identity}; "
            "name its own file with --config"
        )


WEIGHTS, CONFIG = f"model{SUFFIX}", "model.yaml"  # names inside an MLflow model
OUTPUTS = ("probabilities", "logits")
