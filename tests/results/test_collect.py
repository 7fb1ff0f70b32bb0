"""The sentinel's verdict in one line."""

from __future__ import annotations

from typing import Any

from ltat_tune.results.collect import masking


def _check(triggered: bool, severity: str, sentence: str) -> dict[str, Any]:
    return {"triggered": triggered, "severity": severity, "sentence": sentence}


def _report(verdict: str, *checks: dict[str, Any], right: int = 80) -> dict[str, Any]:
    headline = f"{verdict}: none of 100 images is answered right"
    return {"verdict": verdict, "right": right, "headline": headline, "checks": list(checks)}


def test_a_clear_verdict_says_how_many_checks_it_rests_on() -> None:
    checks = (_check(False, "serious", "a"), _check(False, "warning", "b"))
    assert masking(_report("clear", *checks)) == "clear (2 checks)"


def test_of_what_speaks_against_it_the_most_serious_is_told() -> None:
    checks = (
        _check(False, "serious", "Square finds less."),
        _check(True, "warning", "CW breaks more."),
        _check(True, "serious", "One step does more harm."),
        _check(True, "serious", "Noise is as good."),
    )
    assert masking(_report("masked", *checks)) == "masked: One step does more harm."
    assert masking(_report("suspicious", *checks[:2])) == "suspicious: CW breaks more."


def test_a_model_that_answers_nothing_right_is_not_called_clear_by_its_checks() -> None:
    checks = (_check(False, "serious", "a"),)
    assert masking(_report("clear", *checks, right=0)) == (
        "clear: none of 100 images is answered right"
    )
