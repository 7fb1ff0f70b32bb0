"""Steps that are compared, each in a process of its own: their settings of memory differ.

    python scripts/step_apart.py '{"kind": "plain", ...}'      # bench_step does

The plain step has torch's own settings, as a user of the release has. A process makes one step,
writes its loss and its gradient, and then steps once for each line that it reads.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a script finds `scripts`
from ltat_tune.planning.told_process import ToldProcess
from scripts.bench_timing import clock_on

Found = dict[str, Tensor]  # of `result_of`
KINDS = ("plain reference", "fp32", "bf16")


class Process:
    """A process that steps when it is told to.

    Args:
        job: what `work` reads.

    Raises:
        StudyError: it failed, with the last line that it said.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), json.dumps(job)]
        self._process = ToldProcess(command)
        self.close = self._process.close
        self._warmed = float(self._process.hear())

    def __call__(self) -> float:
        """One step; returns its seconds."""
        self._process.tell("go")
        return float(self._process.hear())

    def warmed(self) -> float:
        """The seconds of its first step."""
        return self._warmed


@contextmanager
def apart(
    job: dict[str, Any],
) -> Iterator[tuple[dict[str, Process], dict[str, Found]]]:
    """The processes by kind, warm, and what each found in its first step, from equal weights."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        processes: dict[str, Process] = {}
        results: dict[str, Found] = {}
        for number, kind in enumerate(KINDS):
            file = folder / f"{number}.pt"
            processes[kind] = Process({**job, "kind": kind, "to": str(file)})
            stack.callback(processes[kind].close)
            results[kind] = torch.load(file, weights_only=True)
        yield processes, results


def work(job: dict[str, Any]) -> None:
    """One process: steps once, writes what it found, and steps again when it is told to."""
    from ltat_tune.data.batches import to_unit
    from ltat_tune.seeding import prepare_process
    from scripts.bench_step import noise_images, unfolded
    from scripts.step_reference import OurStep, PlainStep, result_of, stepping

    device = torch.device(job["device"])
    torch.set_num_threads(job["threads"])
    setting = noise_images(
        width=job["width"], images=job["batch_size"], batch_size=job["batch_size"],
        device=device, changes=job["changes"],
    )  # fmt: skip
    config, counts = setting.config, setting.counts.to(device)
    step: OurStep | PlainStep
    if job["kind"] == "plain reference":
        step = PlainStep(unfolded(setting.model), config, counts)
    else:
        prepare_process(job["threads"])
        step = OurStep(setting.model, config, counts, job["kind"])
    once = stepping(step, to_unit(setting.train.images), setting.train.targets)
    clock = clock_on(device)

    def timed() -> float:
        began = clock()
        once()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return clock() - began

    first = timed()
    torch.save({n: t.cpu() for n, t in result_of(step).items()}, job["to"])
    print(first, flush=True)
    while sys.stdin.readline():
        print(timed(), flush=True)


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
