"""Loads the weights that `model.init` and `method.teacher` name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ltat_tune.config.foreign.start import content_digits, start_file
from ltat_tune.errors import CheckpointError
from ltat_tune.models.classifier import Classifier
from ltat_tune.models.foreign.weights import Fitted, first_names, fit_weights, read_tensors

_MAY_BE_NEW = ("head.", "projection.")  # what a new task may start at random
_OURS = ("mean", "std")  # model.normalisation decides


def start_from(model: Classifier, init: str) -> str:
    """Put the weights of a file into a network. Return what was taken, left and not used.

    Args:
        model: the network, which is changed in place.
        init: `model.init`, the file and the digits of its content.

    Raises:
        CheckpointError: the file cannot be read, has changed, or leaves a part of the network
            other than its head at random.
    """
    path, tensors = _read("model.init", init)
    found = {name: t for name, t in tensors.items() if name not in _OURS}
    fitted = fit_weights(found, model, keys=_keys(path))
    random = tuple(name for name in fitted.left if not name.startswith(_MAY_BE_NEW))
    _check(random, f"model.init {path} must fill the whole network but its head", fitted, found)
    with torch.no_grad():
        model.load_state_dict(
            {n: t for n, t in fitted.weights.items() if n not in _OURS}, strict=False
        )
    return f"model.init {path.name}: {fitted.note}"


def load_teacher(model: Classifier, teacher: str) -> str:
    """Put the weights of a teacher into a network and freeze it. Return what was taken.

    The normalisation of the file, if it has one, is the teacher's own.

    Args:
        model: the network, which is changed in place.
        teacher: `method.teacher`, the file and the digits of its content.

    Raises:
        CheckpointError: the file cannot be read, has changed, or leaves a part of the network at
            random.
    """
    path, found = _read("method.teacher", teacher)
    fitted = fit_weights(found, model, keys=_keys(path))
    random = tuple(name for name in fitted.left if not name.startswith("projection."))
    _check(random, f"method.teacher {path} must fill the whole network", fitted, found)
    model.load_state_dict(fitted.weights, strict=False)
    model.eval().requires_grad_(False)
    return f"method.teacher {path.name} (self-distillation, a reconstruction): {fitted.note}"


def _keys(path: Path) -> Mapping[str, str]:
    from ltat_tune.config.foreign.description import keys_beside  # reads YAML

    return keys_beside(path)


def _read(parameter: str, file: str) -> tuple[Path, dict[str, Tensor]]:
    """Return the path and the tensors of a file that has not changed."""
    path, digits = start_file(file)
    try:
        actual = content_digits(path)
    except OSError as error:
        raise CheckpointError(
            f"{parameter} {path} cannot be read: {error.strerror or error}; restore the file"
        ) from None
    if digits and actual != digits:
        raise CheckpointError(
            f"{parameter} {path} must have the content {digits}, got {actual}: the file has "
            "changed; restore it, or start a new study with the changed one"
        )
    return path, read_tensors(path)


def _check(
    random: tuple[str, ...], rule: str, fitted: Fitted, found: Mapping[str, Tensor]
) -> None:
    """Raise CheckpointError if tensors of the network would stay at random."""
    if random:
        unused = first_names(fitted.unused) or "none"
        raise CheckpointError(
            f"{rule}; {len(random)} tensors would stay at random ({first_names(random)}), and of "
            f"the file's {len(found)} these are not used: {unused}; choose the network that the "
            "file is of"
        )
