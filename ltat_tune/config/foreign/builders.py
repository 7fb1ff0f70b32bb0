"""Functions of a plugin that build a whole network: `model.name: my_models:build`.

Such a function takes `num_classes`, and `in_channels` and `image_size` if it has these arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ltat_tune.config.catalogue import CATALOGUE, Choice
from ltat_tune.config.extensions import PARTS, UNDO, Part, Plugin
from ltat_tune.config.parameters import widen

BUILDERS: dict[str, Callable[..., Any]] = {}  # by model.name
_CHOSEN_BY, _KIND = "model.name", "models"


def add_builders(plugin: Plugin, module: str, names: Mapping[str, Any]) -> None:
    """Make the builders that a plugin defines choices of `model.name`.

    Args:
        plugin: the plugin.
        module: the name under which its code ran.
        names: what its code defined, by name.
    """
    for name, made_by in names.items():
        own = getattr(made_by, "__module__", None) == module and not name.startswith("_")
        if own and callable(made_by) and builder_arguments(made_by) is not None:
            _add(plugin, f"{plugin.name}:{name}", made_by)


def builder_arguments(made_by: Callable[..., Any]) -> frozenset[str] | None:
    """Return which of its arguments a builder gets; None for what is no builder."""
    try:
        signature = inspect.signature(made_by)
    except (TypeError, ValueError):
        return None
    known = {"num_classes", "in_channels", "image_size"} & set(signature.parameters)
    try:
        signature.bind(**dict.fromkeys(known))
    except TypeError:
        return None
    return frozenset(known) if "num_classes" in known else None


def _add(plugin: Plugin, name: str, made_by: Callable[..., Any]) -> None:
    part = Part(_CHOSEN_BY, name, plugin.file, plugin, {}, ("model.width",))
    PARTS[_CHOSEN_BY, name] = part
    UNDO[_CHOSEN_BY, name] = partial(_take_back, name)
    BUILDERS[name] = made_by
    widen(_CHOSEN_BY)
    what = (inspect.getdoc(made_by) or "").partition("\n")[0]
    source = f"plugin {plugin.name} ({plugin.file})"
    CATALOGUE[_KIND] = (*CATALOGUE[_KIND], Choice(name, what, source, _CHOSEN_BY))


def _take_back(name: str) -> None:
    del PARTS[_CHOSEN_BY, name], UNDO[_CHOSEN_BY, name], BUILDERS[name]
    widen(_CHOSEN_BY)
    CATALOGUE[_KIND] = tuple(entry for entry in CATALOGUE[_KIND] if entry.name != name)
