"""Reads a space file and reports all problems at once, as `file:line: rule, value, remedy`."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ltat_tune.config.extensions import Plugin
from ltat_tune.config.fields import rule_sentence
from ltat_tune.config.parameters import PARAMETERS, unknown_parameter
from ltat_tune.config.plugin_loader import load_plugins
from ltat_tune.config.scalars import shown
from ltat_tune.errors import ConfigError, SpaceError
from ltat_tune.files import read_text_file
from ltat_tune.space.domains import Domain, check_conditions, read_domain, why_no_scenario
from ltat_tune.space.enumeration import enumerate_all
from ltat_tune.space.problems import Problems
from ltat_tune.space.resources import Budget, parse_budget
from ltat_tune.space.script.section import read_script, with_script
from ltat_tune.space.space import Space, name_scenarios
from ltat_tune.space.spec import (
    SECTIONS,
    STUDY_NAME,
    SearcherSpec,
    SpaceDocument,
    unknown_key,
)
from ltat_tune.space.start_points import read_start_from
from ltat_tune.yaml_lines import Key, YamlProblem, read_yaml

_KEYS = tuple(SpaceDocument.model_fields)
_DEFAULTS_OF_0_4_0: dict[str, dict[str, Any]] = {
    "objective": {"second_opinion": False},
    "searcher": {"name": "tpe", "at_least": {}},
    "confirm": {"seeds": [0, 1, 2]},
}


def read_space(path: Path | str) -> Space:
    """Read the space file of a study that exists, and check only the file's form.

    Data, resources and warm starts are not checked.

    Raises:
        SpaceError: with every problem at once.
    """
    path = Path(path)
    document, lines = read_document(path)
    plugins = read_plugins(path, document, lines)
    space = build_space(document, path.stem, Problems(str(path), lines, set(), ()))
    return replace(space, plugins=plugins)


def read_plugins(
    path: Path, document: dict[str, Any], lines: Mapping[Key, int]
) -> tuple[Plugin, ...]:
    """Load the script and the plugins of a space file, and record them in `document`.

    Raises:
        SpaceError: names every plugin that is missing, changed or fails.
    """
    read_script(path, document, lines)
    if "plugins" not in document:
        return ()
    try:
        plugins = load_plugins(document["plugins"], beside=path.parent)
    except ConfigError as error:
        line = lines.get(("plugins",), 1)
        raise SpaceError([f"{path}:{line}: {text}" for text in error.problems]) from error
    document["plugins"] = [plugin.as_data() for plugin in plugins]
    return plugins


_MOST_KEYS = 1000  # there are far fewer parameters


def read_document(path: Path) -> tuple[dict[str, Any], dict[Key, int]]:
    """Return the content of a space file, and the line of each key.

    Raises:
        SpaceError: the file is missing, cannot be read or is no mapping.
    """
    try:
        text = read_text_file(path)
    except FileNotFoundError:
        near = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        stems = {Path(name).stem: name for name in near}
        close = get_close_matches(path.stem, stems, n=1)
        others = f"; there are: {', '.join(near)}" if near else ""
        others = f"; did you mean {stems[close[0]]}?" if close else others
        raise SpaceError(f"{path}: no such file{others}") from None
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
    crowded = [
        f"{path}:{lines.get(name, 1)}: {'.'.join(name) or 'the file'} must have at most "
        f"{_MOST_KEYS:,} keys, got {len(part):,}"
        for name, part in [((), document), *(((key,), value) for key, value in document.items())]
        if isinstance(part, dict) and len(part) > _MOST_KEYS
    ]
    if crowded:
        raise SpaceError(crowded)
    if (path.parent / "study.json").exists():  # a study's own copy
        document = as_begun(document)
    return document, lines


def as_begun(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study's own space file with what it began with written out.

    `Space.record` writes it. Studies of 0.4.0 and before did not: they began with the defaults of
    their time.
    """
    written = dict(record)
    for section, defaults in _DEFAULTS_OF_0_4_0.items():
        given = written.get(section) or {}
        if isinstance(given, dict):  # anything else is refused where it is checked
            written[section] = {**defaults, **given}
    return written


def build_space(document: dict[str, Any], stem: str, problems: Problems) -> Space:
    """Turn a document into a space, checked for its form alone.

    Args:
        document: the file's content, with every override in place.
        stem: the file's name without its ending; the name of a study that gives none.
        problems: collects every problem.

    Raises:
        SpaceError: with every problem so far.
    """
    for key in document:
        if key not in _KEYS:
            close = get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"a space file has {', '.join(_KEYS)}"
            problems.add((key,), f"unknown key {key}; {hint}")
    name = document.get("name", stem)
    if not isinstance(name, str):
        problems.add(("name",), f"name must be text, got {shown(name)}; write it in quotes")
    elif not re.fullmatch(STUDY_NAME, name):
        remedy = "" if "name" in document else ", the file's own name; give it a name:"
        problems.add(
            ("name",),
            "name must be 1 to 100 letters, digits, '_', '-' or '.' and begin with a letter or "
            f"digit, got {shown(name)}{remedy}",
        )
    parts = {key: _read_part(key, document.get(key, {}), problems) for key in SECTIONS}
    fixed = _read_fixed(with_script(document), problems)
    axes = _read_scenarios(document.get("scenarios", {}), problems)
    tuned = _read_tuned(document, problems)
    _check_overlaps(fixed, axes, tuned, problems)
    problems.raise_if_any()
    epochs = parts["scheduler"].max_epochs
    if epochs is not None and fixed.setdefault("optim.epochs", epochs) != epochs:
        problems.add(
            ("scheduler", "max_epochs"),
            f"scheduler.max_epochs must equal optim.epochs ({fixed['optim.epochs']}), "
            f"got {epochs}; write one of them",
        )
    start_from = read_start_from(document.get("start_from", []), tuned, problems)
    problems.raise_if_any()
    _check_race(parts["searcher"], tuned, problems)
    enumerated = enumerate_all(parts["searcher"], tuned, start_from, problems)
    problems.raise_if_any()
    if enumerated:
        parts["searcher"] = parts["searcher"].model_copy(update={"trials": len(enumerated)})
    space = Space(
        name=name, fixed=fixed, scenarios=name_scenarios(axes, fixed), tuned=tuned,
        start_from=tuple(start_from), enumerated=tuple(enumerated),
        budget=_read_budget(document.get("budget"), problems),
        document=copy.deepcopy({"name": name, **document}), **parts,
    )  # fmt: skip
    problems.raise_if_any()
    return space


