"""Times in words."""

from __future__ import annotations

import pytest

from ltat_tune.presentation.units import clock, duration, in_percent, percent


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"), (40, "40 s"), (72, "72 s"), (720, "12 min"), (5400, "90 min"),
        (12240, "3.4 h"), (18000, "5 h"), (216000, "2.5 days"), (260000, "3 days"),
    ],
)  # fmt: skip
def test_durations_are_written_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (65, "1:05"), (7210, "2:00:10")])
def test_running_times_are_written_as_clocks_do(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.4123, "41.2"), (1.0, "100.0"), (None, "–"), (-0.0004, "0.0"), (0.285, "28.5")],
)
def test_a_share_is_rounded_in_one_way(share: float | None, text: str) -> None:
    assert percent(share) == text


def test_how_a_share_was_computed_does_not_show() -> None:
    # 0.1 + 0.2 and 0.3 differ in their last bit, and so do their products with 100
    assert in_percent(0.1 + 0.2) == in_percent(0.3) == 30.0
    counted, averaged = 57 / 200, (0.27 + 0.3) / 2
    assert percent(counted) == percent(averaged) == "28.5"
    assert percent(0.0286, 0) == "3" and percent(0.05, sign="+") == "+5.0"
    assert percent(None, missing="-") == "-"
