"""Compute the Pareto front of points; in every coordinate, higher is better."""

from __future__ import annotations

from collections.abc import Sequence

Point = Sequence[float]


def pareto_front(points: Sequence[Point], *, equals: bool = False) -> list[int]:
    """Return the indices of the points that no other point beats, in ascending order.

    One point beats another if it is at least as good in every coordinate and better in one.

    Args:
        points: each with the same number of coordinates.
        equals: whether to keep all equal points, or only the first of them.
    """
    # In this order no point beats an earlier one. A point that is beaten is also beaten by a point
    # of the front.
    best_first = sorted(range(len(points)), key=lambda i: tuple(-value for value in points[i]))
    front: list[int] = []
    for place in best_first:
        if not any(_rules_out(points[other], points[place], equals) for other in front):
            front.append(place)
    return sorted(front)


def _rules_out(one: Point, other: Point, equals: bool) -> bool:
    pairs = list(zip(one, other, strict=True))
    if any(a < b for a, b in pairs):
        return False
    return not equals or any(a > b for a, b in pairs)
