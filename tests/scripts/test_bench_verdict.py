"""The simulation of verdicts: what it draws is as true as it says, and the verdict holds on it."""

from __future__ import annotations

import numpy as np
import pytest

from scripts import bench_verdict
from scripts.bench_verdict import Drawn, Kind, studies


def test_a_training_is_right_as_often_as_its_configuration_is_true() -> None:
    kind = Kind("", spread=5, trials=3, val=100, test=40000, luck=0.0)
    drawn = Drawn(kind, np.random.default_rng(0))
    for number in range(3):
        right = drawn.training(number)["test"]
        # the images' difficulty is drawn, 4000 of each class: two points are four deviations
        assert right.mean() == pytest.approx(drawn.truth(number), abs=0.02)
    assert len({drawn.truth(number) for number in range(3)}) == 3


def test_among_equal_configurations_it_hardly_ever_says_best() -> None:
    found = list(studies(Kind("", trials=6, test=300), 60, seed=1))
    assert all(one.true_gain == 0 for one in found)
    # 2.5 % of 60 is 1.5; 7 or more would be one case in a thousand
    assert sum(one.is_best for one in found) < 7
    # 95 % of 60 is 57; below 50 would be one in a thousand
    assert sum(one.covered for one in found) >= 50
    assert abs(np.mean([one.gain for one in found])) < 0.02


def test_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_verdict.main(["--smoke"]) == 0
    assert capsys.readouterr().out.count("| null |") == 1
