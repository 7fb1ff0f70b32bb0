"""Findings in words."""

from __future__ import annotations

from typing import Any

from ltat_tune.results.model import Lead, TrialCounts
from ltat_tune.results.wording import lead_clause, masking_line, mean_std, power, trial_ends
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


def _lead(**changes: Any) -> Lead:
    lead = Lead(
        number=1, metric="test/pgd3_acc", gain=0.031, p=0.004, test="t", seeds=3, images=400,
        low=0.012, high=0.05, settles=0.019, seeds_needed=3,
    )  # fmt: skip
    return lead.model_copy(update=changes)


def test_a_lead_beats_another_only_beyond_chance() -> None:
    ends = "95 % interval +1.2 to +5.0, p = 0.004"
    assert lead_clause(_lead(), "the baseline") == f"beats the baseline by 3.1 points ({ends})"
    worse = _lead(gain=-0.031, low=-0.05, high=-0.012)
    assert lead_clause(worse, "t0001") == (
        "is 3.1 points worse than t0001 (95 % interval -5.0 to -1.2, p = 0.004)"
    )
    open_ = _lead(gain=0.011, low=-0.009, high=0.031, p=0.25)
    assert lead_clause(open_, "the baseline") == (
        "leads the baseline by 1.1 points, not settled (95 % interval -0.9 to +3.1, p = 0.25)"
    )
    behind = _lead(gain=-0.011, low=-0.031, high=0.009, p=0.25)
    assert lead_clause(behind, "it").startswith("is 1.1 points behind it, not settled (")
    assert lead_clause(_lead(gain=0.0002, p=0.9), "it").startswith("is level with it, not settled")
    assert "p < 0.001" in lead_clause(_lead(p=1e-5), "it")
    assert lead_clause(_lead(by_others=True), "it").endswith(
        "p = 0.004; the seeds disagree, so each one's lead is that of what the others chose)"
    )


def test_a_lead_without_a_test_says_why() -> None:
    untested = _lead(p=None, low=None, high=None, test="none: fewer than 2 seeds")
    assert lead_clause(untested, "the baseline") == (
        "leads the baseline by 3.1 points, not settled (no interval: fewer than 2 seeds)"
    )
    assert power(untested.model_copy(update={"settles": None})) == ""
    same = _lead(gain=0.0, low=0.0, high=0.0, p=None)
    assert lead_clause(same, "it") == (
        "is level with it, not settled (95 % interval +0.0 to +0.0, every answer is the same)"
    )


def test_what_would_settle_a_lead_is_said_of_unsettled_ones_alone() -> None:
    assert power(_lead()) == ""
    unsettled = _lead(gain=0.011, p=0.25, settles=0.0249, seeds_needed=9)
    assert power(unsettled) == (
        "with 3 seeds and 400 images, a lead below about 2.5 points cannot be settled; about 9 "
        "seeds would settle one of this size"
    )
    assert power(unsettled.model_copy(update={"seeds_needed": None})).endswith(
        "; more seeds alone would not settle one of this size, more test images may"
    )
