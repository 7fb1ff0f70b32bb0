"""Defaults that depend on the method, the loss, the norm or the data set.

Those of a plugin's own parameters exist only where the plugin's part is chosen.

They are what makes a method that method: loss, head, class weights, what its attack raises and
where it starts. The protocol (radius, steps, BatchNorm mode, schedule) is the same for all
methods, so that they can be compared; the space files set the releases' own. Of the data set only
the hold-out depends, on its number of classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from ltat_tune.config.extensions import PARTS
from ltat_tune.config.fields import Instead

# Method before loss before the rest, because each may follow from the one before it.
_ORDER = ("method", "loss")


def fill_in(values: Any, config: type[BaseModel]) -> Any:
    """Nested values with the defaults of their method and loss in place of what was left out.

    What is not a mapping of sections is returned as it is, for the validation to complain about.
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
            for path, wanted, default in rules:
                if _value(filled, path, config) in wanted:
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
    """Whether a section says something of this parameter; True where it cannot be told."""
    if isinstance(section, BaseModel):
        return name in section.model_fields_set
    return name in section if isinstance(section, Mapping) else True


def _value(values: Mapping[str, Any], path: str, config: type[BaseModel]) -> Any:
    section, _, name = path.partition(".")
    given = values.get(section, {})
    if _given(given, name):
        value = (
            getattr(given, name, None)
            if isinstance(given, BaseModel)
            else given.get(name)
            if isinstance(given, Mapping)
            else None
        )
        return value if isinstance(value, str) else None
    model: Any = config.model_fields[section].annotation
    return model.model_fields[name].default


def _put(values: dict[str, Any], section: str, name: str, default: Any) -> None:
    given = values.get(section, {})
    if isinstance(given, BaseModel):
        values[section] = given.model_copy(update={name: default})
    else:
        values[section] = {**given, name: default}
