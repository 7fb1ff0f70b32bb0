"""Average every value of `--by` over the problems in which it was measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ltat_tune.comparison.entries import ComparedEntry
from ltat_tune.comparison.significance import Significance, mean_error, sign_test, with_holm


@dataclass(frozen=True)
class Overall:
    """A value of `--by`, averaged over all problems.

    Attributes:
        measured: number of problems in which the value was measured. Unless that is all of them,
            it has no mean and no rank, and the fields below are None.
        mean_rank: among the values that were measured in all problems; 1 is best.
        ahead: number of problems in which the reference is better.
        p: exact sign test over problems, against the reference.
        adjusted: p after Holm's correction for all values.
    """

    label: str
    measured: int
    mean: float | None = None
    mean_rank: float | None = None
    ahead: int | None = None
    p: float | None = None
    adjusted: float | None = None


def over_problems(
    problems: Sequence[Sequence[ComparedEntry]], metric: str, reference: str
) -> list[Overall]:
    """Return a row for every value of any problem, best first; none for fewer than two problems.

    Args:
        problems: the rows of each, in the order of the space file.
        metric: the metric to average.
        reference: the label of the row that the others are tested against; empty for no test.
    """
    problems = [[entry for entry in entries if not entry.is_extra] for entries in problems]
    means = [_means(entries, metric) for entries in problems]
    means = [by_label for by_label in means if by_label]  # a problem that nobody has tried yet
    labels = list(dict.fromkeys(entry.label for entries in problems for entry in entries))
    if len(means) < 2 or len(labels) < 2:
        return []
    counts = {label: sum(label in by_label for by_label in means) for label in labels}
    whole = [label for label in labels if counts[label] == len(means)]
    ranks = {
        label: statistics.fmean(1 + sum(m[o] > m[label] for o in whole) for m in means)
        for label in whole
    }
    averages = {label: statistics.fmean(m[label] for m in means) for label in whole}
    whole.sort(key=lambda label: (ranks[label], -averages[label]))
    others = [label for label in whole if label != reference] if reference in whole else []
    gains = {label: [m[reference] - m[label] for m in means] for label in others}
    tests = with_holm(
        [Significance(None, sign_test(gains[o]), "exact sign test", len(means)) for o in others]
    )
    rows = {label: Overall(label, counts[label], averages[label], ranks[label]) for label in whole}
    for label, test in zip(others, tests, strict=True):
        ahead = sum(gain > 0 for gain in gains[label])
        rows[label] = Overall(
            label, counts[label], averages[label], ranks[label], ahead, test.p, test.adjusted
        )
    partly = [Overall(label, counts[label]) for label in labels if label not in whole]
    return [*rows.values(), *partly]


def _means(entries: Sequence[ComparedEntry], metric: str) -> dict[str, float]:
    """Return label -> mean score of the entries that were measured."""
    means = {e.label: mean_error(list(e.scores(metric).values()))[0] for e in entries}
    return {label: mean for label, mean in means.items() if mean is not None}
