"""Reads the learning curves that record_curves.py recorded, for bench_search.py."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltat_tune.space.domains import read_domain, sampling_order

Params = Mapping[str, Any]
Row = dict[str, Any]


class Table:
    """The recorded curves of one problem, by configuration.

    A file of an early version does not say what was tuned; then the rows do: what differs between
    them was tuned; a parameter that some of them lack exists under values of one or two others.

    Args:
        path: the JSON file.

    Attributes:
        name: the file's name, without its ending.
        metric: the objective.
        epochs: epochs of a whole training.
        probe_epochs: epochs of a probe.
        fixed: values that all configurations share.
        tuned: the domains, as a space file writes them.
        rows: the recorded rows.
    """

    def __init__(self, path: Path) -> None:
        content = json.loads(path.read_text())
        self.name = path.stem.removesuffix("_curves")
        self.epochs: int = content["epochs"]
        self.probe_epochs: int = content["probe_epochs"]
        self.metric: str = content.get("metric", "val/pgd10_balanced_acc")
        self.fixed: dict[str, Any] = dict(content["fixed"])
        self.rows: list[Row] = content["rows"]
        points = [params_of(row) for row in self.rows]
        if "tuned" in content:
            self.tuned: dict[str, dict[str, Any]] = content["tuned"]
        else:
            self.tuned, constant = inferred(points)
            self.fixed |= constant
        domains = {path: read_domain(path, raw)[0] for path, raw in self.tuned.items()}
        self._domains = {path: domain for path, domain in domains.items() if domain is not None}
        self._order = sampling_order(self._domains)
        self._rows = {self._key(p): row for p, row in zip(points, self.rows, strict=True)}
        truths = sorted(truth(row) for row in self.rows)
        self.best, self.middle = truths[-1], float(np.median(truths))

    def __len__(self) -> int:
        return len(self.rows)

    def _key(self, params: Params) -> tuple[Any, ...]:
        """Return the values of what exists in a configuration, whatever else it holds."""
        values: dict[str, Any] = {}
        for path in self._order:
            if self._domains[path].active(values):
                values[path] = params[path]
        return tuple(values.items())

    def row(self, params: Params) -> Row:
        """Return the recording of a configuration."""
        return self._rows[self._key(params)]

    def shuffled(self, seed: int, what: str = "copies") -> Table:
        """Return the table with the copies, or the curve, of one configuration at another one."""
        shuffled = copy.copy(self)
        rows = list(self._rows.values())
        others = np.random.default_rng(seed).permutation(len(rows))
        shuffled._rows = {
            key: {**row, what: rows[other][what]}
            for (key, row), other in zip(self._rows.items(), others, strict=True)
        }
        return shuffled

    def draw(self, rng: np.random.Generator) -> Row:
        """Return the row of a configuration whose values are drawn independently."""
        return self.row({p: c[rng.integers(len(c))] for p, c in self.choices.items()})

    @property
    def choices(self) -> dict[str, list[Any]]:
        """The values of every parameter."""
        points = [params_of(row) for row in self.rows]
        return {
            path: list(dict.fromkeys(x[path] for x in points if path in x)) for path in self.tuned
        }

    def nearest(self, epochs: int) -> int:
        """Return the recorded length of copies that is nearest to a number of epochs."""
        lengths = sorted({int(name.split("s")[0]) for name in self.rows[0]["copies"]})
        return min(lengths, key=lambda length: abs(length - epochs))

    def copy(self, row: Row, epochs: int, steps: int | None) -> tuple[float | None, float]:
        """Return the score of a copy, None if it diverged, and the cost of one of its epochs.

        A training step costs a forward-backward pair for each attack step, and its own.

        Args:
            row: the recording.
            epochs: the copy's length.
            steps: its attack steps; None is those of the whole training.

        Raises:
            ValueError: the table has no such copies.
        """
        own = self.fixed["attack.steps"]
        whole = steps is None or steps == own
        name = str(epochs) if whole else f"{epochs}s{steps}"
        if name not in row["copies"]:
            raise ValueError(
                f"{self.name} has no copies {name}; it has {', '.join(row['copies'])}"
            )
        return row["copies"][name], 1.0 if whole else (steps + 1) / (own + 1)


def params_of(row: Row) -> dict[str, Any]:
    """Return the configuration of a recorded row."""
    return row["params"] if "params" in row else {**row["early"], **row["late"]}


def truth(row: Row) -> float:
    """Return PGD-20 on the test images, mean of two seeds; a run that diverged is worth 0."""
    return float(np.mean([score or 0.0 for score in row["truth"]]))


def final(row: Row) -> float | None:
    """Return the score that a whole trial ends with: its best epoch's; None if it diverged."""
    return max(row["curve"], default=None)


def inferred(points: Sequence[Params]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the domains that these configurations fill, parents first, and their constants.

    Raises:
        ValueError: no one or two other parameters decide where a parameter exists.
    """
    values: dict[str, list[Any]] = {}
    for point in points:
        for path, value in point.items():
            seen = values.setdefault(path, [])
            if value not in seen:
                seen.append(value)
    constant = {path: seen[0] for path, seen in values.items() if len(seen) == 1}
    count = {path: sum(path in point for point in points) for path in values}
    tuned: dict[str, dict[str, Any]] = {}
    for path in sorted(values, key=lambda p: count[p] < len(points)):
        if path in constant:
            continue
        tuned[path] = {"type": "categorical", "choices": values[path]}
        if count[path] < len(points):
            wider = [p for p in values if p not in constant and count[p] > count[path]]
            wider.sort(key=lambda p: -count[p])
            tuned[path]["when"] = _condition(path, points, wider)
    return tuned, constant


def _condition(path: str, points: Sequence[Params], parents: list[str]) -> dict[str, Any]:
    """Return the values of one parent, or of two, under which a parameter exists."""
    having = [point for point in points if path in point]
    lacking = [point for point in points if path not in point]
    for some in [*itertools.combinations(parents, 1), *itertools.combinations(parents, 2)]:
        if not all(parent in point for parent in some for point in having):
            continue
        under = {parent: sorted({x[parent] for x in having}) for parent in some}
        if not any(all(x.get(p) in under[p] for p in some) for x in lacking):
            return under
    raise ValueError(f"{path} is in some rows, but no other parameters say in which")
