"""The parameters that a plugin's part defines, as fields of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import TypeAdapter, create_model
from pydantic.fields import FieldInfo

from ltat_tune.config.extensions import PARTS
from ltat_tune.config.fields import Section, annotated, check_value
from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.scalars import Integer, Number
from ltat_tune.errors import ConfigError


def own_fields(
    chosen_by: str, part: str, parameters: Mapping[str, Any] | None
) -> dict[str, FieldInfo]:
    """Return pydantic fields by name, each with the type of its default.

    Raises:
        ConfigError: a value is not made by `param`, a name is taken, or a default is out of range.
    """
    fields, problems = {}, []
    previous = PARTS.get((chosen_by, part))
    for name, definition in (parameters or {}).items():
        path = f"{chosen_by.partition('.')[0]}.{name}"
        own = previous is not None and path in previous.defaults
        if not isinstance(definition, FieldInfo):
            problems.append(f"{path} must be param(default, meaning, ...), got {definition!r}")
        elif path in PARAMETERS and not own:
            problems.append(f"{path} exists already; choose another name for your parameter")
        else:
            model = create_model(
                "Own", __base__=Section, **{name: (_kind(definition), definition)}
            )  # type: ignore[call-overload]
            fields[name] = model.model_fields[name]
            problems += _check_default(path, fields[name])
    if problems:
        raise ConfigError(problems)
    return fields


def _kind(field: FieldInfo) -> Any:
    choices = (field.json_schema_extra or {}).get("choices")  # type: ignore[union-attr]
    if choices:
        return Literal[tuple(choices)]  # type: ignore[arg-type]
    # bool comes first, because it is also an int
    for kind, annotation in ((bool, bool), (int, Integer), (float, Number)):
        if isinstance(field.default, kind):
            return annotation
    return str


def _check_default(path: str, field: FieldInfo) -> list[str]:
    _, broken = check_value(TypeAdapter(annotated(field)), field.default)
    return [f"the default of {path} {broken}"] if broken else []
