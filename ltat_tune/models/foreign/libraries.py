"""Builds whole networks by name: from torchvision, from timm, or with a plugin's function."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from typing import Any, cast

from torch import nn

from ltat_tune.config.foreign.builders import BUILDERS, builder_arguments
from ltat_tune.data.torchvision_door import import_torchvision
from ltat_tune.errors import ConfigError

_RGB = 3
# Arguments that a torchvision network needs besides its classes.
_WITH_SIDE = {"vit_": "image_size", "maxvit_": "input_size"}
_WITH_AUXILIARY = ("googlenet", "inception_v3")  # whose second head would be a second output


def network_of(name: str, *, channels: int, classes: int, side: int) -> tuple[nn.Module, int]:
    """Build a network with its own head of `classes` outputs.

    Args:
        name: `torchvision/NAME`, `timm/NAME` or `MODULE:FUNCTION`.
        channels: C of the images.
        classes: K.
        side: pixels of a side of the images.

    Returns:
        The network, and the channels that it takes. torchvision's networks take three.

    Raises:
        ConfigError: no such network exists, its library is missing, or it cannot have this shape.
    """
    library, _, inner = name.partition("/")
    try:
        if name in BUILDERS:
            return _own(name, channels, classes, side)
        if library == "torchvision":
            return _of_torchvision(inner, classes, side), _RGB
        if library == "timm":
            return _of_timm(inner, channels, classes, side), channels
    except ConfigError:
        raise
    except Exception as error:  # whatever a network raises about its arguments
        raise ConfigError(
            f"model.name {name} cannot be built for {classes} classes and images of {side}x{side} "
            f"pixels ({type(error).__name__}: {first_line(error)}); choose another network or "
            "other images"
        ) from error
    raise ConfigError(f"model.name {name} is a function of a plugin that is not loaded")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, at most 160 characters."""
    lines = str(error).strip().splitlines() or ["no reason given"]
    return lines[0][:160]


def _own(name: str, channels: int, classes: int, side: int) -> tuple[nn.Module, int]:
    build = BUILDERS[name]
    offered = {"num_classes": classes, "in_channels": channels, "image_size": side}
    taken = builder_arguments(build) or frozenset()
    network = build(**{argument: offered[argument] for argument in sorted(taken)})
    if not isinstance(network, nn.Module):
        raise ConfigError(f"model.name {name} must return an nn.Module, got {type(network)}")
    return network, channels if "in_channels" in taken else 0


def _of_torchvision(name: str, classes: int, side: int) -> nn.Module:
    models = import_torchvision("models")
    _check_name("torchvision", name, models.list_models(module=models))
    more: dict[str, Any] = {}
    for prefix, argument in _WITH_SIDE.items():
        if name.startswith(prefix):
            more[argument] = (side, side) if argument == "input_size" else side
    if name in _WITH_AUXILIARY:
        more |= {"aux_logits": False, "init_weights": True}
    return cast(nn.Module, models.get_model(name, weights=None, num_classes=classes, **more))


def _of_timm(name: str, channels: int, classes: int, side: int) -> nn.Module:
    import_torchvision()  # which timm imports
    try:
        timm: Any = importlib.import_module("timm")
    except ImportError as error:
        raise ConfigError(
            f"model.name timm/{name} needs timm, which cannot be imported ({first_line(error)}); "
            "pip install 'ltat-tune[timm]'"
        ) from None
    _check_name("timm", name.partition(".")[0], timm.list_models())
    known = timm.get_pretrained_cfg(name)
    more = {"img_size": side} if known is not None and known.fixed_input_size else {}
    return cast(
        nn.Module,
        timm.create_model(name, pretrained=False, num_classes=classes, in_chans=channels, **more),
    )


def _check_name(library: str, name: str, known: Sequence[str]) -> None:
    if name in known:
        return
    close = ", ".join(f"{library}/{each}" for each in difflib.get_close_matches(name, known, 3))
    remedy = f"did you mean {close}?" if close else f"{library} lists its {len(known)} networks"
    raise ConfigError(
        f"model.name {library}/{name} must be a classifier of {library}, and there is none of "
        f"that name; {remedy}"
    )
