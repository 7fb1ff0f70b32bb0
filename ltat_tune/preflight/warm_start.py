"""`warm_start`: what an earlier study found, as points and ranges for this one to start from.

The earlier study is only read, once, when this one is made. What is taken goes into this study's
own space file, so a resume does not need the earlier one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ltat_tune.config.fields import rule_sentence
from ltat_tune.config.scalars import shown
from ltat_tune.space.domains import Domain, sampling_order
from ltat_tune.space.space import Scenario, Space, text_of
from ltat_tune.space.spec import WarmStart
from ltat_tune.space.start_points import read_start

if TYPE_CHECKING:
    from ltat_tune.preflight.previous_study import PreviousStudy, PreviousTrial
    from ltat_tune.space.problems import Problems


_LEAST_COMPLETE = 8  # trials whose best quarter says anything about a range
_WIDER = 0.25  # of its span, on both sides


@dataclass
class Lent:
    """What is taken of an earlier study, and what is to be said of it."""

    points: dict[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    ranges: dict[str, Domain] = field(default_factory=dict)  # of narrowed parameters
    notes: list[str] = field(default_factory=list)


def read_warm_start(raw: Any, problems: Problems) -> WarmStart | None:
    """The `warm_start` of a space file, or None if it is wrong."""
    fields = ", ".join(WarmStart.model_fields)
    if not isinstance(raw, dict):
        example = "{study: studies/srat, best: 3}"
        problem = f"warm_start must be a mapping such as {example}, got {shown(raw)}"
        problems.add(("warm_start",), problem)
        return None
    if "study" not in raw:
        problems.add(("warm_start",), "warm_start must name the folder of a study: study: PATH")
        return None
    try:
        return WarmStart.model_validate(raw)
    except ValidationError as error:
        for details in error.errors():
            key = str(details["loc"][0])
            text = f"warm_start.{key} {rule_sentence(details)}"
            if details["type"] == "extra_forbidden":
                text = f"unknown key warm_start.{key}; warm_start has {fields}"
            problems.add(("warm_start", key), text)
        return None


def lend(space: Space, spec: WarmStart, problems: Problems) -> Lent:
    """What `spec` brings into a space that is otherwise read; problems go into `problems`."""
    if space.searcher.enumerates:
        problems.add(
            ("warm_start",),
            f"warm_start gives a search points to start from, and searcher.name "
            f"{space.searcher.name} searches nothing; write them under start_from, or use tpe",
        )
        return Lent()
    if spec.taken is not None:
        return _again(space, spec, spec.taken, problems)
    from ltat_tune.preflight.previous_study import read_previous  # imports Optuna

    earlier = read_previous(spec.study, problems)
    if earlier is None:
        return Lent()
    if earlier.space.selected_on_test and not space.selected_on_test:
        problems.add(
            ("warm_start", "study"),
            f"warm_start.study {spec.study} chose by its test images (data.val_source test), and "
            "its choice would carry them into this search; lend from a study that validated on "
            "data.val_source train",
        )
        return Lent()
    lent = Lent()
    theirs, ours = earlier.space.objective.metric, space.objective.metric
    if theirs != ours:
        lent.notes.append(f"warm start: {earlier.name} was judged by {theirs}, this is by {ours}")
    if lost := [path for path in earlier.space.tuned if path not in space.tuned]:
        lent.notes.append(f"warm start: {earlier.name} tuned {', '.join(lost)}, this does not")
    for scenario in space.scenarios:
        _take_points(space, scenario, earlier, spec.best, lent)
    if spec.narrow:
        _narrow(space, earlier, lent)
    return lent


def _again(space: Space, spec: WarmStart, taken: dict[str, list[Any]], problems: Problems) -> Lent:
    """What an earlier start of this very study took."""
    lent = Lent()
    names = [scenario.name for scenario in space.scenarios]
    for name, points in taken.items():
        if name not in names:
            problems.add(
                ("warm_start", "taken", name),
                f"warm_start.taken must name scenarios, got {name}; there are {', '.join(names)}",
            )
        lent.points[name] = tuple(
            read_start(point, ("warm_start", "taken", name, str(i)), space.tuned, problems)
            for i, point in enumerate(points)
        )
    count = sum(map(len, lent.points.values()))
    what = "configuration was" if count == 1 else "configurations were"
    lent.notes.append(f"warm start: {count} {what} taken from {spec.study}")
    return lent


def _take_points(
    space: Space, scenario: Scenario, earlier: PreviousStudy, best: int, lent: Lent
) -> None:
    """The best configurations that this scenario can try, each in this study's parameters."""
    found, where = earlier.best_for(scenario)
    points: list[dict[str, Any]] = []
    said: list[str] = []
    out: dict[str, None] = {}
    for candidate in found:
        if len(points) == best:
            break
        point, why = _translate(candidate, space, scenario)
        if why:
            out[f"{candidate.title}: {why}"] = None
        elif point not in points and point not in [dict(start) for start in space.start_from]:
            points.append(point)
            said.append(candidate.title)
    lent.points[scenario.name] = tuple(points)
    took = f"took {', '.join(said)}" if said else "took nothing"
    left = f"; left out {'; '.join(list(out)[:3])}" if out else ""
    more = f" and {len(out) - 3} more" if len(out) > 3 else ""
    lent.notes.append(
        f"warm start of {scenario.title}: {took} of {earlier.name} ({where}){left}{more}"
    )


