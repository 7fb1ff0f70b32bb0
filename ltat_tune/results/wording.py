"""Put numbers and findings into words for the terminal, MLflow, cards and the report."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ltat_tune.presentation.units import percent
from ltat_tune.results.model import Lead, TrialCounts
from ltat_tune.results.race.choice import ChoiceCounts
from ltat_tune.storage.training_files import MaskingReport

CHANCE = "chance: of its best configuration to be truly the best, given noise and trials."
SPREAD = "± is the standard deviation over the seeds."  # stands under every table that has a ±


def mean_std(values: Sequence[float]) -> str:
    """Return `41.2 ± 0.4`: mean and sample standard deviation in percent; no ± for one seed."""
    if not values:
        return "-"
    text = percent(statistics.fmean(values))
    return f"{text} ± {percent(statistics.stdev(values))}" if len(values) > 1 else text


def tested_part(images: int | None) -> str:
    """Return on which part of the test images a study tests; empty if it tests on all."""
    if images is None:
        return ""
    return f"tested on a class-balanced part of {images} test images, the same for every model"


def masking_line(report: MaskingReport) -> str:
    """Return the sentinel's verdict: `clear (9 checks)`, or the most serious finding."""
    if report.right == 0:
        return report.headline
    triggered = report.triggered
    if not triggered:
        return f"{report.verdict} ({len(report.checks)} checks)"
    worst = next((check for check in triggered if check.severity == "serious"), triggered[0])
    return f"{report.verdict}: {worst.sentence}"


def points(value: float) -> str:
    """Return a fraction in points, `2.6 points`."""
    return f"{percent(value)} points"


def interval(lead: Lead) -> str:
    """Return `95 % interval -0.9 to 3.1, p = 0.25`, or why there is none."""
    if lead.low is None or lead.high is None:
        return f"no interval: {lead.test.removeprefix('none: ')}"
    ends = f"95 % interval {percent(lead.low, sign='+')} to {percent(lead.high, sign='+')}"
    p = "every answer is the same" if lead.p is None else p_value(lead.p)
    others = "; the seeds disagree, so each one's lead is that of what the others chose"
    return f"{ends}, {p}{others if lead.by_others else ''}"


def lead_clause(lead: Lead, other: str) -> str:
    """Return what a lead says: `beats the baseline by 3.1 points (95 % interval ...)`.

    It says "beats" only of a lead beyond chance.
    """
    size = points(abs(lead.gain))
    if lead.is_settled:
        verb = f"beats {other} by {size}" if lead.gain > 0 else f"is {size} worse than {other}"
        return f"{verb} ({interval(lead)})"
    if percent(abs(lead.gain)) == "0.0":
        verb = f"is level with {other}"
    else:
        verb = f"leads {other} by {size}" if lead.gain > 0 else f"is {size} behind {other}"
    return f"{verb}, not settled ({interval(lead)})"


def power(lead: Lead) -> str:
    """Return what would settle an unsettled lead, or an empty string.

    Such as `with 3 seeds and 400 images, a lead below about 2.5 points cannot be settled; 9 seeds
    would settle this one`.
    """
    if lead.is_settled or lead.settles is None:
        return ""
    text = (
        f"with {lead.seeds} seeds and {lead.images} images, a lead below about "
        f"{points(lead.settles)} cannot be settled"
    )
    if lead.seeds_needed is not None:
        return f"{text}; about {lead.seeds_needed} seeds would settle one of this size"
    return f"{text}; more seeds alone would not settle one of this size, more test images may"


def p_value(p: float) -> str:
    """Return `p = 0.03`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def trial_ends(trials: TrialCounts) -> str:
    """Return `12 trials: 4 complete, 7 stopped early, 1 failed, 0 diverged`."""
    return (
        f"{trials.total} trials: {trials.complete} complete, {trials.pruned} stopped early, "
        f"{trials.failed} failed, {trials.diverged} diverged"
    )


def race_rows(choices: Sequence[ChoiceCounts]) -> list[list[str]]:
    """Return a row for each choice: trials, whole ones, epochs, best score, chance to be best."""
    rows = []
    for one in choices:
        whole = f"{one.complete} ({one.owed} owed)" if one.owed else str(one.complete)
        best = percent(one.best, missing="-")
        chance = percent(one.chance, 0, missing="-")
        rows.append([f"{one.path} {one.choice}", str(one.trials), whole, str(one.epochs), best,
                     chance])  # fmt: skip
    return rows
