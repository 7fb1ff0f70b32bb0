"""Put numbers and findings into words for the terminal, MLflow, cards and the report."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ltat_tune.results.model import Lead, TrialCounts
from ltat_tune.storage.training_files import MaskingReport


def mean_std(values: Sequence[float]) -> str:
    """Return `41.2 ± 0.4`: mean and sample standard deviation in percent; no ± for one seed."""
    if not values:
        return "-"
    text = f"{100 * statistics.fmean(values):.1f}"
    return f"{text} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else text


def masking_line(report: MaskingReport) -> str:
    """Return the sentinel's verdict: `clear (9 checks)`, or the most serious finding."""
    if report.right == 0:
        return report.headline
    triggered = report.triggered
    if not triggered:
        return f"{report.verdict} ({len(report.checks)} checks)"
    worst = next((check for check in triggered if check.severity == "serious"), triggered[0])
    return f"{report.verdict}: {worst.sentence}"


def certainty(lead: Lead) -> str:
    """Return `paired t-test: p = 0.03, 3 seeds`, or why there is no test."""
    if lead.p is None:
        return "the same with every seed" if lead.gain == 0 else "too few seeds for a test"
    one, other = lead.seeds
    p = p_value(lead.p)
    sure = "" if lead.p < 0.05 else ", which chance may explain"
    seeds = f"{one} and {other}" if lead.test.startswith("Welch") else lead.n
    return f"{lead.test}: {p}{sure}, {seeds} seeds"


def p_value(p: float) -> str:
    """Return `p = 0.03`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def trial_ends(trials: TrialCounts) -> str:
    """Return `12 trials: 4 complete, 7 stopped early, 1 failed, 0 diverged`."""
    return (
        f"{trials.total} trials: {trials.complete} complete, {trials.pruned} stopped early, "
        f"{trials.failed} failed, {trials.diverged} diverged"
    )
