"""Reading a space file: all problems at once, each as `file:line: rule, value, remedy`."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ltat_tune.errors import ConfigError, SpaceError
from ltat_tune.numbers import shown
from ltat_tune.parameters import PARAMETERS, sentence, unknown
from ltat_tune.study.domains import Domain, check_conditions, read_domain
from ltat_tune.study.overrides import apply_overrides
from ltat_tune.study.rungs import with_cheap_copies
from ltat_tune.study.search_checks import check_search
from ltat_tune.study.space import Space, name_scenarios
from ltat_tune.study.space_checks import check_space
from ltat_tune.study.space_plugins import check_listed, read_plugins
from ltat_tune.study.spec import PARTS, Budget, parse_budget, unknown_key
from ltat_tune.study.starts import enumerate_all, read_start_from
from ltat_tune.study.warm_start import lend, read_warm_start, write_taken
from ltat_tune.yaml_lines import Key, YamlProblem, read_yaml

_KEYS = ("name", "plugins", "objective", "fixed", "scenarios", "tuned", "start_from", "warm_start",
         "searcher", "scheduler", "confirm", "resources", "budget")  # fmt: skip


class Report:
    """Collects problems of one file, placed by the path of the key they are about."""

    def __init__(
        self, file: str, lines: Mapping[Key, int], overridden: set[str], problems: Sequence[str]
    ) -> None:
        self._file, self._lines, self._overridden = file, lines, overridden
        self._problems: dict[tuple[int, str], None] = {(0, text): None for text in problems}

    def add(self, path: Key, problem: str) -> None:
        """Notes a problem at the nearest enclosing key that the file has."""
        dotted = ".".join(path[:2]) if path[:1] not in (("fixed",), ("scenarios",)) else path[-1]
        if dotted in self._overridden:
            self._problems[(0, f"--set {dotted}: {problem.removeprefix(f'{dotted} ')}")] = None
            return
        while path and path not in self._lines:
            path = path[:-1]
        line = self._lines.get(path, 1)
        self._problems[(line, f"{self._file}:{line}: {problem}")] = None

    def add_about(self, problem: str, *, names: str = "") -> None:
        """Notes a problem at the first parameter that it (or `names`) names and the file has."""
        for path in re.findall(r"[a-z_]+\.[a-z_]+", names or problem):
            for part in ("fixed", "scenarios", "tuned"):
                if path in self._overridden or (part, path) in self._lines:
                    self.add(("fixed" if path in self._overridden else part, path), problem)
                    return
        self.add(("fixed",), problem)

    def raise_if_any(self) -> None:
        """Raises: SpaceError with everything noted so far, in the order of the file."""
        if self._problems:
            raise SpaceError([text for _, text in sorted(self._problems, key=lambda p: p[0])])


def load_space(
    path: Path | str,
    *,
    overrides: Sequence[str] = (),
    check_machine: bool = True,
    allow_inert: bool = False,
    smoke: bool = False,
    cluster: bool = False,
) -> Space:
    """Reads and checks a space file before anything is started.

    Args:
        path: the YAML file.
        overrides: `path=value` assignments that replace what the file says.
        check_machine: also check data and resources, which depend on this machine.
        allow_inert: note tuned parameters without effect instead of refusing them.
        smoke: check the file as it is, then make it so small that it runs at once.
        cluster: trials run on a cluster's nodes, so this machine's resources are no limit.

    Raises:
        SpaceError: with every problem at once.
    """
    path = Path(path)
    document, lines = _read(path)
    plugins = read_plugins(path, document, lines)
    overridden, unheard = apply_overrides(document, overrides)

    def checked(document: dict[str, Any], machine: bool, inert: bool) -> Space:
        report = Report(str(path), lines, overridden, unheard)
        space = with_cheap_copies(_build(document, path.stem, report))
        space = replace(space, plugins=plugins)
        check_listed(space, report)
        report.raise_if_any()
        notes = [*(plugin.note for plugin in plugins), *space.notes, *check_search(space, report)]
        notes += check_space(
            space, report, check_machine=machine, allow_inert=inert, cluster=cluster
        )
        report.raise_if_any()
        return replace(space, notes=tuple(notes))

    if not smoke:
        return checked(document, check_machine, allow_inert)
    from ltat_tune.study.smoke import make_smoke

    whole = checked(document, False, allow_inert)
    document, what = make_smoke(document, whole, overridden)
    document.pop("budget", None)
    document.pop("warm_start", None)  # its two trials show the file, not an earlier study
    small = checked(document, check_machine, True)  # two epochs may leave a parameter nothing
    return replace(small, smoke=what, notes=(what, *small.notes))


def _read(path: Path) -> tuple[dict[str, Any], dict[Key, int]]:
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        near = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        there = f"; there are: {', '.join(near)}" if near else ""
        raise SpaceError(f"{path}: no such file{there}") from None
    except IsADirectoryError:
        raise SpaceError(
            f"{path}: must be a file, got a folder; name one of its .yaml files"
        ) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SpaceError(f"{path}:{line}: must be UTF-8 text: {error.reason}") from None
    except OSError as error:
        raise SpaceError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        document, lines = read_yaml(text)
    except YamlProblem as problem:
        raise SpaceError([f"{path}:{line}: {text}" for line, text in problem.problems]) from None
    if document is None:
        raise SpaceError(f"{path}:1: the file is empty; start from search_spaces/quickstart.yaml")
    if not isinstance(document, dict):
        raise SpaceError(f"{path}:1: must be a mapping with the keys {', '.join(_KEYS)}")
    return document, lines


def _build(document: dict[str, Any], stem: str, report: Report) -> Space:
    for key in document:
        if key not in _KEYS:
            close = get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"a space file has {', '.join(_KEYS)}"
            report.add((key,), f"unknown key {key}; {hint}")
    name = document.get("name", stem)
    if not isinstance(name, str):
        report.add(("name",), f"name must be text, got {shown(name)}; write it in quotes")
    elif not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
        remedy = "" if "name" in document else ", the file's own name; give it a name:"
        report.add(
            ("name",),
            "name must be 1 to 100 letters, digits, '_', '-' or '.' and begin with a letter or "
            f"digit, got {shown(name)}{remedy}",
        )
    parts = {key: _read_part(key, document.get(key, {}), report) for key in PARTS}
    fixed = _read_fixed(document.get("fixed", {}), report)
    axes = _read_scenarios(document.get("scenarios", {}), report)
    tuned = _read_tuned(document, report)
    _check_overlaps(fixed, axes, tuned, report)
    report.raise_if_any()
    epochs = parts["scheduler"].max_epochs
    if epochs is not None and fixed.setdefault("optim.epochs", epochs) != epochs:
        report.add(
            ("scheduler", "max_epochs"),
            f"scheduler.max_epochs must equal optim.epochs ({fixed['optim.epochs']}), "
            f"got {epochs}; write one of them",
        )
    start_from = read_start_from(document.get("start_from", []), tuned, report)
    report.raise_if_any()
    enumerated = enumerate_all(parts["searcher"], tuned, start_from, report)
    report.raise_if_any()
    if enumerated:
        parts["searcher"] = parts["searcher"].model_copy(update={"trials": len(enumerated)})
    space = Space(
        name=name, fixed=fixed, scenarios=name_scenarios(axes), tuned=tuned,
        start_from=tuple(start_from), enumerated=tuple(enumerated),
        budget=_read_budget(document.get("budget"), report),
        document=copy.deepcopy({"name": name, **document}), **parts,
    )  # fmt: skip
    space = _with_warm_start(space, report)
    report.raise_if_any()
    for scenario in space.scenarios:
        for params in space.contexts():
            try:
                space.config(scenario, params)
            except ConfigError as error:
                for problem in error.problems:
                    report.add_about(problem)
    report.raise_if_any()
    return space


def _read_budget(raw: Any, report: Report) -> Budget | None:
    if raw is None:
        return None
    try:
        return parse_budget(raw)
    except ValueError as error:
        report.add(("budget",), str(error))
        return None


def _with_warm_start(space: Space, report: Report) -> Space:
    """With the points and ranges of an earlier study, if the file asks for them."""
    if "warm_start" not in space.document:
        return space
    spec = read_warm_start(space.document["warm_start"], report)
    if spec is None:
        return space
    lent = lend(space, spec, report)
    document = copy.deepcopy(dict(space.document))
    write_taken(document, spec, lent)
    return replace(
        space,
        tuned={**space.tuned, **lent.ranges},
        warm_starts=lent.points,
        notes=tuple(lent.notes),
        document=document,
    )


def _read_part(key: str, raw: Any, report: Report) -> Any:
    model = PARTS[key]
    if not isinstance(raw, dict):
        report.add(
            (key,), f"{key} must be a mapping of {', '.join(model.model_fields)}, got {shown(raw)}"
        )
        return model()
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for details in error.errors():
            field = str(details["loc"][0])
            if details["type"] == "none_required":
                continue
            if details["type"] == "extra_forbidden":
                report.add((key, field), unknown_key(f"{key}.{field}"))
            else:
                report.add((key, field), f"{key}.{field} {sentence(details)}")
        return model()


def _read_fixed(raw: Any, report: Report) -> dict[str, Any]:
    if not isinstance(raw, dict):
        problem = f"fixed must be a mapping of dotted paths to values, got {shown(raw)}"
        report.add(("fixed",), problem)
        return {}
    values = {}
    for path, value in raw.items():
        if path not in PARAMETERS:
            report.add(("fixed", path), unknown(path))
            continue
        values[path], broken = PARAMETERS[path].check(value)
        if broken:
            report.add(("fixed", path), f"{path} {broken}")
    return values


def _read_scenarios(raw: Any, report: Report) -> dict[str, list[Any]]:
    if not isinstance(raw, dict):
        problem = f"scenarios must be a mapping of dotted paths to lists, got {shown(raw)}"
        report.add(("scenarios",), problem)
        return {}
    axes: dict[str, list[Any]] = {}
    for path, values in raw.items():
        place = ("scenarios", path)
        if path not in PARAMETERS:
            report.add(place, unknown(path))
        elif not isinstance(values, list) or not values:
            problem = f"{path}: a scenario axis must be a list of values, got {shown(values)}"
            report.add(place, problem)
        elif path.startswith("seeds.") or path == "optim.epochs":
            where = (
                "confirm.seeds repeats winners"
                if path.startswith("seeds.")
                else "it is the budget"
            )
            report.add(place, f"{path} cannot be a scenario: {where}")
        else:
            axes[path] = []
            for value in values:
                checked, broken = PARAMETERS[path].check(value)
                if broken:
                    report.add(place, f"{path} {broken}")
                elif checked in axes[path]:
                    problem = f"{path}: scenario values must differ, got {shown(value)} twice"
                    report.add(place, problem)
                axes[path].append(checked)
    return axes


def _read_tuned(document: Mapping[str, Any], report: Report) -> dict[str, Domain]:
    raw = document.get("tuned")
    if not isinstance(raw, dict) or not raw:
        example = "optim.lr: {type: float, low: 0.01, high: 0.3, log: true}"
        problem = f"tuned must name at least one parameter, such as {example}; got {shown(raw)}"
        report.add(("tuned",), problem)
        return {}
    domains: dict[str, Domain] = {}
    for path, written in raw.items():
        if path not in PARAMETERS:
            report.add(("tuned", path), unknown(path))
            continue
        domain, problems = read_domain(path, written)
        for key, problem in problems:
            report.add(("tuned", path, key), problem)
        if domain is not None:
            domains[path] = domain
    if len(domains) == len(raw):  # else a `when` may name what could not be read
        for path, problem in check_conditions(domains):
            report.add(("tuned", path, "when"), problem)
    return domains


def _check_overlaps(
    fixed: Mapping[str, Any], axes: Mapping[str, Any], tuned: Mapping[str, Any], report: Report
) -> None:
    for one, other, first, second in (
        (fixed, tuned, "fixed", "tuned"),
        (fixed, axes, "fixed", "scenarios"),
        (axes, tuned, "scenarios", "tuned"),
    ):
        for path in [p for p in one if p in other]:
            report.add((second, path), f"{path} is both {first} and {second}; keep one")
