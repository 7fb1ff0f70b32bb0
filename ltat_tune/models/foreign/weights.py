"""Reads weights that other people saved, and fits them into a network. Reading runs no code."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ltat_tune.errors import CheckpointError
from ltat_tune.models.classifier import Classifier
from ltat_tune.models.foreign.layouts import renamed

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
_COUNTERS = "num_batches_tracked"  # which only BatchNorm without a momentum reads
_SHOWN = 4  # names in a message


@dataclass(frozen=True)
class Fitted:
    """The weights of a file for one network.

    Attributes:
        weights: tensors by the network's names.
        left: names of the network that the file does not fill.
        unused: names of the file that the network does not have, or in another shape.
    """

    weights: dict[str, Tensor]
    left: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def note(self) -> str:
        """What was taken, what keeps its start, and what of the file is not used."""
        parts = [f"{len(self.weights)} tensors taken"]
        parts += [f"at their random start: {first_names(self.left)}"] if self.left else []
        parts += [f"not used: {first_names(self.unused)}"] if self.unused else []
        return "; ".join(parts)


def first_names(names: tuple[str, ...]) -> str:
    """Return the first names, and how many follow."""
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint of any training script, or of a safetensors file.

    Raises:
        CheckpointError: the file cannot be read safely, or holds no weights.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about pickles that it then refuses
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is refused: it holds more than tensors and plain values, and reading it "
            f"might run code ({str(error).splitlines()[0][:160]}); save model.state_dict() alone"
        ) from None
    except Exception as error:  # torn bytes raise anything
        raise CheckpointError(
            f"{path} is no whole file of weights ({type(error).__name__}); copy it again"
        ) from None
    tensors = _tensors(content)
    if not tensors:
        keys = first_names(tuple(map(str, content))) if isinstance(content, Mapping) else "none"
        raise CheckpointError(
            f"{path} must hold a state_dict, alone or under one of {', '.join(_WRAPPERS)}; its "
            f"keys: {keys}"
        )
    return tensors


def _tensors(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    kept = content.get("kept")
    if isinstance(kept, Mapping):  # a checkpoint of this package
        return _tensors(kept.get("weights") or _mean_of(content) or content.get("model"))
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            return _tensors(content[wrapper])
    return {str(name): t for name, t in content.items() if isinstance(t, Tensor)}


def _mean_of(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the averaged weights that a training was validated with; None if it has none."""
    fair, average = content.get("fair_average"), content.get("average")
    if isinstance(fair, Mapping):
        return fair if int(fair.get("n_averaged", 0)) > 0 else None
    return average if isinstance(average, Mapping) else None


def fit_weights(
    found: Mapping[str, Tensor], model: Classifier, *, keys: Mapping[str, str] | None = None
) -> Fitted:
    """Match the tensors of a file with those of a network by name and shape.

    Args:
        found: the tensors of the file.
        model: the network. It is not changed.
        keys: beginnings of names in the file, and what stands in their place.

    Raises:
        CheckpointError: one of `keys` begins no name of the file.
    """
    lost = [old for old in keys or {} if not any(name.startswith(old) for name in found)]
    if lost:
        raise CheckpointError(
            f"keys must be beginnings of names in the file, got {', '.join(lost)}; its names: "
            f"{first_names(tuple(found))}"
        )
    for old, new in (keys or {}).items():
        found = {
            new + name.removeprefix(old) if name.startswith(old) else name: tensor
            for name, tensor in found.items()
        }
    tensors = renamed(found, model)
    ours = model.state_dict()
    for name in ("mean", "std"):
        if name in tensors and tensors[name].numel() == ours[name].numel():
            tensors[name] = tensors[name].reshape(ours[name].shape)
    weights = {
        name: tensor.to(ours[name].dtype)
        for name, tensor in tensors.items()
        if name in ours and tensor.shape == ours[name].shape
    }
    left = [n for n in ours if n not in weights and not n.endswith(_COUNTERS)]
    return Fitted(
        weights,
        tuple(name for name in left if name not in ("mean", "std")),
        tuple(name for name in tensors if name not in weights and not name.endswith(_COUNTERS)),
    )
