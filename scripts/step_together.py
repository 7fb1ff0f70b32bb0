"""Trainings at once, each a process of its own: how much more gets done than by one.

    python scripts/step_together.py '{"at_once": 2, ...}'      # bench_step does

A process warms up, says so and waits for the word to begin; all begin together.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a script finds `scripts`
from ltat_tune.planning.told_process import ToldProcess


def seconds_at_once(command: Sequence[str], at_once: int) -> float:
    """Wall seconds in which `at_once` processes all do their work.

    Each says `ready` once it is warm, waits for a line, works, and says `done`.

    Raises:
        StudyError: a process failed, with the last line that it said.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(closing(ToldProcess(command))) for _ in range(at_once)]
        for worker in workers:
            worker.hear()
        began = time.perf_counter()
        for worker in workers:
            worker.tell("go")
        for worker in workers:
            worker.hear()
        return time.perf_counter() - began


def throughputs(job: dict[str, Any], counts: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Images per second of so many trainings at once, interleaved, medians; ratio to the first."""
    command = [sys.executable, str(Path(__file__).resolve()), json.dumps(job)]
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(max(1, rounds)):
        for count in counts:
            seconds[count].append(seconds_at_once(command, count))
    images = job["batch_size"] * job["steps"]
    rates = {c: sorted(c * images / s for s in found) for c, found in seconds.items()}
    first = rates[counts[0]][len(rates[counts[0]]) // 2] / counts[0]
    return [
        {
            "at_once": count,
            "images_per_s": rate[len(rate) // 2],
            "times_one": rate[len(rate) // 2] / first,
            "lowest_images_per_s": rate[0],
            "highest_images_per_s": rate[-1],
        }
        for count, rate in rates.items()
    ]


def work(job: dict[str, Any]) -> None:
    """One process: warms up, waits, steps."""
    from ltat_tune.config.trial_config import TrialConfig
    from ltat_tune.models import build_model
    from ltat_tune.seeding import prepare_process
    from scripts.step_reference import OurStep, stepping

    prepare_process(job["threads"])
    config = TrialConfig.from_flat(job["config"])
    device = torch.device(job["device"])
    counts = torch.tensor(job["counts"])
    generator = torch.Generator().manual_seed(0)
    size = job["batch_size"]
    images = torch.rand(size, 3, 32, 32, generator=generator).to(device)
    targets = torch.multinomial(counts.double(), size, replacement=True, generator=generator)
    model = build_model(config.model, in_channels=3, num_classes=len(counts)).to(device)
    step = OurStep(model, config, counts.to(device), job["precision"])
    once = stepping(step, images, targets.to(device))
    for _ in range(3 if device.type == "cuda" else 1):  # a graph is recorded in the second
        once()
    print("ready", flush=True)
    sys.stdin.readline()
    stepping(step, images, targets.to(device), times=job["steps"])()
    if device.type == "cuda":
        torch.cuda.synchronize()
    print("done", flush=True)


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
