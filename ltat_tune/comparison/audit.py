"""Published numbers that contradict their own paper, another one, or what is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ltat_tune.comparison.published import Published

_ROUNDING = 0.5  # points that two printings of one number may differ
_APART = 7.0  # points between papers that another recipe hardly explains
# the best AutoAttack accuracy on the whole balanced training set, L-inf with 8/255, in percent
_RECORDS = {
    ("cifar100", "resnet18"): (28.88, "the best ResNet-18 of RobustBench, which has a million "
                               "generated images more; 27.67 without them"),
    ("cifar100", "wrn34_10"): (32.52, "the best WRN-34-10 of RobustBench"),
}  # fmt: skip
# names of one method in the tables of one paper
_SAME = {"MCAT-Tz5": "MCAT"}  # 5 steps are its default
_LARGEST = {"cifar10": 5000, "cifar100": 500, "tiny_imagenet": 500}  # images of a class
_WEAKER = {"aa": ("pgd20", "pgd100", "cw20", "cw100"), "pgd20": ("clean",), "pgd100": ("clean",),
           "cw20": ("clean",), "cw100": ("clean",)}  # fmt: skip


def contradictions(rows: Sequence[Published]) -> list[str]:
    """Return a sentence for each number that cannot be as printed, or hardly.

    Four rules: an attack that is at least as strong leaves no more; one paper prints one number
    for one cell; a group holds classes; and no training on a long tail beats what is known on
    the whole balanced data set. Where two papers differ by more than 7 points for the same cell,
    both are named.

    Args:
        rows: printed rows, of one problem or of several.
    """
    found = [
        *(line for row in rows for line in (*_order(row), *_beyond(row), *_empty(row))),
        *(line for one, other in combinations(rows, 2) for line in _twice(one, other)),
    ]
    return list(dict.fromkeys(found))


def _cell(row: Published, attack: str, group: str) -> str:
    which = "" if group == "all" else f", {group}"
    return f"{row.source}: {row.method} at ratio {row.ratio:g}, {attack}{which}"


def _order(row: Published) -> Iterator[str]:
    for (attack, group), (mean, _) in row.scores.items():
        for weaker in _WEAKER.get(attack, ()):
            bound = row.scores.get((weaker, group))
            if bound is not None and mean > bound[0] + _ROUNDING:
                yield (
                    f"{_cell(row, attack, group)} prints {mean:g}, more than the {bound[0]:g} "
                    f"under {weaker}, which is no stronger"
                )


def _beyond(row: Published) -> Iterator[str]:
    record = _RECORDS.get((row.dataset, row.model))
    for group in ("all", "balanced"):  # the test sets are balanced
        mean, _ = row.scores.get(("aa", group), (0.0, None))
        if record is not None and row.ratio > 1 and mean > record[0]:
            yield (
                f"{_cell(row, 'aa', group)} prints {mean:g}, and {record[0]:g} is {record[1]}, on "
                "the whole balanced data set"
            )


def _empty(row: Published) -> Iterator[str]:
    # `tail20` are MCAT's classes with fewer than 20 training images
    largest = _LARGEST.get(row.dataset)
    if largest is None or row.profile != "exp" or largest / row.ratio < 20:
        return
    for (attack, group), (mean, _) in row.scores.items():
        if group == "tail20":
            yield (
                f"{_cell(row, attack, group)} prints {mean:g}, but no class has fewer than 20 "
                f"images: the smallest has {largest / row.ratio:g}"
            )


def _twice(one: Published, other: Published) -> Iterator[str]:
    def place(row: Published) -> tuple[object, ...]:
        name = _SAME.get(row.method, row.method)
        return row.dataset, row.profile, row.ratio, row.model, name, row.loss

    if place(one) != place(other):
        return
    limit = _ROUNDING if one.paper == other.paper else _APART
    for cell in one.scores.keys() & other.scores.keys():
        first, second = one.scores[cell][0], other.scores[cell][0]
        if abs(first - second) > limit:
            where = "" if one.paper == other.paper else ", with another recipe"
            yield (
                f"{_cell(one, *cell)} prints {first:g}, and {other.source} prints {second:g} for "
                f"the same{where}"
            )
