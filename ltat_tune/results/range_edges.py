"""Find winners at the edge of a searched range, and propose a wider range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.results.model import RangeEdge
from ltat_tune.space.domains import Domain

_EDGE = 0.05  # share of a range, on its scale
_WIDER = 0.5  # share of its own length by which a range is widened


def edges(tuned: Mapping[str, Domain], params: Mapping[str, Any]) -> list[RangeEdge]:
    """Return the values that lie on the edge of their range, each with a wider range to paste.

    The edge is the outer twentieth of a range, on a log scale if the search used one. The new
    range extends half its length beyond that edge, as far as the parameter allows. A parameter
    that allows nothing wider is left out.
    """
    range_edges = []
    for path, value in params.items():
        domain = tuned[path]
        if domain.kind == "categorical":
            continue
        low, high, at = (_scaled(domain, v) for v in (domain.low, domain.high, float(value)))
        share = (at - low) / (high - low)
        side = "low" if share <= _EDGE else "high" if share >= 1 - _EDGE else None
        if side is None:
            continue
        reach = _WIDER * (high - low)
        beyond = _unscaled(domain, low - reach if side == "low" else high + reach)
        wider = _allowed(domain, beyond, side)
        if wider is not None:
            ends = {"low": domain.low, "high": domain.high, side: wider}
            range_edges.append(
                RangeEdge(path=path, value=value, side=side, yaml=_yaml(domain, ends))
            )
    return range_edges


def _scaled(domain: Domain, value: float) -> float:
    return math.log(value) if domain.log else value


def _unscaled(domain: Domain, value: float) -> float:
    return math.exp(value) if domain.log else value


def _allowed(domain: Domain, target: float, side: str) -> float | None:
    """Return the end nearest to `target` that the parameter allows; None if it is no wider."""
    parameter, old = PARAMETERS[domain.path], getattr(domain, side)
    if domain.step is not None or domain.kind == "int":
        step = domain.step or 1
        target = old + step * math.ceil(abs(target - old) / step) * (1 if side == "high" else -1)
    else:
        target = float(f"{target:.2g}")
    for end in (target, parameter.low if side == "low" else parameter.high):
        wider = end is not None and (end < old if side == "low" else end > old)
        if wider and end is not None and parameter.check(_typed(domain, end))[1] is None:
            return None if domain.log and end <= 0 else end
    return None


def _typed(domain: Domain, value: float) -> float | int:
    return round(value) if domain.kind == "int" else value


def _yaml(domain: Domain, ends: Mapping[str, float]) -> str:
    parts = [f"type: {domain.kind}"]
    parts += [f"{side}: {_typed(domain, ends[side]):g}" for side in ("low", "high")]
    parts += ["log: true"] if domain.log else []
    parts += [f"step: {domain.step:g}"] if domain.step is not None else []
    if domain.when:
        rules = ", ".join(f"{p}: [{', '.join(map(str, v))}]" for p, v in domain.when.items())
        parts.append(f"when: {{{rules}}}")
    return f"{domain.path}: {{{', '.join(parts)}}}"
