"""Reads the space file's own keys from the models, for `ltat-tune params SECTION`."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any, get_args

from ltat_tune.config.fields import Section
from ltat_tune.config.parameters import Parameter, read_parameter
from ltat_tune.config.scalars import shown
from ltat_tune.presentation.text_tables import markdown_table
from ltat_tune.space.spec import DomainKeys, SpaceDocument


def _section(annotation: Any) -> type[Section] | None:
    """Return the model of a key that holds a section of the file, or None."""
    members = get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    models = [m for m in members if isinstance(m, type) and issubclass(m, Section)]
    return models[0] if models else None


def _collect_keys() -> dict[str, Parameter]:
    keys: dict[str, Parameter] = {}
    for name, field in SpaceDocument.model_fields.items():
        model = _section(field.annotation)
        if model is None:
            keys[name] = read_parameter(name, field)
            model = DomainKeys if name == "tuned" else None
        for key, of_section in model.model_fields.items() if model else ():
            keys[f"{name}.{key}"] = read_parameter(f"{name}.{key}", of_section)
    return keys


SPACE_KEYS: dict[str, Parameter] = _collect_keys()


def space_sections() -> list[str]:
    """Return the names under which `ltat-tune params` finds the file's own keys, in order."""
    return list(SpaceDocument.model_fields)


def keys_of(section: str) -> list[Parameter]:
    """Return the keys of one section of a space file; an empty list if it does not exist."""
    return [p for path, p in SPACE_KEYS.items() if path.partition(".")[0] == section]


def shown_default(parameter: Parameter) -> str:
    """Return a key's default as YAML writes it, or `required`."""
    if parameter.field.is_required():
        return "required"
    value = parameter.default
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, str):
        return value
    return "{}" if value == {} else shown(value)


def reference_table(parameters: Iterable[Parameter] = tuple(SPACE_KEYS.values())) -> str:
    """Return a table of keys as Markdown: key, values, default, meaning."""
    rows = [["key", "values", "default", "meaning"]]
    for p in parameters:
        unit = f" ({p.unit})" if p.unit else ""
        meaning = f"{p.meaning}{unit}".replace("<", r"\<")  # Markdown would read a tag
        rows.append([f"`{p.path}`", f"`{p.range}`", f"`{shown_default(p)}`", meaning])
    return markdown_table(rows, words=4) + "\n"
