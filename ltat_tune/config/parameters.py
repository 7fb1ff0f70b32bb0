"""The parameters of `TrialConfig` as data, for `ltat-tune params` and for messages."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from ltat_tune.config.extensions import FIELDS, extension_names
from ltat_tune.config.fields import ActsFrom, Instead, annotated, check_value, rule_sentence
from ltat_tune.config.scalars import shown
from ltat_tune.config.values import ConfigValues


@dataclass(frozen=True)
class Parameter:
    """One parameter with its path, its allowed values, its meaning and its source."""

    path: str
    symbol: str
    kind: str  # float | int | bool | text | choice | list | mapping | any
    default: Any
    choices: tuple[str, ...]
    low: float | None
    high: float | None
    low_open: bool
    high_open: bool
    unit: str
    meaning: str
    source: str
    also: tuple[str, ...]
    acts_from: ActsFrom
    # (path, values, default): another default if the parameter at path has such a value
    instead: tuple[Instead, ...]
    words: tuple[str, ...]  # words that may be written in place of a number
    optional: bool
    field: FieldInfo

    @property
    def range(self) -> str:
        """The allowed values in human-readable form: `[0, 1)`, `exp | step`, `text`."""
        return " | ".join([self._own_range, *self.words])

    @property
    def _own_range(self) -> str:
        if self.choices:
            return " | ".join(self.choices)
        if self.low is None and self.high is None:
            return "true | false" if self.kind == "bool" else self.kind
        low = "-inf" if self.low is None else shown(float(self.low))
        high = "inf" if self.high is None else shown(float(self.high))
        opening = "(" if self.low_open or self.low is None else "["
        closing = ")" if self.high_open or self.high is None else "]"
        return f"{opening}{low}, {high}{closing}"

    @property
    def label(self) -> str:
        """The path with the symbol: `method.temperature (τ)`."""
        return f"{self.path} ({self.symbol})" if self.symbol else self.path

    def check(self, value: Any) -> tuple[Any, str | None]:
        """Return the value as the configuration holds it, and the broken rule, if any."""
        return check_value(self._adapter(), value)

    def _adapter(self) -> TypeAdapter[Any]:
        if self.path not in _ADAPTERS:
            _ADAPTERS[self.path] = TypeAdapter(annotated(self.field))
        return _ADAPTERS[self.path]


_ADAPTERS: dict[str, TypeAdapter[Any]] = {}
_KINDS: dict[Any, str] = {
    float: "float", int: "int", bool: "bool", str: "text", tuple: "list", list: "list",
    dict: "mapping", Any: "any",
}  # fmt: skip


def add_parameter(path: str, field: FieldInfo) -> None:
    """Add a plugin's parameter to the others."""
    PARAMETERS[path] = read_parameter(path, field)
    FIELDS[path] = PARAMETERS[path]._adapter()


def widen(path: str) -> None:
    """Update the choices of the parameter at `path` after plugins have changed them."""
    own = get_args(PARAMETERS[path].field.annotation)
    PARAMETERS[path] = replace(PARAMETERS[path], choices=(*own, *extension_names(path)))


def forget_parameter(path: str) -> None:
    """Remove a plugin's parameter."""
    del PARAMETERS[path]
    _ADAPTERS.pop(path, None)
    FIELDS.pop(path, None)


def read_parameter(path: str, field: FieldInfo) -> Parameter:
    """Read a documented field as a parameter."""
    annotation: Any = field.annotation
    members = [a for a in get_args(annotation) if a is not type(None)]
    optional = type(None) in get_args(annotation)
    inner = members[0] if optional else annotation
    while get_origin(inner) is not None and hasattr(inner, "__metadata__"):
        inner = get_args(inner)[0]
    choices: tuple[str, ...] = ()
    if get_origin(inner) is Literal:
        kind, choices = "choice", get_args(inner)
    else:
        kind = _KINDS.get(get_origin(inner) or inner, "mapping")
    bounds: dict[str, float] = {}
    for rule in field.metadata:
        for name in ("ge", "gt", "le", "lt"):
            if getattr(rule, name, None) is not None:
                bounds[name] = getattr(rule, name)
    extra: Any = field.json_schema_extra
    default = None if field.is_required() else field.default
    return Parameter(
        path=path, symbol=extra["symbol"], kind=kind, default=default, choices=choices,
        low=bounds.get("ge", bounds.get("gt")), high=bounds.get("le", bounds.get("lt")),
        low_open="gt" in bounds, high_open="lt" in bounds, unit=extra["unit"],
        meaning=field.description or "", source=extra["source"], also=tuple(extra["also"]),
        acts_from=extra["acts_from"], instead=extra["instead"], words=extra["words"],
        optional=optional, field=field,
    )  # fmt: skip


