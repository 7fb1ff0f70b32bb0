"""Find the row that the others are tested against. No score chooses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ltat_tune.comparison.entries import ComparedEntry
from ltat_tune.errors import StudyError

BASELINE = "baseline"  # what `--against` takes besides the names of rows


@dataclass(frozen=True)
class Reference:
    """The row that the others are tested against, in words such as `cross_entropy, the baseline`.

    Attributes:
        entry: the row; None if no row is tested.
        words: what to call it, or why no row is tested.
    """

    entry: ComparedEntry | None
    words: str


def find_reference(entries: Sequence[ComparedEntry], metric: str, against: str) -> Reference:
    """Return the row of one block that `--against` names, by default the baseline's.

    Args:
        entries: the rows, in the order of the space file.
        metric: the metric that is tested.
        against: a row's label or name, `baseline`, or empty.
    """
    if against:
        named = _named(entries, against)
        measured = [entry for entry in named if entry.scores(metric)]
        if measured:
            return Reference(measured[0], _words(measured[0]))
        why = _why_not(named[0], metric) if named else "is not among the rows"
        return Reference(None, f"no row is tested: {against} {why}")
    ours = [entry for entry in entries if entry.scores(metric)]
    if not ours:
        return Reference(None, "")
    if baselines := _named(ours, BASELINE):
        return Reference(baselines[0], _words(baselines[0]))
    if ours[0].label == ours[0].study:
        return Reference(ours[0], f"{ours[0].row}, the first study named")
    lost = _named(entries, BASELINE)
    why = f"the baseline {_why_not(lost[0], metric)}" if lost else "no row has the baseline"
    if any(entry.label for entry in ours):
        first, order = ours[0], "the first row in the order of the space file"
    else:
        first, order = min(ours, key=lambda e: e.number or 0), "the first trial of these rows"
    return Reference(first, f"{first.row}, {order} ({why})")


def check_against(
    blocks: Sequence[Sequence[ComparedEntry]], metric: str, against: str, *, across: bool
) -> None:
    """Refuse an `--against` that no block can use. Raises: StudyError."""
    if not against:
        return
    if across:
        raise StudyError(f"--against {against}: these rows are different problems, so no row is "
                         "tested against another; leave --against out")  # fmt: skip
    rows = [entry for block in blocks for entry in block]
    named = _named(rows, against)
    if any(entry.scores(metric) for entry in named):
        return
    choices = dict.fromkeys(e.row for e in rows if e.scores(metric))
    if any(e.scores(metric) for e in _named(rows, BASELINE)):
        choices = {BASELINE: None, **choices}
    why = _why_not(named[0], metric) if named else "is not among the rows"
    raise StudyError(f"--against {against} {why}; choose from {', '.join(choices)}")


def _named(entries: Sequence[ComparedEntry], word: str) -> list[ComparedEntry]:
    """Return the rows that a word of `--against` names, the baseline itself first."""
    if word == BASELINE:
        rows = [entry for entry in entries if entry.is_baseline or entry.has_baseline_value]
        return sorted(rows, key=lambda entry: not entry.is_baseline)
    return [entry for entry in entries if word in (entry.row, entry.name, entry.trial)]


def _why_not(entry: ComparedEntry, metric: str) -> str:
    return f"was not measured ({entry.state or f'it has no {metric}'})"


def _words(entry: ComparedEntry) -> str:
    if entry.is_baseline and not entry.is_extra:
        return f"{entry.row}, the baseline"
    has_value = entry.has_baseline_value and not entry.is_extra
    return f"{entry.row}, the baseline's value" if has_value else entry.row
