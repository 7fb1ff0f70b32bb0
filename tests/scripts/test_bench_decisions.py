"""The benchmark of decisions runs; no test looks at a time."""

from __future__ import annotations

from scripts import bench_decisions


def test_decisions_are_timed_at_every_number_of_trials() -> None:
    found = bench_decisions.main(["--rows", "10", "30", "--repeats", "2"])
    assert [row["rows"] for row in found] == [10, 30]
    assert all(0 < row["median_ms"] <= row["most_ms"] for row in found)
