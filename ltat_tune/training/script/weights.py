"""Reads the weights that a script saved into a network of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ltat_tune.errors import CheckpointError
from ltat_tune.models import Classifier
from ltat_tune.models.foreign.weights import first_names, fit_weights, read_tensors


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name.

    Raises:
        CheckpointError: it is missing or torn, holds code, or has no tensors.
    """
    try:
        return read_tensors(path)
    except CheckpointError as error:
        raise CheckpointError(f"{path} cannot be read as weights: {error}") from None


def load_into(model: Classifier, path: Path) -> None:
    """Load a script's checkpoint into our network of the same layers.

    Its names may be ours, those of a known release, or those of the backbone alone. Images are
    normalised as the network is configured, unless the file says how.

    Raises:
        CheckpointError: the file cannot be read, or its layers are not those of the network.
    """
    load_tensors(model, read_state_dict(path), str(path))


def load_tensors(model: Classifier, found: Mapping[str, Tensor], what: str) -> None:
    """Load tensors into our network as `load_into` does.

    Raises:
        CheckpointError: they are not those of the network; `what` says where they are from.
    """
    fitted = fit_weights(found, model)
    problems = [
        f"{len(names)} tensors {what} ({first_names(names)})"
        for what, names in (
            ("of the network are missing", fitted.left),
            ("are not of the network, or of another shape", fitted.unused),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{what} must hold the weights of the network that model.name describes, but "
            f"{'; '.join(problems)}; set model.* to its network"
        )
    model.load_state_dict({**model.state_dict(), **fitted.weights})
