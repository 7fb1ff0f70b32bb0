"""`warm_start`: takes points and ranges from an earlier study for this one to start from.

The earlier study is read once, when this study is created, and never written. The points and
ranges go into this study's own space file, so a resume does not need the earlier study.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from ltat_tune.config.fields import rule_sentence
from ltat_tune.config.scalars import shown
from ltat_tune.search.predict.surrogate import spread
from ltat_tune.space.domains import Domain, sampling_order
from ltat_tune.space.space import Scenario, Space, text_of
from ltat_tune.space.spec import WarmStart
from ltat_tune.space.start_points import read_start

if TYPE_CHECKING:
    from ltat_tune.preflight.previous_study import PreviousStudy, PreviousTrial
    from ltat_tune.space.problems import Problems


_LEAST_LEARNED, _MOST_LEARNED = 3, 60  # trials of an earlier scenario to learn from
_LEAST_COMPLETE = 8  # with fewer trials, the best quarter tells nothing about a range
_WIDER = 0.25  # share of the span, added on both sides


@dataclass
class Lent:
    """The points and ranges taken from an earlier study, with notes about them."""

    points: dict[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    learned: dict[str, list[list[dict[str, Any]]]] = field(default_factory=dict)  # as written
    ranges: dict[str, Domain] = field(default_factory=dict)  # by narrowed parameter
    notes: list[str] = field(default_factory=list)


def read_warm_start(raw: Any, problems: Problems) -> WarmStart | None:
    """Read the `warm_start` section of a space file; return None if it is wrong."""
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
    """Return what `spec` adds to a space that is otherwise read; problems go into `problems`."""
    if space.searcher.enumerates:
        problems.add(
            ("warm_start",),
            f"warm_start gives a search its first points, but searcher.name "
            f"{space.searcher.name} does not search; write them under start_from, or use tpe",
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
            f"warm_start.study {spec.study} selected on its test images (data.val_source test), "
            "so its choice would leak them into this search; name a study that validated on "
            "data.val_source train",
        )
        return Lent()
    loan = Lent()
    theirs, ours = earlier.space.objective.metric, space.objective.metric
    if theirs != ours:
        text = f"warm start: {earlier.name} was judged by {theirs}, this study by {ours}"
        loan.notes.append(text)
    if lost := [path for path in earlier.space.tuned if path not in space.tuned]:
        text = f"warm start: {earlier.name} tuned {', '.join(lost)}; this study does not"
        loan.notes.append(text)
    for scenario in space.scenarios:
        _take_points(space, scenario, earlier, spec.best, loan)
        if space.searcher.name == "predict":
            _learn(space, scenario, earlier, loan)
    if spec.narrow:
        _narrow(space, earlier, loan)
    return loan


def _again(space: Space, spec: WarmStart, taken: dict[str, list[Any]], problems: Problems) -> Lent:
    """Return the points that an earlier start of this same study took."""
    loan = Lent()
    names = [scenario.name for scenario in space.scenarios]
    for name, points in taken.items():
        if name not in names:
            problems.add(
                ("warm_start", "taken", name),
                f"warm_start.taken must name scenarios, got {name}; choose from: "
                f"{', '.join(names)}",
            )
        loan.points[name] = tuple(
            read_start(point, ("warm_start", "taken", name, str(i)), space.tuned, problems)
            for i, point in enumerate(points)
        )
    loan.learned = spec.learned or {}
    count = sum(map(len, loan.points.values()))
    what = "configuration was" if count == 1 else "configurations were"
    loan.notes.append(f"warm start: {count} {what} taken from {spec.study}")
    return loan


def _take_points(
    space: Space, scenario: Scenario, earlier: PreviousStudy, best: int, loan: Lent
) -> None:
    """Take the best configurations that this scenario can try, each in this study's parameters."""
    candidates, where = earlier.best_for(scenario)
    points: list[dict[str, Any]] = []
    titles: list[str] = []
    out: dict[str, None] = {}
    for candidate in candidates:
        if len(points) == best:
            break
        point, why = _translate(candidate, space, scenario)
        if why:
            out[f"{candidate.title}: {why}"] = None
        elif point not in points and point not in [dict(start) for start in space.start_from]:
            points.append(point)
            titles.append(candidate.title)
    loan.points[scenario.name] = tuple(points)
    took = f"took {', '.join(titles)}" if titles else "took nothing"
    left = f"; left out {'; '.join(list(out)[:3])}" if out else ""
    more = f" and {len(out) - 3} more" if len(out) > 3 else ""
    loan.notes.append(
        f"warm start of {scenario.title}: {took} of {earlier.name} ({where}){left}{more}"
    )


