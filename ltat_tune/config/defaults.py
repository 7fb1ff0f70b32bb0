"""Defaults that depend on the method, the loss, the norm or the data set.

The defaults of a plugin's own parameters apply only where the plugin's part is chosen.

A method's defaults are what defines the method: its loss, head and class weights, and the
objective and start of its attack. The protocol (radius, steps, BatchNorm mode, schedule) is the
same for all methods, so that they can be compared; the space files set the protocols of the
releases. The data set changes only the size of the hold-out, by its number of classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from ltat_tune.config.extensions import PARTS
from ltat_tune.config.fields import Instead

# The method comes first and the loss second, because each may decide defaults of those after it.
_ORDER = ("method", "loss")


def fill_in(values: Any, config: type[BaseModel]) -> Any:
    """Fill missing values of nested sections with the defaults of their method and loss.

    A value that is not a mapping of sections is returned unchanged: the validation refuses it.
    """
    if not isinstance(values, Mapping):
        return values
    filled = dict(values)
    sections = sorted(config.model_fields, key=lambda s: s not in _ORDER)
    for section in sections:
        model: Any = config.model_fields[section].annotation
        for name, field in model.model_fields.items():
            rules: tuple[Instead, ...] = field.json_schema_extra["instead"]
            if not rules or _given(filled.get(section, {}), name):
                continue
            for path, choices, default in rules:
                if _value(filled, path, config) in choices:
                    _put(filled, section, name, default)
                    break
    for part in PARTS.values():
        if _value(filled, part.chosen_by, config) == part.name:
            for path, default in part.defaults.items():
                section, _, name = path.partition(".")
                if not _given(filled.get(section, {}), name):
                    _put(filled, section, name, default)
    return filled


def _given(section: Any, name: str) -> bool:
    """Return whether a section sets this parameter; True if the section is not a mapping."""
    if isinstance(section, BaseModel):
        return name in section.model_fields_set
    return name in section if isinstance(section, Mapping) else True


def _value(values: Mapping[str, Any], path: str, config: type[BaseModel]) -> Any:
    section, _, name = path.partition(".")
    content = values.get(section, {})
    if _given(content, name):
        value = (
            getattr(content, name, None)
            if isinstance(content, BaseModel)
            else content.get(name)
            if isinstance(content, Mapping)
            else None
        )
        return value if isinstance(value, str) else None
    model: Any = config.model_fields[section].annotation
    return model.model_fields[name].default


def _put(values: dict[str, Any], section: str, name: str, default: Any) -> None:
    content = values.get(section, {})
    if isinstance(content, BaseModel):
        values[section] = content.model_copy(update={name: default})
    else:
        values[section] = {**content, name: default}
