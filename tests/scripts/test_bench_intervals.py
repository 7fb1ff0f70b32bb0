"""The intervals that the benchmark compares, worked by hand, and what it prints."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from scripts import bench_intervals
from scripts.bench_intervals import wilson_ends, zou


def test_zou_s_interval_combines_the_distances_to_the_ends_of_the_classes() -> None:
    """8/10 and 3/10: mean 0.55, minus sqrt(d1^2 + d2^2) / 2 of the distances to the low ends."""
    one, two = (binomtest(r, 10).proportion_ci(0.95, method="wilson") for r in (8, 3))
    low, high = zou(np.array([8.0, 3.0]), np.array([10.0, 10.0]))
    assert float(low) == pytest.approx(0.55 - math.hypot(0.8 - one.low, 0.3 - two.low) / 2)
    assert float(high) == pytest.approx(0.55 + math.hypot(one.high - 0.8, two.high - 0.3) / 2)


def test_wilson_s_interval_is_scipy_s() -> None:
    low, high = wilson_ends(np.array(0.3), np.array(10.0))
    exact = binomtest(3, 10).proportion_ci(0.95, method="wilson")
    assert (float(low), float(high)) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize("kind", bench_intervals.KINDS)
def test_the_recalls_lie_around_their_mean(kind: str) -> None:
    recalls = bench_intervals.recalls_of(kind, 0.05, (4000, 10), np.random.default_rng(0))
    assert recalls.shape == (4000, 10)
    assert recalls.mean() == pytest.approx(0.05, abs=0.005)


def test_a_run_prints_every_place_of_the_grid_and_every_method(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_intervals, "CLASSES", (4,))
    monkeypatch.setattr(bench_intervals, "IMAGES", (5, 40))
    assert bench_intervals.main(["--smoke"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("falling ") == 2
    assert all(name in printed for name in bench_intervals.METHODS)
