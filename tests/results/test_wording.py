"""Findings in words."""

from __future__ import annotations

from ltat_tune.results.model import Lead, TrialCounts
from ltat_tune.results.wording import certainty, masking_line, mean_std, trial_ends
from ltat_tune.storage.training_files import MaskingCheck, MaskingReport


def _check(triggered: bool, severity: str, sentence: str) -> MaskingCheck:
    return MaskingCheck(title="", triggered=triggered, severity=severity, sentence=sentence)


def _report(verdict: str, *checks: MaskingCheck, right: int = 80) -> MaskingReport:
    headline = f"{verdict}: none of 100 images is answered right"
    return MaskingReport(
        verdict=verdict, images=100, right=right, headline=headline, checks=list(checks)
    )


def test_a_clear_verdict_says_how_many_checks_it_rests_on() -> None:
    checks = (_check(False, "serious", "a"), _check(False, "warning", "b"))
    assert masking_line(_report("clear", *checks)) == "clear (2 checks)"


def test_of_what_speaks_against_it_the_most_serious_is_told() -> None:
    checks = (
        _check(False, "serious", "Square finds less."),
        _check(True, "warning", "CW breaks more."),
        _check(True, "serious", "One step does more harm."),
        _check(True, "serious", "Noise is as good."),
    )
    assert masking_line(_report("masked", *checks)) == "masked: One step does more harm."
    assert masking_line(_report("suspicious", *checks[:2])) == "suspicious: CW breaks more."


def test_a_model_that_answers_nothing_right_is_not_called_clear_by_its_checks() -> None:
    checks = (_check(False, "serious", "a"),)
    assert masking_line(_report("clear", *checks, right=0)) == (
        "clear: none of 100 images is answered right"
    )


def test_a_mean_has_its_deviation_where_there_are_several_seeds() -> None:
    # 0.01 to both sides of the mean: the sample's standard deviation is 0.01 * sqrt(2)
    assert mean_std([0.40, 0.42]) == "41.0 ± 1.4"
    assert mean_std([0.4]) == "40.0"
    assert mean_std([]) == "-"


def test_trials_are_counted_by_how_they_ended() -> None:
    counts = TrialCounts(complete=4, pruned=7, failed=1, diverged=0)
    assert trial_ends(counts) == "12 trials: 4 complete, 7 stopped early, 1 failed, 0 diverged"


def test_a_lead_names_its_test_how_sure_it_is_and_over_how_many_seeds() -> None:
    welch = Lead(number=1, gain=0.1, p=0.29, test="Welch's t-test", n=2, seeds=[3, 2])
    assert certainty(welch) == "Welch's t-test: p = 0.29, which chance may explain, 3 and 2 seeds"
    paired = welch.model_copy(update={"p": 0.034, "test": "paired t-test"})
    assert certainty(paired) == "paired t-test: p = 0.034, 2 seeds"
    assert certainty(paired.model_copy(update={"p": 1e-5})) == "paired t-test: p < 0.001, 2 seeds"
    untested = welch.model_copy(update={"p": None})
    assert certainty(untested) == "too few seeds for a test"
    assert certainty(untested.model_copy(update={"gain": 0.0})) == "the same with every seed"


def test_a_lead_of_a_study_of_before_is_read_too() -> None:
    lead = Lead(gain=0.1, p=0.034, test="Welch's t", seeds=[3, 3], number=1)
    assert certainty(lead) == "Welch's t: p = 0.034, 3 and 3 seeds"
