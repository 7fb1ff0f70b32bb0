"""Times tasks in turns, and says on what; `bench_step.py` prints it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from rich.table import Table

from ltat_tune.provenance import commit, machine, versions


def clock_on(device: torch.device) -> Callable[[], float]:
    """The process's own time on one CPU thread, and wall time elsewhere; both in seconds."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def in_turns(
    tasks: Mapping[str, Callable[[], float | None]],
    rounds: int,
    device: torch.device,
    *,
    warm: bool = False,
) -> list[dict[str, Any]]:
    """Runs all once to warm up, unless they are warm, then `rounds` times one after the other.

    A task that returns a number has timed itself, in seconds. Returns name, median seconds, and
    the ratio to the first task of the same turn: median, lowest, highest.

    On one CPU thread the process's own time counts, which other programs on the machine hardly
    disturb. With 0 rounds the warm-up itself is timed.
    """
    clock = clock_on(device)
    finished: Callable[[], None] = (
        torch.cuda.synchronize if device.type == "cuda" else lambda: None
    )
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(1 if warm and rounds > 0 else 0, rounds + 1):
        for name, task in tasks.items():
            finished()
            began = clock()
            took = task()
            finished()
            if turn > 0 or rounds == 0:
                seconds[name].append(clock() - began if took is None else took)
    first = next(iter(seconds.values()))
    found = []
    for name, measured in seconds.items():
        ratios = sorted(m / f for m, f in zip(measured, first, strict=True))
        found.append({
            "name": name, "seconds": statistics.median(measured),
            "ratio": statistics.median(ratios), "low": ratios[0], "high": ratios[-1],
        })  # fmt: skip
    return found


def circumstances(device: torch.device) -> dict[str, Any]:
    """What a time belongs to: machine, device, CPU threads, commit and versions."""
    return {
        "machine": machine(),
        "device": "CPU" if device.type == "cpu" else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "versions": versions(),
    }


def line_of(found: dict[str, Any]) -> str:
    """The `circumstances` in `found` and its `rounds`, for a reader."""
    return (
        f"{found['machine']}, {found['device']}, {found['threads']} thread(s), torch "
        f"{found['versions']['torch']}, {found['rounds']} turns, commit {found['commit']}"
    )


def table_of(rows: list[dict[str, Any]]) -> Table:
    """One column for each key."""
    table = Table(*(key.replace("_", " ") for key in rows[0]), box=None)
    for row in rows:
        values = (f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values())
        table.add_row(*values)
    return table