def _translate(
    found: PreviousTrial, space: Space, scenario: Scenario
) -> tuple[dict[str, Any], str]:
    """A configuration of the earlier study as a point of this one, or why it is none.

    What the earlier study did not tune is taken where it lies in the domain, and else left to
    the searcher.
    """
    here = space.config(scenario, {}).flat()
    for path, value in found.params.items():
        chosen = not isinstance(value, int | float) or isinstance(value, bool)
        if path not in space.tuned and chosen and here[path] != value:
            return {}, f"{path} is {text_of(value)} there and {text_of(here[path])} here"
    there = found.config.flat()
    point: dict[str, Any] = {}
    for path in sampling_order(space.tuned):
        domain = space.tuned[path]
        if not domain.active(point):
            continue
        value = there[path]
        if domain.contains(value):
            point[path] = value
        elif path in found.params:
            return {}, f"{path} {text_of(value)} is not in {domain}"
    return ({}, "it sets nothing that is tuned here") if not point else (point, "")


def _narrow(space: Space, earlier: PreviousStudy, lent: Lent) -> None:
    """Shrinks ranges to the span of the best quarter, a quarter wider on both sides."""
    best: dict[str, PreviousTrial] = {}
    complete = 0
    for scenario in space.scenarios:
        for name, trials in earlier.complete_for(scenario).items():
            quarter = trials[: math.ceil(len(trials) / 4)]
            new = {f"{name}/{found.number}": found for found in quarter}
            complete += 0 if new.keys() <= best.keys() else len(trials)
            best |= new
    if complete < _LEAST_COMPLETE:
        lent.notes.append(
            f"warm start: no range is narrowed, because {earlier.name} has {complete} complete "
            f"trials here, and its best quarter says something from {_LEAST_COMPLETE} on"
        )
        return
    kept = [*space.start_from, *(p for points in lent.points.values() for p in points)]
    for path, domain in space.tuned.items():
        values = [f.params[path] for f in best.values() if path in f.params]
        if domain.kind == "categorical":
            continue
        if len(values) < 2 or any(isinstance(v, bool | str) or v is None for v in values):
            lent.notes.append(
                f"warm start: {path} keeps {domain}, because {len(values)} of the best quarter "
                "had it as a tuned number"
            )
            continue
        narrowed = narrow(domain, values, [start[path] for start in kept if path in start])
        if narrowed == domain:
            lent.notes.append(
                f"warm start: {path} keeps {domain}, which the best quarter fills or is one value"
            )
        else:
            lent.ranges[path] = narrowed
            lent.notes.append(f"warm start: {path} is searched in {narrowed} instead of {domain}")


def narrow(domain: Domain, values: Sequence[float], kept: Sequence[float]) -> Domain:
    """The span of `values`, a quarter wider on both sides, within the domain.

    On a log scale where the domain has one; on its steps; and never so narrow that one of `kept`
    lies outside. The domain itself where the values are one value.
    """
    inside = [value for value in values if domain.low <= value <= domain.high]
    if not inside or min(inside) == max(inside):
        return domain
    to, back = (math.log, math.exp) if domain.log else (float, float)
    low, high = to(min(inside)), to(max(inside))
    wider = _WIDER * (high - low)
    edges = [back(low - wider), back(high + wider)]
    low, high = min([edges[0], *kept]), max([edges[1], *kept])
    step = domain.step or (1 if domain.kind == "int" else None)
    if step is not None:
        low = domain.low + step * math.floor((low - domain.low) / step + 1e-9)
        high = domain.low + step * math.ceil((high - domain.low) / step - 1e-9)
    else:
        low, high = float(f"{low:.6g}"), float(f"{high:.6g}")
        low, high = min([low, *kept]), max([high, *kept])
    return replace(domain, low=max(domain.low, low), high=min(domain.high, high))


def write_taken(document: dict[str, Any], spec: WarmStart, lent: Lent) -> None:
    """Puts what was taken into the document that a resume reads."""
    document["warm_start"] = {
        **spec.model_dump(exclude={"taken"}),
        "taken": {name: [dict(p) for p in points] for name, points in lent.points.items()},
    }
    for path, domain in lent.ranges.items():
        whole = int if domain.kind == "int" else float
        document["tuned"][path]["low"] = whole(domain.low)
        document["tuned"][path]["high"] = whole(domain.high)


def with_warm_start(space: Space, problems: Problems) -> Space:
    """Return the space with the points and ranges of an earlier study, if it asks for any."""
    if "warm_start" not in space.document:
        return space
    spec = read_warm_start(space.document["warm_start"], problems)
    if spec is None:
        return space
    lent = lend(space, spec, problems)
    document = copy.deepcopy(dict(space.document))
    write_taken(document, spec, lent)
    return replace(
        space,
        tuned={**space.tuned, **lent.ranges},
        warm_starts=lent.points,
        notes=tuple(lent.notes),
        document=document,
    )
