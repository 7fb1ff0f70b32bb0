"""Who won a scenario by how much: decided here once, for the terminal, MLflow and the report."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from ltat_tune.results.model import ScenarioResults, StudyResults
from ltat_tune.results.wording import certainty, mean_std

SMOKE = "smoke run: the file runs, and these numbers mean nothing"
ITSELF = "it is the baseline itself, which nothing beat"
_GUESSING = 1.1  # times the accuracy of guessing


@dataclass(frozen=True)
class WinnerVerdict:
    """What can be said of a scenario's winner, in parts that a page joins to its sentence.

    Attributes:
        score: `67.9 ± 2.5`, the objective in percent.
        is_baseline: whether the winner is the baseline itself.
        baseline_score: the baseline's; None where there is none beside the winner.
        gain: over it, points.
        certainty: of that gain, in words; empty where it was not tested.
        guessing: that the score is no better than guessing, or empty.
        selected_on_test: whether it was chosen on the test images.
    """

    score: str
    is_baseline: bool
    baseline_score: str | None
    gain: float
    certainty: str
    guessing: str
    selected_on_test: bool


def verdict_of(results: StudyResults, scenario: ScenarioResults) -> WinnerVerdict | None:
    """Return the verdict on a scenario, or None without a winner."""
    winner, metric = scenario.winner, results.objective
    if winner is None:
        return None
    scores = winner.val[metric]
    rival, lead = scenario.rival, scenario.leads.baseline
    others = rival.scores("val", metric) if rival is not None else []
    classes = len(winner.samples_per_class)
    balanced = metric.endswith("_balanced_acc")
    return WinnerVerdict(
        score=mean_std(scores),
        is_baseline=scenario.baseline is not None and rival is None,
        baseline_score=mean_std(others) if others else None,
        gain=100 * (statistics.fmean(scores) - statistics.fmean(others)) if others else 0.0,
        certainty=certainty(lead) if lead is not None else "",
        guessing=f"no better than guessing one of {classes} classes: train longer"
        if balanced and statistics.fmean(scores) < _GUESSING / classes else "",
        selected_on_test=results.selected_on_test,
    )  # fmt: skip


def sentences(results: StudyResults) -> list[str]:
    """Return one sentence for each scenario that has a winner; of a smoke run what it is."""
    if results.smoke:
        return [SMOKE]
    verdicts = ((scenario, verdict_of(results, scenario)) for scenario in results.scenarios)
    return [_sentence(results, scenario, found) for scenario, found in verdicts if found]


def _sentence(results: StudyResults, scenario: ScenarioResults, found: WinnerVerdict) -> str:
    method = "the winner"
    if scenario.winner is not None:
        method = scenario.winner.params.get("method.name", method)
    text = f"{scenario.title}: {method} reaches {found.score} % {results.objective}"
    if found.baseline_score is not None:
        text += f", {found.gain:+.1f} points against the baseline's {found.baseline_score} %"
        text += f" ({found.certainty})" if found.certainty else ""
    caveats = [
        ITSELF if found.is_baseline else "",
        found.guessing,
        "selected on the test images, so optimistic" if found.selected_on_test else "",
    ]
    return "; ".join([text, *filter(None, caveats)])
