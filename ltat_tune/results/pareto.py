"""The Pareto front of points, of which every coordinate is the better the higher it is."""

from __future__ import annotations

from collections.abc import Sequence

Point = Sequence[float]


def pareto_front(points: Sequence[Point], *, equals: bool = False) -> list[int]:
    """Return the places of the points that no other beats, in their order.

    One point beats another if it is at least as good in every coordinate and better in one.

    Args:
        points: all of as many coordinates.
        equals: keep all of equal points; else the first of them stands for all.
    """
    # nothing beats what comes before it in this order, and what beats a point is on the front or
    # beaten by one that is
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
