"""Starts a network from the weights that `model.init` names."""

from __future__ import annotations

import torch

from ltat_tune.config.foreign.start import content_digits, start_file
from ltat_tune.errors import CheckpointError
from ltat_tune.models.classifier import Classifier
from ltat_tune.models.foreign.weights import first_names, fit_weights, read_tensors

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
    path, digits = start_file(init)
    try:
        actual = content_digits(path)
    except OSError as error:
        raise CheckpointError(
            f"model.init {path} cannot be read: {error.strerror or error}; restore the file"
        ) from None
    if digits and actual != digits:
        raise CheckpointError(
            f"model.init {path} must have the content {digits}, got {actual}: the file has "
            "changed; restore it, or start a new study with the changed one"
        )
    from ltat_tune.config.foreign.description import keys_beside  # reads YAML

    found = {name: t for name, t in read_tensors(path).items() if name not in _OURS}
    fitted = fit_weights(found, model, keys=keys_beside(path))
    random = tuple(name for name in fitted.left if not name.startswith(_MAY_BE_NEW))
    if random:
        unused = first_names(fitted.unused) or "none"
        raise CheckpointError(
            f"model.init {path} must fill the whole network but its head; {len(random)} tensors "
            f"would stay at random ({first_names(random)}), and of the file's {len(found)} these "
            f"are not used: {unused}; choose the network that the file is of"
        )
    with torch.no_grad():
        model.load_state_dict(
            {n: t for n, t in fitted.weights.items() if n not in _OURS}, strict=False
        )
    return f"model.init {path.name}: {fitted.note}"
