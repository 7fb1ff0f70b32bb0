"""Reads the weights that a script saved into a network of ours."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ltat_tune.errors import CheckpointError
from ltat_tune.models import Classifier

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
_HEADS = ("head", "fc", "linear", "classifier")  # what scripts call the last layer


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name, without wrappers and prefixes.

    Nothing in the file is run: only tensors and plain values are read.

    Raises:
        CheckpointError: it is torn, holds code, or has no tensors.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (
        OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:  # fmt: skip
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} cannot be read as weights ({first})") from error
    for _ in _WRAPPERS:
        inner = next((content[key] for key in _WRAPPERS if isinstance(content, dict)
                      and isinstance(content.get(key), dict)), None)  # fmt: skip
        if inner is None:
            break
        content = inner
    tensors = content if isinstance(content, dict) else {}
    tensors = {str(name): value for name, value in tensors.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} must hold a state_dict, and holds no tensors")
    while prefix := next((p for p in _PREFIXES if all(n.startswith(p) for n in tensors)), ""):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def load_into(model: Classifier, path: Path) -> None:
    """Load a script's checkpoint into our network of the same layers.

    The names may be ours, or those of the backbone alone with its last layer called head, fc,
    linear or classifier. Images are normalised as the network is configured.

    Raises:
        CheckpointError: the file cannot be read, or its layers are not those of the network.
    """
    tensors, own = read_state_dict(path), model.state_dict()
    if not any(name.startswith("backbone.") for name in tensors):
        tensors = {_our_name(name): value for name, value in tensors.items()}
    normalisation = {name: own[name] for name in ("mean", "std") if name not in tensors}
    state = {**tensors, **normalisation}
    missing, others = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    shapes = [
        f"{name} {tuple(state[name].shape)}, not {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    problems = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in (
            ("tensors of the network are missing", missing),
            ("tensors are not of the network", others),
            ("tensors have other shapes", shapes),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{path} must hold the weights of the network that model.name describes, but "
            f"{'; '.join(problems)}; set model.* to the script's network"
        )
    model.load_state_dict(state)


def _our_name(name: str) -> str:
    first, _, rest = name.partition(".")
    return f"head.{rest}" if first in _HEADS else f"backbone.{name}"
