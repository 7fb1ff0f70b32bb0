"""Pydantic fields that carry their symbol, unit, source and alternative names."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ltat_tune.config.scalars import shown

# The time from which a parameter changes the training: see `ltat_tune.config.effects`.
ActsFrom = Literal["start", "deferral", "clean_stage", "awp", "class_state"]

# (path, values, default): the default if the parameter at `path` has one of the values.
Instead = tuple[str, tuple[str, ...], Any]


def documented(
    default: Any,
    meaning: str,
    *,
    symbol: str = "",
    unit: str = "",
    source: str = "",
    also: tuple[str, ...] = (),
    acts_from: ActsFrom = "start",
    instead: tuple[Instead, ...] = (),
    words: tuple[str, ...] = (),
    **bounds: Any,
) -> Any:
    """Make a documented field.

    Args:
        default: the default value.
        meaning: a noun phrase or sentence, without a full stop, for `ltat-tune params`.
        symbol: the symbol that the papers use.
        unit: the unit of the value.
        source: the paper or release that defines the parameter.
        also: names of the parameter in other code.
        acts_from: the time from which the parameter acts.
        instead: other defaults under a method, a loss, a norm or a data set.
        words: words that may be written in place of a number.
        bounds: bounds of the value, such as `ge`, and further arguments of pydantic's `Field`.
    """
    extra: dict[str, Any] = {"symbol": symbol, "unit": unit, "source": source, "also": also}
    extra |= {"acts_from": acts_from, "instead": instead, "words": words}
    return Field(default, description=meaning, json_schema_extra=extra, **bounds)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def annotated(field: FieldInfo) -> Any:
    """Return the type with its bounds, for a TypeAdapter."""
    if not field.metadata:
        return field.annotation
    return Annotated[field.annotation, *field.metadata]


def check_value(adapter: TypeAdapter[Any], value: Any) -> tuple[Any, str | None]:
    """Return the value as a configuration holds it, and the broken rule, if any."""
    try:
        return adapter.validate_python(value), None
    except ValidationError as error:
        # An optional parameter gives two errors; the one about None does not help.
        details = [e for e in error.errors() if e["type"] != "none_required"]
        return value, rule_sentence(details[0])


def rule_sentence(details: ErrorDetails) -> str:
    """Phrase one pydantic error as rule and value: `must be >= 1, got 0.02`."""
    context, value = details.get("ctx", {}), details["input"]
    rules = {
        "greater_than_equal": "must be >= {ge}, got {value}",
        "greater_than": "must be > {gt}, got {value}",
        "less_than_equal": "must be <= {le}, got {value}",
        "less_than": "must be < {lt}, got {value}",
        "bool_type": "must be true or false, got {value}",
        "string_type": "must be text, got {value}",
        "dict_type": "must be a mapping, got {value}",
        "tuple_type": "must be a list, got {value}",
        "model_type": "must be a mapping of its parameters, got {value}",
        "model_attributes_type": "must be a mapping of its parameters, got {value}",
    }
    kind = details["type"]
    if kind == "literal_error":
        choices = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        written = "none" if value is None else value if isinstance(value, str) else ""
        close = difflib.get_close_matches(written, choices, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        rule = f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
        return f"must be {rule}, got {shown(value)}{hint}"
    if kind == "value_error":
        return str(context["error"])
    if kind in rules:
        bounds = {k: shown(v) if isinstance(v, float) else v for k, v in context.items()}
        return rules[kind].format(value=shown(value), **bounds)
    return f"{details['msg']}, got {shown(value)}"
