"""Find a configuration for every value that `--by` asks about, or say why there is none."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ltat_tune.comparison.entries import (
    ComparedEntry,
    Reviewed,
    best_trial,
    confirmed_entries,
    new_entry,
)
from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.presentation.states import state_in_words
from ltat_tune.presentation.units import percent
from ltat_tune.results.model import standing
from ltat_tune.space.space import text_of
from ltat_tune.storage.trials import TrialRow

_BINS = 4  # ranges that a parameter with many values is cut into
_MANY = 8  # different values; a parameter with more is cut into ranges
# how trials end that have no result, the most telling first
_ENDS = {"complete": "misses objective.at_least"} | {
    state: state_in_words(state) for state in ("running", "pruned", "diverged", "failed")
}
Parts = tuple[str | None, ...]  # a label in words, one for each key; None is any value of a range


def grouped_entries(study: Reviewed, keys: Sequence[str]) -> list[ComparedEntry]:
    """Return, for every value of the keys, its best configuration in every scenario.

    That is the best confirmed winner with this value, or else the best complete trial of the
    search, or else the confirmed baseline. The study's objective decides, so validation images
    alone do. A value with none of them has an entry without seeds, whose `state` says why. Values
    come in the order of the space file; ranges, which it does not list, in that of their trials.
    A confirmed baseline that is not the best of its value follows as an extra entry.
    """
    bins = {key: _bins(study, key) for key in keys if key in PARAMETERS}
    confirmed = [e for e in confirmed_entries(study) if e.role != "trial"]
    entries = []
    for where in study.space.scenarios:
        scenario = where.name
        groups: dict[Parts, list[TrialRow]] = defaultdict(list)
        for row in study.trials:
            if row.scenario == scenario:
                groups[_parts(study, scenario, row.params, keys, bins)].append(row)
        asked = _asked(study, scenario, keys, bins)
        baseline = _baseline_parts(study, scenario, keys, bins)
        for parts in _in_order(asked, groups):
            rows = groups.get(parts, [])
            confirmed_here = [
                e for e in confirmed if e.scenario == scenario
                and _parts(study, scenario, e.params, keys, bins) == parts
            ]  # fmt: skip
            entry = _representative(study, confirmed_here, rows)
            if entry is None:
                entry = _unmeasured(study, scenario, rows, asked.get(parts, {}))
            group: dict[str, Any] = {
                "label": ", ".join(part or "any" for part in parts), "trials": len(rows),
                "searched": sum(row.epochs for row in rows),
                "has_baseline_value": parts == baseline,
            }  # fmt: skip
            entries.append(replace(entry, **group))
            entries += [replace(e, **group, is_extra=True) for e in confirmed_here
                        if e.is_baseline and e.number != entry.number]  # fmt: skip
    return entries


def _in_order(asked: Iterable[Parts], tried: Iterable[Parts]) -> list[Parts]:
    """Return the tried values as the space file lists them, with those that were not tried."""
    ordered: dict[Parts, None] = {}
    for wanted in asked:
        ordered |= dict.fromkeys([parts for parts in tried if _covers(wanted, parts)] or [wanted])
    return list(ordered | dict.fromkeys(tried))


def _covers(wanted: Parts, parts: Parts) -> bool:
    return all(want in (None, part) for want, part in zip(wanted, parts, strict=True))


def _representative(
    study: Reviewed, confirmed: Sequence[ComparedEntry], rows: Sequence[TrialRow]
) -> ComparedEntry | None:
    """Return the best configuration of a value; None if nothing was measured."""
    winners = [e for e in confirmed if e.role != "baseline"]
    if winners:
        return max(winners, key=lambda e: standing(_objective_scores(e) or [0.0]))
    best = best_trial(study, rows)
    baseline = next(iter(confirmed), None)
    if best is None or baseline is None or best.number == baseline.number:
        return baseline or best
    # the search ranked the baseline, unless it stopped the baseline's trial
    ranked = any(row.number == baseline.number and row.score is not None for row in rows)
    behind = ranked or _mean(baseline) < _mean(best)
    return best if behind else baseline


def _objective_scores(entry: ComparedEntry) -> list[float]:
    return list(entry.scores(entry.objective).values())


def _mean(entry: ComparedEntry) -> float:
    scores = _objective_scores(entry)
    return statistics.fmean(scores) if scores else -math.inf


def _unmeasured(
    study: Reviewed, scenario: str, rows: Sequence[TrialRow], params: Mapping[str, Any]
) -> ComparedEntry:
    """Return an entry without seeds, whose state is that of the trial that came furthest."""
    if not rows:
        return replace(new_entry(study, scenario, None, "trial", params), state="not tried")
    ends = list(_ENDS)
    row = min(rows, key=lambda r: (ends.index(r.state), -(_so_far(r) or 0.0), r.number))
    score = _so_far(row)
    state = _ENDS[row.state]
    if row.state != "complete":
        epoch = max(row.scores, default=row.epochs)
        state += f" at epoch {epoch}" if epoch else ""
    state += "" if score is None else f" ({percent(score)})"
    entry = new_entry(study, scenario, row.number, "trial", row.params)
    return replace(entry, state=state, so_far=score)


def _so_far(row: TrialRow) -> float | None:
    return max(row.scores.values(), default=None) if row.score is None else row.score


def _asked(
    study: Reviewed, scenario: str, keys: Sequence[str], bins: Mapping[str, Sequence[float]]
) -> dict[Parts, Mapping[str, Any]]:
    """Return every value that the space file offers, with parameters that have it."""
    tuned = study.space.tuned
    ranges = {key for key in keys if key in tuned
              and (bins.get(key) or tuned[key].kind != "categorical")}  # fmt: skip
    asked: dict[Parts, Mapping[str, Any]] = {}
    seen = set()
    for params in study.space.contexts():
        chosen = tuple(repr(params.get(key)) for key in keys if key not in ranges)
        missing = tuple(key in params for key in keys)
        if (chosen, missing) in seen:  # to make a configuration takes time
            continue
        seen.add((chosen, missing))
        open_keys = {key for key in ranges if key in params}
        parts = [
            None if key in open_keys else _part(study, scenario, params, key, bins) for key in keys
        ]
        asked.setdefault(tuple(parts), params)
    return asked if any(set(parts) != {None} for parts in asked) else {}


def _baseline_parts(
    study: Reviewed, scenario: str, keys: Sequence[str], bins: Mapping[str, Sequence[float]]
) -> Parts | None:
    """Return the value of the first entry of `start_from`, trained or not.

    Return None if there is no such entry, or if no key is a parameter, so that any entry has it.
    """
    if not study.space.start_from or not any(key in PARAMETERS for key in keys):
        return None
    first = [row.params for row in study.trials if (row.scenario, row.number) == (scenario, 0)]
    return _parts(study, scenario, (first or study.space.start_from)[0], keys, bins)


def _parts(
    study: Reviewed, scenario: str, params: Mapping[str, Any], keys: Sequence[str],
    bins: Mapping[str, Sequence[float]],
) -> Parts:  # fmt: skip
    return tuple(_part(study, scenario, params, key, bins) for key in keys)


def _part(
    study: Reviewed, scenario: str, params: Mapping[str, Any], key: str,
    bins: Mapping[str, Sequence[float]],
) -> str:  # fmt: skip
    if key == "study":
        return study.folder.root.name
    if key == "scenario":
        return study.titles[scenario]
    value = _value(study, scenario, params, key)
    return _in_bin(value, bins[key]) if bins.get(key) else text_of(value)


def _value(study: Reviewed, scenario: str, params: Mapping[str, Any], path: str) -> Any:
    if path in params:
        return params[path]
    return study.space.config(study.space.scenario(scenario), params).get(path)


def _bins(study: Reviewed, path: str) -> list[float]:
    """Return borders of ranges with equally many trials; none for a parameter of few values."""
    values = sorted(row.params[path] for row in study.trials if path in row.params
                    and isinstance(row.params[path], float))  # fmt: skip
    if len(set(values)) <= _MANY:
        return []
    return [values[round(i * (len(values) - 1) / _BINS)] for i in range(_BINS + 1)]


def _in_bin(value: float, borders: Sequence[float]) -> str:
    place = sum(value > border for border in borders[1:-1])
    return f"{borders[place]:.2g} to {borders[place + 1]:.2g}"
