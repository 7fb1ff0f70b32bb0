"""Turns, ratios and what is printed of them, on a clock that the test moves."""

from __future__ import annotations

import time

import pytest
import torch

from scripts import bench_timing


def test_ratios_are_to_the_first_of_the_same_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that the tasks move: the first takes 1, 2 and 4 seconds, the second 3, 4 and 4."""
    now = [0.0]
    for clock in ("perf_counter", "process_time"):
        monkeypatch.setattr(time, clock, lambda: now[0])
    durations = {"first": [9.0, 1.0, 2.0, 4.0], "second": [9.0, 3.0, 4.0, 4.0]}

    def task(name: str) -> None:
        now[0] += durations[name].pop(0)

    tasks = {"first": lambda: task("first"), "second": lambda: task("second")}
    first, second = bench_timing.in_turns(tasks, 3, torch.device("cpu"))
    assert (first["seconds"], first["ratio"]) == (2.0, 1.0)
    assert second == {"name": "second", "seconds": 4.0, "ratio": 2.0, "low": 1.0, "high": 3.0}


def test_the_line_names_what_the_times_belong_to() -> None:
    found = {
        "machine": "a machine", "device": "CPU", "threads": 1, "commit": "abc",
        "versions": {"torch": "2.9"}, "rounds": 5,
    }  # fmt: skip
    expected = "a machine, CPU, 1 thread(s), torch 2.9, 5 turns, commit abc"
    assert bench_timing.line_of(found) == expected
