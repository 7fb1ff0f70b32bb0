"""Reads the entries of `start_from` and checks them against the tuned parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltat_tune.config.parameters import PARAMETERS, unknown_parameter
from ltat_tune.config.scalars import shown
from ltat_tune.space.domains import Domain
from ltat_tune.space.problems import Problems
from ltat_tune.yaml_lines import Key


def read_start_from(
    raw: Any, tuned: Mapping[str, Domain], problems: Problems
) -> list[dict[str, Any]]:
    """Return the entries of `start_from`, each checked against the tuned parameters."""
    if not isinstance(raw, list):
        problems.add(("start_from",), f"start_from must be a list of mappings, got {shown(raw)}")
        return []
    return [
        read_start(point, ("start_from", str(i)), tuned, problems) for i, point in enumerate(raw)
    ]


def read_start(
    raw: Any, place: Key, tuned: Mapping[str, Domain], problems: Problems
) -> dict[str, Any]:
    """Return one start point, checked against the tuned parameters; `place` is its key."""
    part = place[0]
    if not isinstance(raw, dict):
        problem = f"{part}: each entry must be a mapping of tuned values, got"
        problems.add(place, f"{problem} {shown(raw)}")
        return {}
    values = {}
    for path, value in raw.items():
        if path not in tuned:
            text = (
                f"{path} is not tuned, so {part} cannot set it"
                if path in PARAMETERS
                else unknown_parameter(path)
            )
            problems.add((*place, path), text)
            continue
        checked, broken = PARAMETERS[path].check(value)
        if broken:
            problems.add((*place, path), f"{path} {broken}")
        elif not tuned[path].contains(checked):
            rule = "be one of" if tuned[path].kind == "categorical" else "lie in"
            problem = f"{path} must {rule} {tuned[path]}, got {shown(value)}"
            problems.add((*place, path), problem)
        values[path] = checked
    for path in values:
        if not tuned[path].active(values):
            condition = ", ".join(
                f"{p}: {' or '.join(map(str, v))}" for p, v in tuned[path].when.items()
            )
            problems.add(
                (*place, path),
                f"{path} exists only when {condition}, which this entry does not set",
            )
    return values
