"""State who won a scenario, and by how much, for the terminal, MLflow and the report."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from ltat_tune.results.model import ScenarioResults, StudyResults
from ltat_tune.results.wording import certainty, mean_std

SMOKE = "smoke run: it shows that the file runs, and its numbers mean nothing"
ITSELF = "it is the baseline itself, which no other configuration beat"
_GUESSING = 1.1  # times the accuracy of guessing; below this a score counts as guessing


@dataclass(frozen=True)
class WinnerVerdict:
    """The verdict on a scenario's winner, in parts that a page joins to a sentence.

    Attributes:
        score: `67.9 ± 2.5`, the objective in percent.
        is_baseline: whether the winner is the baseline itself.
        baseline_score: the baseline's score; None without a baseline beside the winner.
        gain: the winner's lead over the baseline, in points.
        certainty: how sure that lead is, in words; empty if it was not tested.
        guessing: a warning if the score is no better than guessing, or empty.
        selected_on_test: whether the winner was chosen on the test images.
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
    """Return one sentence for each scenario with a winner; one warning for a smoke run."""
    if results.smoke:
        return [SMOKE]
    verdicts = ((scenario, verdict_of(results, scenario)) for scenario in results.scenarios)
    return [_sentence(results, scenario, verdict) for scenario, verdict in verdicts if verdict]


def _sentence(results: StudyResults, scenario: ScenarioResults, verdict: WinnerVerdict) -> str:
    method = "the winner"
    if scenario.winner is not None:
        method = scenario.winner.params.get("method.name", method)
    text = f"{scenario.title}: {method} reaches {verdict.score} % {results.objective}"
    if verdict.baseline_score is not None:
        text += f", {verdict.gain:+.1f} points against the baseline's {verdict.baseline_score} %"
        text += f" ({verdict.certainty})" if verdict.certainty else ""
    caveats = [
        ITSELF if verdict.is_baseline else "",
        verdict.guessing,
        "selected on the test images, so optimistic" if verdict.selected_on_test else "",
    ]
    return "; ".join([text, *filter(None, caveats)])
