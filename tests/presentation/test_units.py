"""Times in words."""

from __future__ import annotations

import pytest

from ltat_tune.presentation.units import clock, duration


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
