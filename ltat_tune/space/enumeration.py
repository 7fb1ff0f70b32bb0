"""Lists every configuration of a grid or a list."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from ltat_tune.space.domains import Domain, sampling_order
from ltat_tune.space.problems import Problems
from ltat_tune.space.space import MANY
from ltat_tune.space.spec import SearcherSpec


def enumerate_all(
    searcher: SearcherSpec,
    tuned: Mapping[str, Domain],
    starts: Sequence[dict[str, Any]],
    problems: Problems,
) -> list[dict[str, Any]]:
    """Return every configuration of a grid or list, in the order in which they run.

    A list is `start_from` itself. A grid is every combination that the `when` conditions allow,
    the entries of `start_from` first, so that the first of them is the baseline. Other searchers
    enumerate nothing.
    """
    if not searcher.enumerates:
        return []
    _check_complete(searcher, tuned, starts, problems)
    configurations = list(starts)
    if searcher.name == "grid":
        ranges = [p for p, d in tuned.items() if d.kind != "categorical" and d.step is None]
        for path in ranges:
            problems.add(
                ("tuned", path),
                f"{path}: searcher.name grid needs values that can be counted; "
                "give it a step:, or type: categorical with choices",
            )
        if ranges:
            return []
        count = _count(tuned)
        if count > MANY:
            problems.add(
                ("searcher", "name"),
                f"searcher.name grid must make at most {MANY} configurations per scenario, "
                f"got {count}; tune fewer values, or use tpe",
            )
            return []
        configurations += [point for point in _grid(tuned) if point not in starts]
    elif not starts:
        problems.add(
            ("searcher", "name"),
            "searcher.name list runs the entries of start_from, and there are none",
        )
    if "trials" in searcher.model_fields_set and searcher.trials != len(configurations):
        problems.add(
            ("searcher", "trials"),
            f"searcher.trials must be left out or be the {len(configurations)} configurations of "
            f"searcher.name {searcher.name}, got {searcher.trials}",
        )
    return configurations


def all_points(tuned: Mapping[str, Domain], limit: int = MANY) -> list[dict[str, Any]] | None:
    """Return every combination that `when` allows; None if they are countless or over `limit`."""
    counted = {
        path: replace(d, step=1.0) if d.kind == "int" and d.step is None else d
        for path, d in tuned.items()
    }
    endless = any(d.kind != "categorical" and d.step is None for d in counted.values())
    if endless or _count(counted) > limit:
        return None
    return _grid(counted)


def _check_complete(
    searcher: SearcherSpec,
    tuned: Mapping[str, Domain],
    starts: Sequence[dict[str, Any]],
    problems: Problems,
) -> None:
    """Note a problem for each entry that leaves a parameter open or repeats another entry."""
    for i, entry in enumerate(starts):
        missing = [p for p in sampling_order(tuned) if tuned[p].active(entry) and p not in entry]
        if missing:
            problems.add(
                ("start_from", str(i)),
                f"start_from: under searcher.name {searcher.name} each entry must set every "
                f"parameter that exists in it, and this one lacks {', '.join(missing)}",
            )
        if entry in starts[:i]:
            problems.add(
                ("start_from", str(i)),
                f"start_from: entries must differ, but this one repeats the entry "
                f"{starts.index(entry) + 1}",
            )


def _values(domain: Domain) -> tuple[Any, ...]:
    if domain.kind == "categorical":
        return domain.choices
    # in decimals, or 0.1 + 2 * 0.1 would be 0.30000000000000004
    low, step = Decimal(str(domain.low)), Decimal(str(domain.step))
    values = [low + i * step for i in range(_size(domain))]
    return tuple(int(v) if domain.kind == "int" else float(v) for v in values)


def _size(domain: Domain) -> int:
    if domain.kind == "categorical":
        return len(domain.choices)
    assert domain.step is not None
    return round((domain.high - domain.low) / domain.step) + 1


def _grid(tuned: Mapping[str, Domain]) -> list[dict[str, Any]]:
    """Return all combinations; the first parameter of `tuned` changes slowest."""
    configurations: list[dict[str, Any]] = [{}]
    for path in sampling_order(tuned):
        domain, values = tuned[path], _values(tuned[path])
        configurations = [
            {**point, path: value} if domain.active(point) else point
            for point, value in itertools.product(configurations, values)
            if domain.active(point) or value == values[0]
        ]
    return configurations


def _count(tuned: Mapping[str, Domain]) -> int:
    """Return how many combinations `_grid` would make, without making them.

    Combinations that agree in every parameter that a `when` names are counted together.
    """
    when_paths = {parent for domain in tuned.values() for parent in domain.when}
    counts: Counter[tuple[Any, ...]] = Counter({(): 1})
    for path in sampling_order(tuned):
        domain, more = tuned[path], Counter[tuple[Any, ...]]()
        for parents, count in counts.items():
            if not domain.active(dict(parents)):
                more[parents] += count
            elif path in when_paths:  # a choice; check_conditions makes sure
                more.update({(*parents, (path, value)): count for value in domain.choices})
            else:
                more[parents] += count * _size(domain)
        counts = more
    return sum(counts.values())
