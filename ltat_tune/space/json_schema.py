"""Makes a JSON schema of the space file, with which an editor completes and checks one.

The schema covers single keys, values and ranges. The study itself checks rules between places,
such as a `when` that names a parameter that is not tuned, or two values that contradict.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from ltat_tune.config.attack_names import ATTACK_PATTERN
from ltat_tune.config.fields import annotated
from ltat_tune.config.parameters import PARAMETERS, Parameter
from ltat_tune.config.scalars import FRACTION
from ltat_tune.space.domains import why_no_scenario, why_not_tunable
from ltat_tune.space.objective import METRIC
from ltat_tune.space.resources import BUDGET
from ltat_tune.space.spec import MOST_OWED, STUDY_NAME, DomainKeys, SpaceDocument

Schema = dict[str, Any]

_COMMENT = (
    "Begin a space file with the line `# yaml-language-server: $schema=space.schema.json`, and an "
    "editor with a YAML language server completes and checks it. Written by `ltat-tune schema`."
)
# entries of the models that an editor does not need
_OURS = {"acts_from", "also", "choices", "instead", "source", "symbol", "title", "unit", "words"}
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_NUMBER = {"type", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}
_ABOVE_ZERO = {"exclusiveMinimum": 0}


def space_schema() -> Schema:
    """Return the schema of a whole space file, with the names that loaded plugins add."""
    schema = _cleaned(SpaceDocument.model_json_schema())
    parts, top = schema["$defs"], schema["properties"]
    parts |= {path: _parameter_schema(parameter) for path, parameter in PARAMETERS.items()}
    tunable = [path for path in PARAMETERS if not why_not_tunable(path)]
    scenarios = [path for path in PARAMETERS if not why_no_scenario(path)]
    parts["when"] = _mapping({path: _one_or_more(_of(path)) for path in tunable})
    parts["tuned values"] = _mapping({path: _of(path) for path in tunable})
    top["fixed"] |= _mapping({path: _of(path) for path in PARAMETERS})
    top["scenarios"] |= _mapping(
        {path: {"type": "array", "items": _of(path), "minItems": 1} for path in scenarios}
    )
    top["tuned"] |= _mapping({path: _domain_schema(PARAMETERS[path]) for path in tunable})
    top["tuned"]["minProperties"] = 1
    top["start_from"]["items"] = _of("tuned values")
    top["plugins"]["items"] = {"anyOf": [{"type": "string"}, _mapping(
        {name: {"type": "string"} for name in ("name", "file", "sha256")}
    )]}  # fmt: skip
    _add_patterns(top, parts)
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "$comment": _COMMENT,
            "title": "ltat-tune space file"}  # fmt: skip
    return {**head, **schema}


def _of(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _mapping(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _one_or_more(value: Schema) -> Schema:
    return {"anyOf": [value, {"type": "array", "items": value, "minItems": 1}]}


def _add_patterns(top: dict[str, Schema], parts: dict[str, Schema]) -> None:
    """Add the rules that the models check by functions, which pydantic's schema lacks."""
    top["name"]["anyOf"][0]["pattern"] = f"^{STUDY_NAME}$"
    top["budget"]["anyOf"][0]["pattern"] = f"^{BUDGET}$"
    objective = parts["Objective"]["properties"]
    objective["metric"]["pattern"] = f"^{METRIC}$"
    objective["also"]["items"]["pattern"] = f"^{METRIC}$"
    objective["at_least"]["propertyNames"] = {"pattern": f"^{METRIC}$"}
    bound = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    objective["at_least"]["additionalProperties"] = _number(bound)
    owed = {"type": "integer", "minimum": 0, "maximum": MOST_OWED}
    parts["SearcherSpec"]["properties"]["at_least"]["anyOf"][0]["additionalProperties"] = owed
    confirm = parts["ConfirmSpec"]["properties"]
    confirm["seeds"] |= {"minItems": 1, "uniqueItems": True}
    confirm["attacks"] |= {"minItems": 1, "uniqueItems": True}
    confirm["attacks"]["items"]["pattern"] = f"^(?:{ATTACK_PATTERN})$"


def _parameter_schema(parameter: Parameter) -> Schema:
    """Return the schema of a training parameter's value."""
    schema = _cleaned(TypeAdapter(annotated(parameter.field)).json_schema())
    if parameter.choices:  # pydantic does not know the choices that plugins add
        choices = {"enum": list(parameter.choices)}
        schema = {"anyOf": [choices, {"type": "null"}]} if parameter.optional else choices
    symbol = f" ({parameter.symbol})" if parameter.symbol else ""
    unit = f" [{parameter.unit}]" if parameter.unit else ""
    return {**schema, "description": f"{parameter.meaning}{symbol}{unit}",
            "default": _plain(parameter.default)}  # fmt: skip


def _domain_schema(parameter: Parameter) -> Schema:
    """Return the schema of one parameter's domain under `tuned`."""
    value = _of(parameter.path)
    choices = {"type": "array", "items": value, "minItems": 2, "uniqueItems": True}
    forms = [_form("categorical", {"choices": choices}, ("type", "choices"), value)]
    kinds = {"float": ("float", "int"), "int": ("int",)}.get(parameter.kind, ())
    edge = _edge(parameter) if kinds else {}
    for kind in kinds:
        step = {"type": "integer" if kind == "int" else "number", **_ABOVE_ZERO}
        keys = {"low": edge, "high": edge, "log": {"type": "boolean"},
                "step": step if kind == "int" else _number(step)}  # fmt: skip
        forms.append(_form(kind, keys, ("type", "low", "high"), value))
    return {"description": parameter.meaning, "anyOf": forms[::-1]}


def _form(kind: str, keys: dict[str, Schema], required: tuple[str, ...], value: Schema) -> Schema:
    fields = DomainKeys.model_fields
    every = {"type": {"const": kind}, **keys, "prior": value, "when": _of("when")}
    described = {
        name: schema if "$ref" in schema else {**schema, "description": fields[name].description}
        for name, schema in every.items()
    }
    return {**_mapping(described), "required": list(required)}


def _edge(parameter: Parameter) -> Schema:
    """Return the schema of a range's end: the parameter's value, but never null."""
    schema = _parameter_schema(parameter)
    del schema["default"]
    if parameter.optional:
        schema["anyOf"] = [each for each in schema["anyOf"] if each != {"type": "null"}]
    return schema


def _cleaned(node: Any) -> Any:
    """Return pydantic's schema for an editor: numbers as fractions too, no keys of ours."""
    if isinstance(node, list):
        return [_cleaned(each) for each in node]
    if not isinstance(node, dict):
        return node
    schema: Schema = {}
    for keyword, value in node.items():
        key = str(keyword)
        if key in ("properties", "$defs"):
            schema[key] = {name: _cleaned(each) for name, each in value.items()}
        elif key in ("default", "enum", "const", "required"):
            schema[key] = value
        elif key == "description":
            schema[key] = " ".join(value.partition("\n\n")[0].split())
        elif key not in _OURS:
            schema[_BOUNDS.get(key, key)] = _cleaned(value)
    return _number(schema, node.get("words", ())) if schema.get("type") == "number" else schema


def _number(schema: Schema, words: Any = ()) -> Schema:
    """Return the schema of a number that may also be written as a fraction, or as a word."""
    number = {key: value for key, value in schema.items() if key in _NUMBER}
    rest = {key: value for key, value in schema.items() if key not in _NUMBER}
    written = [number, {"type": "string", "pattern": f"^{FRACTION}$"}]
    return {**rest, "anyOf": written + ([{"enum": list(words)}] if words else [])}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
