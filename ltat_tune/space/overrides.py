"""Applies `--set path=value` to a space file's values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.space.spec import SECTIONS, unknown_key
from ltat_tune.yaml_lines import YamlProblem, read_value

_WHOLE = ("name", "budget")  # keys of the file without a dot


def apply_overrides(
    document: dict[str, Any], overrides: Sequence[str]
) -> tuple[set[str], list[str]]:
    """Apply every `path=value` to the document.

    Returns:
        The paths that were replaced, and a problem for each assignment that has no `=` or names an
        unknown path.
    """
    problems: list[str] = []
    paths: set[str] = set()
    for assignment in overrides:
        path, equals, text = assignment.partition("=")
        path = path.strip()
        try:
            value = read_value(text)
        except YamlProblem as problem:
            problems += [f"--set {path[:80]}: {sentence}" for _, sentence in problem.problems]
            continue
        section, _, key = path.partition(".")
        if not equals or not path:
            problems.append(f"--set must be path=value, got {assignment!r}")
        elif path in PARAMETERS:
            paths.add(path)
            pin(document, path, value)
        elif path in _WHOLE or (section in SECTIONS and key in SECTIONS[section].model_fields):
            paths.add(path)
            if key:
                document.setdefault(section, {})
                if isinstance(document[section], dict):
                    document[section][key] = value
            else:
                document[path] = value
        else:
            problems.append(f"--set {path}: {unknown_key(path)}")
    return paths, problems


def pin(document: dict[str, Any], path: str, value: Any) -> None:
    """Give one parameter a value, wherever the file has it: in scenarios, tuned or fixed."""
    scenarios, tuned = document.get("scenarios"), document.get("tuned")
    if isinstance(scenarios, dict) and path in scenarios:
        scenarios[path] = value if isinstance(value, list) else [value]
        return
    if isinstance(tuned, dict) and path in tuned:
        untune(tuned, document.get("start_from"), path, (PARAMETERS[path].check(value)[0],))
        _merge_alike(document)
    fixed = document.setdefault("fixed", {})
    if isinstance(fixed, dict):
        fixed[path] = value


def _merge_alike(document: dict[str, Any]) -> None:
    """Merge entries of a list that differ only in the value that is now pinned."""
    searcher, starts = document.get("searcher"), document.get("start_from")
    listed = isinstance(searcher, dict) and searcher.get("name") in ("list", "grid")
    if listed and isinstance(starts, list):
        different: list[Any] = []
        for start in starts:
            if start not in different:
                different.append(start)
        document["start_from"] = different


def untune(tuned: dict[str, Any], starts: Any, path: str, values: tuple[Any, ...]) -> None:
    """Take a parameter out of the search, and resolve every `when` that names it.

    `values` holds the value that the parameter has instead; empty if it no longer exists.
    """
    del tuned[path]
    for start in starts if isinstance(starts, list) else []:
        if isinstance(start, dict):
            start.pop(path, None)
    for other in list(tuned):
        when = tuned[other].get("when") if isinstance(tuned.get(other), dict) else None
        if not isinstance(when, dict) or path not in when:
            continue
        condition = when.pop(path)
        condition = condition if isinstance(condition, list) else [condition]
        allowed = [PARAMETERS[path].check(value)[0] for value in condition]
        if not any(value in allowed for value in values):
            untune(tuned, starts, other, ())
        elif not when:
            del tuned[other]["when"]
