"""The domains of tuned parameters: their rules, and how Optuna suggests a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.scalars import parse_integer, parse_number, shown

if TYPE_CHECKING:
    import optuna


_KEYS = {
    "float": {"type", "low", "high", "log", "step", "when", "prior"},
    "int": {"type", "low", "high", "log", "step", "when", "prior"},
    "categorical": {"type", "choices", "when", "prior"},
}

# The searcher must not choose what changes the problem, the measurement or the budget.
_NOT_TUNABLE = {
    "compute": "it decides how exactly and how fast the same method is computed",
    "evaluation": "it changes how a model is measured, so the easiest measurement would win",
    "seeds": "a lucky seed is not a better configuration; confirm.seeds repeats the winners",
}
_PROBLEM = {
    "name", "root", "classes", "image_size", "profile", "imbalance_ratio", "max_per_class",
    "val_source", "val_per_class",
}  # fmt: skip


@dataclass(frozen=True)
class Domain:
    """The values that one tuned parameter may take, and the condition under which it exists.

    `prior` is a value that is believed to be good, such as a published one; None if there is none.
    """

    path: str
    kind: Literal["float", "int", "categorical"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    prior: Any = None

    def active(self, params: Mapping[str, Any]) -> bool:
        """Return whether the parameters chosen so far let this one exist."""
        return all(p in params and params[p] in values for p, values in self.when.items())

    def contains(self, value: Any) -> bool:
        """Return whether a `start_from` value lies in the domain."""
        if self.kind == "categorical":
            return any(
                value == c and isinstance(value, bool) == isinstance(c, bool) for c in self.choices
            )
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        step = self.step or (1 if self.kind == "int" else None)
        return step is None or _divides(step, value - self.low)

    def suggest(self, trial: optuna.Trial) -> Any:
        """Ask Optuna for a value."""
        if self.kind == "categorical":
            return trial.suggest_categorical(self.path, self.choices)
        if self.kind == "int":
            step = int(self.step or 1)
            return trial.suggest_int(
                self.path, int(self.low), int(self.high), log=self.log, step=step
            )
        return trial.suggest_float(self.path, self.low, self.high, log=self.log, step=self.step)

    def __str__(self) -> str:
        if self.kind == "categorical":
            return " | ".join(
                choice if isinstance(choice, str) else shown(choice) for choice in self.choices
            )
        rule = " (log)" if self.log else f" in steps of {self.step:g}" if self.step else ""
        whole = " (whole numbers)" if self.kind == "int" and not rule else rule
        return f"{self.low:g} .. {self.high:g}{whole}"


def _divides(step: float, length: float) -> bool:
    """Return whether a whole number of steps makes the length, as Optuna counts."""
    steps = length / step
    return abs(steps - round(steps)) < 1e-8


def why_not_tunable(path: str) -> str:
    """Return the message why a parameter cannot be tuned; an empty string if it can."""
    section, _, name = path.partition(".")
    if section in _NOT_TUNABLE:
        return f"{path} cannot be tuned: {_NOT_TUNABLE[section]}"
    if section == "data" and name in _PROBLEM:
        return (
            f"{path} cannot be tuned: it changes the problem, not the method; "
            "put it under scenarios"
        )
    if path == "optim.epochs":
        return "optim.epochs cannot be tuned: it is the budget; set scheduler.max_epochs"
    if PARAMETERS[path].kind == "list":
        return f"{path} is a list and cannot be tuned; fix it, or compare under scenarios"
    return ""


def why_no_scenario(path: str) -> str:
    """Return the message why a parameter cannot be a scenario; an empty string if it can."""
    if path.startswith("seeds."):
        return f"{path} cannot be a scenario: confirm.seeds repeats winners"
    if path == "optim.epochs":
        return f"{path} cannot be a scenario: it is the budget"
    return ""


def read_domain(path: str, raw: Any) -> tuple[Domain | None, list[tuple[str, str]]]:
    """Return the domain that a file writes, or None, and its problems as (key, message)."""
    if reason := why_not_tunable(path):
        return None, [("", reason)]
    if not isinstance(raw, dict):
        example = "{type: float, low: 0.01, high: 0.3, log: true}"
        return None, [("", f"{path} must be a mapping such as {example}, got {shown(raw)}")]
    if "type" not in raw:
        return None, [("", f"{path}: type is missing; write one of {', '.join(_KEYS)}")]
    kind = raw["type"]
    if kind not in list(_KEYS):  # a list, because the written value may have no hash
        return None, [
            ("type", f"{path}: type must be one of {', '.join(_KEYS)}, got {shown(kind)}")
        ]
    problems = [
        (key, f"{path}: a {kind} has no key {key}; it has {', '.join(sorted(_KEYS[kind]))}")
        for key in raw
        if key not in _KEYS[kind]
    ]
    reader = _read_choices if kind == "categorical" else _read_range
    values, more = reader(path, kind, raw)
    problems += more
    when, more = _read_when(path, raw.get("when", {}))
    problems += more
    if problems:
        return None, problems
    domain = Domain(path=path, kind=kind, when=when, **values)
    if raw.get("prior") is None:
        return domain, []
    prior = _parsed(path, raw["prior"])
    if not domain.contains(prior):
        message = f"{path}: prior must lie in {domain}, got {shown(raw['prior'])}"
        return None, [("prior", message)]
    return replace(domain, prior=prior), []


def _read_range(
    path: str, kind: str, raw: dict[str, Any]
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    parameter = PARAMETERS[path]
    problems: list[tuple[str, str]] = []
    if parameter.kind not in ("float", "int"):
        hint = f"; use type: categorical with choices out of {parameter.range}"
        return {}, [("type", f"{path} is a {parameter.kind}, so it has no {kind} range{hint}")]
    if kind == "float" and parameter.kind == "int":
        return {}, [("type", f"{path} is a whole number; use type: int")]
    parse = parse_integer if kind == "int" else parse_number
    values: dict[str, Any] = {}
    for key in ("low", "high", "step"):
        if key not in raw:
            if key != "step":
                problems.append(("", f"{path}: {key} is missing"))
            continue
        try:
            values[key] = parse(raw[key])
        except ValueError as error:
            problems.append((key, f"{path}: {key} {error}"))
            continue
        broken = parameter.check(values[key])[1] if key != "step" else None
        if broken:
            problems.append((key, f"{path}: {key} {broken} (allowed: {parameter.range})"))
    log = raw.get("log", False)
    if not isinstance(log, bool):
        problems.append(("log", f"{path}: log must be true or false, got {shown(log)}"))
    if problems:
        return values, problems
    low, high, step = values["low"], values["high"], values.get("step")
    if low == high:
        problems.append(
            ("high", f"{path}: low < high must hold, got low = high = {low:g}; put it under fixed")
        )
    elif low > high:
        problems.append(
            ("high", f"{path}: low < high must hold, got low {low:g} and high {high:g}")
        )
    if log and low <= 0:
        problems.append(("low", f"{path}: log: true needs low > 0, got {low:g}"))
    if step is not None and (log or step <= 0):
        problems.append(
            ("step", f"{path}: step must be > 0 and cannot go with log: true, got {step:g}")
        )
    elif (
        step is not None and low < high and not (step <= high - low and _divides(step, high - low))
    ):
        fits = low + (high - low) // step * step
        remedy = f"; write high: {fits:g}" if fits > low else ""
        problems.append(
            ("step", f"{path}: step must divide high - low ({high - low:g}), got {step:g}{remedy}")
        )
    return {**values, "log": log}, problems


def _read_choices(
    path: str, kind: str, raw: dict[str, Any]
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    choices = raw.get("choices")
    if not isinstance(choices, list) or len(choices) < 2:
        problem = f"{path}: choices must be a list of two or more values, got {shown(choices)}"
        return {}, [("choices", problem)]
    problems, values = [], []
    for choice in choices:
        value, broken = PARAMETERS[path].check(choice)
        if broken:
            problems.append(("choices", f"{path}: a choice {broken}"))
        elif value in values:
            problems.append(("choices", f"{path}: choices must differ, got {shown(choice)} twice"))
        values.append(value)
    return {"choices": tuple(values)}, problems


def _read_when(path: str, raw: Any) -> tuple[dict[str, tuple[Any, ...]], list[tuple[str, str]]]:
    if not isinstance(raw, dict):
        problem = f"{path}: when must be a mapping such as {{method.name: srat}}, got {shown(raw)}"
        return {}, [("when", problem)]
    when, problems = {}, []
    for parent, written in raw.items():
        values = written if isinstance(written, list) else [written]
        if not values:
            problems.append(
                ("when", f"{path}: when {parent} must name a value or a list of values, got []")
            )
        when[parent] = tuple(_parsed(parent, value) for value in values)
    return when, problems


def _parsed(path: str, value: Any) -> Any:
    """Return the value as the configuration holds it, so that 8/255 matches a choice."""
    return PARAMETERS[path].check(value)[0] if path in PARAMETERS else value


def check_conditions(domains: Mapping[str, Domain]) -> list[tuple[str, str]]:
    """Return the problems of every `when` in all domains, as (path, message)."""
    problems = []
    for path, domain in domains.items():
        for parent, values in domain.when.items():
            if parent not in domains:
                why = "is not tuned" if parent in PARAMETERS else "is no parameter"
                others = [p for p, d in domains.items() if d.kind == "categorical" and p != path]
                remedy = f"choose from: {', '.join(others)}" if others else "remove the when"
                problems.append((path, f"{path}: when names {parent}, which {why}; {remedy}"))
            elif domains[parent].kind != "categorical":
                problems.append(
                    (
                        path,
                        f"{path}: when must name a categorical parameter, got {parent}, "
                        f"which is a range of type {domains[parent].kind}",
                    )
                )
            else:
                strange = [v for v in values if not domains[parent].contains(v)]
                if strange:
                    problems.append(
                        (
                            path,
                            f"{path}: when {parent} must be one of {domains[parent]}, "
                            f"got {shown(strange[0])}",
                        )
                    )
    if not problems and (loop := set(domains) - set(sampling_order(domains))):
        problems = [
            (min(loop), f"{min(loop)}: when must not run in a circle: {', '.join(sorted(loop))}")
        ]
    return problems


def sampling_order(domains: Mapping[str, Domain]) -> list[str]:
    """Return the paths, each after those its `when` names; paths in a circle are left out."""
    order: list[str] = []
    while more := [p for p, d in domains.items() if p not in order and set(d.when) <= set(order)]:
        order += more
    return order