def _learn(space: Space, scenario: Scenario, earlier: PreviousStudy, loan: Lent) -> None:
    """Take the scores of complete trials whose every parameter is searched here too.

    Of each earlier scenario, at most so many: the best half, and of the others every n-th.
    """
    problems = []
    for trials in earlier.complete_for(scenario).values():
        known = []
        for trial in trials:
            point, _ = _translate(trial, space, scenario)
            active = [path for path in space.tuned if space.tuned[path].active(point)]
            if point and all(path in point for path in active):
                known.append({"params": point, "score": round(trial.score, 5)})
        places = spread(np.array([one["score"] for one in known], dtype=float), _MOST_LEARNED)
        if len(known) >= _LEAST_LEARNED:
            problems.append([known[place] for place in places])
    if problems:
        loan.learned[scenario.name] = problems
        count = sum(map(len, problems))
        loan.notes.append(
            f"warm start of {scenario.title}: predict learns from {count} trials of {earlier.name}"
        )


def _translate(
    trial: PreviousTrial, space: Space, scenario: Scenario
) -> tuple[dict[str, Any], str]:
    """Return a configuration of the earlier study as a point of this one, and why it cannot be
    one.

    The point is empty if there is a reason. A value that the earlier study did not tune is taken
    if it lies in the domain; otherwise the searcher proposes one.
    """
    here = space.config(scenario, {}).flat()
    for path, value in trial.params.items():
        chosen = not isinstance(value, int | float) or isinstance(value, bool)
        if path not in space.tuned and chosen and here[path] != value:
            return {}, f"{path} was {text_of(value)} there and is {text_of(here[path])} here"
    there = trial.config.flat()
    point: dict[str, Any] = {}
    for path in sampling_order(space.tuned):
        domain = space.tuned[path]
        if not domain.active(point):
            continue
        value = there[path]
        if domain.contains(value):
            point[path] = value
        elif path in trial.params:
            return {}, f"{path} {text_of(value)} lies outside {domain}"
    return ({}, "it sets no parameter that is tuned here") if not point else (point, "")


def _narrow(space: Space, earlier: PreviousStudy, loan: Lent) -> None:
    """Shrink ranges to the span of the best quarter, widened by a quarter on both sides."""
    best: dict[str, PreviousTrial] = {}
    complete = 0
    for scenario in space.scenarios:
        for name, trials in earlier.complete_for(scenario).items():
            quarter = trials[: math.ceil(len(trials) / 4)]
            new = {f"{name}/{trial.number}": trial for trial in quarter}
            complete += 0 if new.keys() <= best.keys() else len(trials)
            best |= new
    if complete < _LEAST_COMPLETE:
        loan.notes.append(
            f"warm start: no range is narrowed, because {earlier.name} has {complete} complete "
            f"trials here; that takes at least {_LEAST_COMPLETE}"
        )
        return
    kept = [*space.start_from, *(p for points in loan.points.values() for p in points)]
    for path, domain in space.tuned.items():
        values = [f.params[path] for f in best.values() if path in f.params]
        if domain.kind == "categorical":
            continue
        if len(values) < 2 or any(isinstance(v, bool | str) or v is None for v in values):
            loan.notes.append(
                f"warm start: {path} keeps {domain}, because {len(values)} trials of the best "
                "quarter tuned it as a number"
            )
            continue
        narrowed = narrow(domain, values, [start[path] for start in kept if path in start])
        if narrowed == domain:
            loan.notes.append(
                f"warm start: {path} keeps {domain}: the best quarter spans it or has one value"
            )
        else:
            loan.ranges[path] = narrowed
            loan.notes.append(f"warm start: {path} is searched in {narrowed} instead of {domain}")


def narrow(domain: Domain, values: Sequence[float], kept: Sequence[float]) -> Domain:
    """Return the domain shrunk to the span of `values`, widened by a quarter on both sides.

    The result keeps the domain's log scale and steps, stays within the domain and contains every
    value in `kept`. If all values are equal, it is the domain itself.
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
    """Write the taken points and ranges into the document that a resume reads."""
    document["warm_start"] = {
        **spec.model_dump(exclude={"taken", "learned"}),
        "taken": {name: [dict(p) for p in points] for name, points in lent.points.items()},
        **({"learned": lent.learned} if lent.learned else {}),
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
    loan = lend(space, spec, problems)
    document = copy.deepcopy(dict(space.document))
    write_taken(document, spec, loan)
    return replace(
        space,
        tuned={**space.tuned, **loan.ranges},
        warm_starts=loan.points,
        lent={
            name: [[(one["params"], float(one["score"])) for one in trials] for trials in problems]
            for name, problems in loan.learned.items()
        },
        notes=tuple(loan.notes),
        document=document,
    )