def _collect() -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {}
    for section, section_field in ConfigValues.model_fields.items():
        model = section_field.annotation
        assert isinstance(model, type) and issubclass(model, BaseModel)
        for name, field in model.model_fields.items():
            parameters[f"{section}.{name}"] = read_parameter(f"{section}.{name}", field)
    return parameters


PARAMETERS: dict[str, Parameter] = _collect()


def defaults() -> dict[str, str]:
    """Return every parameter's default and its other defaults, as JSON text by path."""
    return {
        path: json.dumps([parameter.default, *parameter.instead])
        for path, parameter in PARAMETERS.items()
    }


GREEK: dict[str, str] = dict(
    zip(
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho "
        "sigma tau upsilon phi chi psi omega".split(),
        "αβγδεζηθικλμνξοπρστυφχψω",
        strict=True,
    )
)


def find_parameters(word: str, parameters: Iterable[Parameter]) -> list[Parameter]:
    """Return the parameters that a word is about, in their order.

    A Greek letter and its name find the same: symbols of that letter, with any index unless one is
    given (`tau_b`), and parameters named after it. Any other word is looked for in path, symbol
    and meaning, or is a name that other code gives the parameter.
    """
    part = word.strip().casefold()
    name, _, index = part.partition("_")
    letter = GREEK.get(name, name)
    if letter not in GREEK.values():
        return [p for p in parameters if part in _text(p) or part in p.also]
    name = next(n for n, greek in GREEK.items() if greek == letter)
    spelled, symbol = (f"{n}_{index}" if index else n for n in (name, letter))
    whole = re.compile(rf"(?<![a-z]){spelled}(?![a-z])")
    return [
        p for p in parameters
        if symbol in _symbols(p, with_index=bool(index)) or whole.search(p.path)
        or spelled in p.also
    ]  # fmt: skip


def _text(parameter: Parameter) -> str:
    return f"{parameter.path} {parameter.symbol} {parameter.meaning}".casefold()


def _symbols(parameter: Parameter, *, with_index: bool) -> list[str]:
    symbols = parameter.symbol.casefold().split(", ")
    return symbols if with_index else [symbol.partition("_")[0] for symbol in symbols]


def nearest_parameter(path: str) -> str | None:
    """Return the parameter that was probably meant, as `method.temperature (τ)`, or None."""
    query = path.strip().lower()
    section, _, leaf = query.rpartition(".")
    best, best_score = None, 0.65
    for parameter in PARAMETERS.values():
        own_section, _, own_leaf = parameter.path.partition(".")
        names = (own_leaf, *parameter.also, *parameter.symbol.lower().split(", "))
        score = max(difflib.SequenceMatcher(None, leaf, name).ratio() for name in names if name)
        whole = difflib.SequenceMatcher(None, query, parameter.path).ratio()
        score = max(score + (0.1 if section == own_section else -0.05 if section else 0.0), whole)
        if score > best_score:
            best, best_score = parameter.label, score
    return best


def unknown_parameter(path: str) -> str:
    """Return the sentence for a parameter that does not exist."""
    section = path.partition(".")[0]
    meant = nearest_parameter(path)
    if path in ConfigValues.model_fields:
        names = ", ".join(p for p in PARAMETERS if p.startswith(f"{section}."))
        return f"{path} is a section, not a parameter; write a dotted path, one of: {names}"
    remedy = f"did you mean {meant}?" if meant else "`ltat-tune params` lists all of them"
    return f"unknown parameter {path}; {remedy}"


def explain(error: ValidationError) -> list[str]:
    """Return one sentence (path, rule, value) for each problem that pydantic reports."""
    sentences: list[str] = []
    for details in error.errors():
        names = [str(part) for part in details["loc"] if isinstance(part, str)]
        path = ".".join(names[:2])
        if details["type"] in ("extra_forbidden", "missing") and len(names) > 2:
            which = "with" if details["type"] == "missing" else "without"
            sentences.append(f"{path} must be a mapping {which} {names[-1]}")
        elif details["type"] == "extra_forbidden":
            sentences.append(unknown_parameter(path))
        elif details["type"] == "value_error" and not path:
            sentences += str(details["ctx"]["error"]).splitlines()
        elif details["type"] != "none_required":
            sentences.append(
                f"{path} {rule_sentence(details)}" if path else rule_sentence(details)
            )
    return sentences