def _read_budget(raw: Any, problems: Problems) -> Budget | None:
    if raw is None:
        return None
    try:
        return parse_budget(raw)
    except ValueError as error:
        problems.add(("budget",), str(error))
        return None


def _read_part(key: str, raw: Any, problems: Problems) -> Any:
    model = SECTIONS[key]
    if not isinstance(raw, dict):
        problems.add(
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
                problems.add((key, field), unknown_key(f"{key}.{field}"))
            else:
                problems.add((key, field), f"{key}.{field} {rule_sentence(details)}")
        return model()


def _read_fixed(raw: Any, problems: Problems) -> dict[str, Any]:
    if not isinstance(raw, dict):
        problem = f"fixed must be a mapping of dotted paths to values, got {shown(raw)}"
        problems.add(("fixed",), problem)
        return {}
    values = {}
    for path, value in raw.items():
        if path not in PARAMETERS:
            problems.add(("fixed", path), unknown_parameter(path))
            continue
        values[path], broken = PARAMETERS[path].check(value)
        if broken:
            problems.add(("fixed", path), f"{path} {broken}")
    return values


def _read_scenarios(raw: Any, problems: Problems) -> dict[str, list[Any]]:
    if not isinstance(raw, dict):
        problem = f"scenarios must be a mapping of dotted paths to lists, got {shown(raw)}"
        problems.add(("scenarios",), problem)
        return {}
    axes: dict[str, list[Any]] = {}
    for path, values in raw.items():
        place = ("scenarios", path)
        if path not in PARAMETERS:
            problems.add(place, unknown_parameter(path))
        elif not isinstance(values, list) or not values:
            problem = f"{path}: a scenario axis must be a list of values, got {shown(values)}"
            problems.add(place, problem)
        elif reason := why_no_scenario(path):
            problems.add(place, reason)
        else:
            axes[path] = []
            for value in values:
                checked, broken = PARAMETERS[path].check(value)
                if broken:
                    problems.add(place, f"{path} {broken}")
                elif checked in axes[path]:
                    problem = f"{path}: scenario values must differ, got {shown(value)} twice"
                    problems.add(place, problem)
                axes[path].append(checked)
    return axes


def _read_tuned(document: Mapping[str, Any], problems: Problems) -> dict[str, Domain]:
    raw = document.get("tuned")
    if not isinstance(raw, dict) or not raw:
        example = "optim.lr: {type: float, low: 0.01, high: 0.3, log: true}"
        problem = f"tuned must name at least one parameter, such as {example}; got {shown(raw)}"
        problems.add(("tuned",), problem)
        return {}
    domains: dict[str, Domain] = {}
    for path, written in raw.items():
        if path not in PARAMETERS:
            problems.add(("tuned", path), unknown_parameter(path))
            continue
        domain, broken_rules = read_domain(path, written)
        for key, problem in broken_rules:
            problems.add(("tuned", path, key), problem)
        if domain is not None:
            domains[path] = domain
    if len(domains) == len(raw):  # otherwise a `when` may name a domain that was refused
        for path, problem in check_conditions(domains):
            problems.add(("tuned", path, "when"), problem)
    return domains


def _check_race(searcher: SearcherSpec, tuned: Mapping[str, Domain], problems: Problems) -> None:
    """Check that `searcher.at_least` names what has choices, and a searcher that chooses."""
    place, named = ("searcher", "at_least"), searcher.at_least or {}
    choices = [path for path, domain in tuned.items() if domain.kind == "categorical"]
    if searcher.enumerates and named:
        problems.add(
            place,
            f"searcher.at_least must be left out with searcher.name {searcher.name}, which trains "
            f"what the file lists, got {dict(named)}",
        )
    remedy = f"name one of: {', '.join(choices)}" if choices else "leave it out"
    for path in named:
        if path in choices:
            continue
        why = (
            f"which is a range of type {tuned[path].kind}" if path in tuned
            else "which is not tuned" if path in PARAMETERS else unknown_parameter(path)
        )  # fmt: skip
        problems.add(
            (*place, path),
            f"searcher.at_least must name tuned parameters with choices, got {path}, {why}; "
            f"{remedy}",
        )


def _check_overlaps(
    fixed: Mapping[str, Any], axes: Mapping[str, Any], tuned: Mapping[str, Any], problems: Problems
) -> None:
    for one, other, first, second in (
        (fixed, tuned, "fixed", "tuned"),
        (fixed, axes, "fixed", "scenarios"),
        (axes, tuned, "scenarios", "tuned"),
    ):
        for path in [p for p in one if p in other]:
            problems.add((second, path), f"{path} is both {first} and {second}; keep one")
