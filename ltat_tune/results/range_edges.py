"""Winners on the edge of what was searched, and where to search wider."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.results.model import RangeEdge
from ltat_tune.space.domains import Domain

_EDGE = 0.05  # of a range, on its scale
_WIDER = 0.5  # by how much of itself a range is widened


def edges(tuned: Mapping[str, Domain], params: Mapping[str, Any]) -> list[RangeEdge]:
    """Return values that lie on the edge of what was searched, each with a wider range to paste.

    The edge is the outer twentieth of a range, on a log scale where it was searched so. The new
    range is half as long again beyond that edge, as far as the parameter allows; where it allows
    nothing more there is nothing to say.
    """
    found = []
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
            found.append(RangeEdge(path=path, value=value, side=side, yaml=_yaml(domain, ends)))
    return found


def _scaled(domain: Domain, value: float) -> float:
    return math.log(value) if domain.log else value


def _unscaled(domain: Domain, value: float) -> float:
    return math.exp(value) if domain.log else value


def _allowed(domain: Domain, wanted: float, side: str) -> float | None:
    """The end nearest to `wanted` that the parameter allows; None if that is no wider."""
    parameter, old = PARAMETERS[domain.path], getattr(domain, side)
    if domain.step is not None or domain.kind == "int":
        step = domain.step or 1
        wanted = old + step * math.ceil(abs(wanted - old) / step) * (1 if side == "high" else -1)
    else:
        wanted = float(f"{wanted:.2g}")
    for end in (wanted, parameter.low if side == "low" else parameter.high):
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
