"""`resources.gpus_per_trial: auto`: how many trainings share a GPU best, found out by trying it.

One training of batches of 128 does not fill a large GPU, and how many do is measured, not guessed:
one, two, three ... processes train the same configuration at once, and the images that they train
per second, all together, are counted. Each process is
`python -m ltat_tune.planning.gpu_sharing`; it says that it is warm, waits for the others, and then
trains for some seconds.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from ltat_tune.config.plugin_loader import load_plugins
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import StudyError
from ltat_tune.planning.calibration import peak_mib, short_run, some_of
from ltat_tune.planning.cost import training_mib
from ltat_tune.space.resources import ResourcesSpec
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder

_NO_GPU = (
    "resources.gpus_per_trial auto is measured on a GPU of the machine that ltat-tune runs on, "
    "and there is none; write a share of one, such as 0.5"
)
MOST = 8  # trainings on one GPU that are tried
_GAIN = 1.05  # what one more must bring, in images per second of all together
_ROOM = 0.9  # of a GPU's memory that trainings may take
_SECONDS = 8.0  # that is trained once every process is warm
_LIMIT_S = 300.0  # for one try, its start with it
_BATCHES = 20  # of an epoch


@dataclass(frozen=True)
class MeasuredShare:
    """So many trainings at once."""

    copies: int
    images_s: float  # images trained per second, all together
    memory_mib: float  # peak of the one that took most


def tries(
    attempt: Callable[[int], MeasuredShare], *, most: int, memory_mib: float
) -> tuple[list[MeasuredShare], str]:
    """Tries one training, two, and so on; says why it stopped.

    The last that is worth it is `chosen`. What would not fit into the memory is not tried.

    Args:
        attempt: trains so many at once.
        most: trainings for which there are processors.
        memory_mib: of the GPU.

    Raises:
        StudyError: not even one trains.
    """
    found = [attempt(1)]
    while len(found) < most:
        more = len(found) + 1
        if more * max(tried.memory_mib for tried in found) > _ROOM * memory_mib:
            return found, f"{more} would not fit into {memory_mib / 1024:.1f} GiB"
        try:
            found.append(attempt(more))
        except StudyError as error:  # a neighbour's peak came at the same moment
            return found, f"{more} failed: {error}"
        if found[-1].images_s < _GAIN * found[-2].images_s:
            return found, f"{more} are hardly faster than {more - 1}"
    return found, f"there are processors, or reason, for {most} at most"


def chosen(found: Sequence[MeasuredShare]) -> int:
    """How many trainings share a GPU: the most of which each brought its gain."""
    last = found[-1]
    if len(found) > 1 and last.images_s < _GAIN * found[-2].images_s:
        last = found[-2]
    return last.copies


def share_of(copies: int) -> float:
    """`gpus_per_trial` for so many: rounded down, as Ray counts in ten-thousandths."""
    return math.floor(10_000 / copies) / 10_000


def measured_resources(space: Space, folder: StudyFolder) -> tuple[ResourcesSpec, str]:
    """A study's resources with a number in the place of `auto`, and a sentence about it.

    It is measured once for a study and a kind of GPU, on this machine, where the driver is.

    Raises:
        StudyError: this machine has no GPU, or not even one training runs on it.
    """
    import torch

    gpus = torch.cuda.device_count()
    if not gpus:
        raise StudyError(_NO_GPU)
    facts, device = folder.read_facts(), torch.cuda.get_device_name(0)
    known = facts.get("gpu_share", {})
    if known.get("gpu") != device:
        cpus = len(os.sched_getaffinity(0))
        share, why = measure_share(space, gpus=gpus, cpus=cpus, cache=folder.cache)
        known = {"gpu": device, "gpus_per_trial": share, "why": why}
        folder.write_facts({**facts, "gpu_share": known})
    return space.resources.with_share(known["gpus_per_trial"]), known["why"]


def measure_share(space: Space, *, gpus: int, cpus: int, cache: Path | None) -> tuple[float, str]:
    """`gpus_per_trial` on this machine, and a sentence about how it was found.

    Args:
        space: of which the configuration that takes most memory is trained.
        gpus: of the machine, taken to be alike.
        cpus: of the machine.
        cache: decoded images, if there are any.

    Raises:
        StudyError: not even one trains.
    """
    import torch

    resources = space.resources
    most = max(1, min(MOST, cpus // resources.cpus_per_trial // gpus))
    if resources.concurrency is not None:
        most = min(most, math.ceil(resources.concurrency / gpus))
    memory_mib = torch.cuda.get_device_properties(0).total_memory / 2**20
    config = largest(space)

    def attempt(copies: int) -> MeasuredShare:
        return train_at_once(config, copies, device="cuda", threads=resources.cpus_per_trial,
                             cache=cache, images=_BATCHES * config.optim.batch_size)  # fmt: skip

    found, why = tries(attempt, most=most, memory_mib=memory_mib)
    return share_of(chosen(found)), share_sentence(found, why)


def share_sentence(found: Sequence[MeasuredShare], why: str) -> str:
    """What was tried, and what follows."""
    copies = chosen(found)
    shown = ", ".join(f"{t.copies}: {t.images_s:.0f} images/s" for t in found)
    return (
        f"resources.gpus_per_trial auto is {share_of(copies):g}, {copies} "
        f"training{'s' * (copies > 1)} on a GPU ({shown}; {why})"
    )


def largest(space: Space) -> TrialConfig:
    """The configuration of a study that takes most memory, by the rule of thumb."""
    configs = [space.config(s, params) for s in space.scenarios for params in space.contexts(8)]
    return max(configs, key=training_mib)


def train_at_once(
    config: TrialConfig,
    copies: int,
    *,
    device: str,
    threads: int,
    cache: Path | None,
    images: int,
    seconds: float = _SECONDS,
) -> MeasuredShare:
    """Trains the same configuration in so many processes at once.

    Args:
        config: what to train.
        copies: processes.
        device: cpu or cuda.
        threads: CPU threads of each.
        cache: decoded images, if there are any.
        images: of an epoch.
        seconds: that are counted.

    Raises:
        StudyError: one of them failed, or took too long to begin.
    """
    job = {"config": config.flat(), "device": device, "threads": threads, "images": images,
           "plugins": config.plugins, "seconds": seconds,
           "cache": None if cache is None else str(cache)}  # fmt: skip
    command = [sys.executable, "-m", "ltat_tune.planning.gpu_sharing"]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
        for _ in range(copies)
    ]  # fmt: skip
    deadline = time.monotonic() + _LIMIT_S
    try:
        for process in processes:
            _tell(process, json.dumps(job))
        for process in processes:  # each is warm before any is counted
            _hear(process, deadline)
        for process in processes:
            _tell(process, "go")
        found = [json.loads(_hear(process, deadline)) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return MeasuredShare(
        copies,
        sum(done["images"] / done["seconds"] for done in found),
        max(done["memory_mib"] for done in found),
    )


def _tell(process: subprocess.Popen[str], line: str) -> None:
    try:
        cast(IO[str], process.stdin).write(f"{line}\n")
        cast(IO[str], process.stdin).flush()
    except BrokenPipeError:
        pass  # it failed, and is asked why next


def _hear(process: subprocess.Popen[str], deadline: float) -> str:
    """The next line of a process. Raises: StudyError if it ended, or says nothing in time."""
    import select

    out = cast(IO[str], process.stdout)
    if not select.select([out], [], [], max(0.0, deadline - time.monotonic()))[0]:
        raise StudyError(f"a training did not begin, or end, within {_LIMIT_S:.0f} s")
    if line := out.readline():
        return line
    said = cast(IO[str], process.stderr).read().strip().splitlines()
    raise StudyError(f"a training failed: {said[-1] if said else 'it was killed'}")


def train_stdin() -> None:
    """One of the processes: stdin has the job, then the word to go; stdout gets two lines."""
    from dataclasses import replace

    from ltat_tune.data.datasets import load_splits
    from ltat_tune.seeding import prepare_process
    from ltat_tune.training.trainer import Trainer

    job: dict[str, Any] = json.loads(sys.stdin.readline())
    prepare_process(job["threads"])
    load_plugins(job["plugins"])
    config = short_run(TrialConfig.from_flat(job["config"]))
    splits = load_splits(config, cache_dir=Path(job["cache"]) if job["cache"] else None)
    train = some_of(splits.train, job["images"])
    part = replace(splits, train=train, val=some_of(splits.val, len(splits.classes)))
    trainer = Trainer(config, splits=part, device=job["device"])
    trainer.fit()
    print("warm", flush=True)
    sys.stdin.readline()
    images, began = 0, time.perf_counter()
    while (seconds := time.perf_counter() - began) < job["seconds"]:
        trainer.fit()
        images += config.optim.epochs * len(train)
    found = {"images": images, "seconds": seconds, "memory_mib": peak_mib(job["device"])}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    train_stdin()
