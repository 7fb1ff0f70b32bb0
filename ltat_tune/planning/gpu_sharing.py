"""`resources.gpus_per_trial: auto`: measures how many trainings share a GPU best.

One training in batches of 128 does not fill a large GPU, and how many do is measured, not guessed.
One, two, three ... processes train the same configuration at once, and the images that they train
per second are added up. Each process is `python -m ltat_tune.planning.gpu_sharing`. It reports
that it is warm after its second epoch, waits for the others, and then trains whole epochs for some
seconds. Each epoch is validated, because a recorded validation attack keeps memory, too.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltat_tune.config.plugin_loader import load_plugins
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import StudyError
from ltat_tune.planning.calibration import peak_mib, some_of
from ltat_tune.planning.cost import cost_of
from ltat_tune.planning.told_process import ToldProcess
from ltat_tune.space.resources import ResourcesSpec
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder

if TYPE_CHECKING:
    from ltat_tune.data.datasets import Splits

_NO_GPU = (
    "resources.gpus_per_trial auto is measured on a GPU of the machine that runs ltat-tune, but "
    "it has none; write a share of one, such as 0.5"
)
MOST = 8  # trainings on one GPU; more are not tried
_GAIN = 1.05  # required factor on images per second for one more training
_ROOM = 0.9  # share of a GPU's memory that trainings may take
_SECONDS = 8.0  # of training, once every process is warm
_LIMIT_S = 300.0  # for one try, including its start
_WARM = 2  # epochs: the first records the training attack, the second that of the validation
_EPOCHS = 20  # at most, until a training begins anew and records anew
_BATCHES = 100  # in an epoch: as long as a whole one, for a graph is recorded in the first


@dataclass(frozen=True)
class MeasuredShare:
    """The measurement of several trainings at once."""

    copies: int
    images_s: float  # images trained per second, all together
    memory_mib: float  # the highest peak of a training


def tries(
    attempt: Callable[[int], MeasuredShare], *, most: int, memory_mib: float
) -> tuple[list[MeasuredShare], str]:
    """Try one training, two, and so on. Return the measurements, and why it stopped.

    `chosen` picks the last one that is worth it. A number that would not fit into memory is not
    tried.

    Args:
        attempt: trains so many at once.
        most: number of trainings for which there are CPUs.
        memory_mib: memory of the GPU.

    Raises:
        StudyError: not even one trains.
    """
    shares = [attempt(1)]
    while len(shares) < most:
        more = len(shares) + 1
        if more * max(tried.memory_mib for tried in shares) > _ROOM * memory_mib:
            return shares, f"{more} would not fit into {memory_mib / 1024:.1f} GiB"
        try:
            shares.append(attempt(more))
        except StudyError as error:  # such as two peaks of memory at the same moment
            return shares, f"{more} failed: {error}"
        if shares[-1].images_s < _GAIN * shares[-2].images_s:
            return shares, f"{more} are hardly faster than {more - 1}"
    return shares, f"at most {most} are tried here"


def chosen(found: Sequence[MeasuredShare]) -> int:
    """Return how many trainings share a GPU: the most of which each brought its gain."""
    last = found[-1]
    if len(found) > 1 and last.images_s < _GAIN * found[-2].images_s:
        last = found[-2]
    return last.copies


def share_of(copies: int) -> float:
    """Return `gpus_per_trial` for so many copies, rounded down to Ray's ten-thousandths."""
    return math.floor(10_000 / copies) / 10_000


def measured_resources(space: Space, folder: StudyFolder) -> tuple[ResourcesSpec, str]:
    """Return a study's resources with a number in place of `auto`, and a sentence about it.

    It is measured once for a study and a kind of GPU, on this machine, where the driver runs.

    Raises:
        StudyError: this machine has no GPU, or not even one training runs on it.
    """
    import torch

    gpus = torch.cuda.device_count()
    if not gpus:
        raise StudyError(_NO_GPU)
    facts, device = folder.read_facts(), torch.cuda.get_device_name(0)
    previous = facts.get("gpu_share", {})
    if previous.get("gpu") != device:
        cpus = len(os.sched_getaffinity(0))
        share, why = measure_share(space, gpus=gpus, cpus=cpus, cache=folder.cache)
        previous = {"gpu": device, "gpus_per_trial": share, "why": why}
        folder.write_facts({**facts, "gpu_share": previous})
    return space.resources.with_share(previous["gpus_per_trial"]), previous["why"]


def measure_share(space: Space, *, gpus: int, cpus: int, cache: Path | None) -> tuple[float, str]:
    """Return `gpus_per_trial` for this machine, and a sentence that explains it.

    Args:
        space: its configuration that takes most memory is trained.
        gpus: GPUs of the machine, taken to be alike.
        cpus: CPUs of the machine.
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

    shares, why = tries(attempt, most=most, memory_mib=memory_mib)
    return share_of(chosen(shares)), share_sentence(shares, why)


def share_sentence(found: Sequence[MeasuredShare], why: str) -> str:
    """Return a sentence with the measurements and the share that follows from them."""
    copies = chosen(found)
    shown = ", ".join(f"{t.copies}: {t.images_s:.0f} images/s" for t in found)
    return (
        f"resources.gpus_per_trial auto is {share_of(copies):g}, {copies} "
        f"training{'s' * (copies > 1)} on a GPU ({shown}; {why})"
    )


def largest(space: Space) -> TrialConfig:
    """Return the configuration of a study that takes most GPU memory, by the rule of thumb."""
    configs = [space.config(s, params) for s in space.scenarios for params in space.contexts(8)]
    return max(configs, key=lambda config: cost_of(config, ("clean",)).memory_mib(gpu=True))


def representative_part(
    config: TrialConfig, splits: Splits, images: int
) -> tuple[TrialConfig, Splits]:
    """Return the configuration and the images that are trained to measure a training.

    They take the memory of the whole training. A validation attack is recorded when its shape is
    met the second time; two whole batches, or all validation images in each epoch, see to that.

    Args:
        config: the training.
        splits: its images.
        images: images of an epoch.
    """
    settings = {"evaluation.every_epochs": 1, "evaluation.select_epoch": "last"}
    short = config.shortened(min(_EPOCHS, config.optim.epochs)).replace(settings)
    val = some_of(splits.val, 2 * config.evaluation.batch_size)
    part = replace(splits, train=some_of(splits.train, images), val=val)
    return short, part


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
    """Train the same configuration in several processes at once, and return the measurement.

    Args:
        config: what to train.
        copies: processes.
        device: cpu or cuda.
        threads: CPU threads of each.
        cache: decoded images, if there are any.
        images: images of an epoch.
        seconds: seconds that are measured.

    Raises:
        StudyError: one of them failed, or took too long to begin.
    """
    job = {"config": config.flat(), "device": device, "threads": threads, "images": images,
           "plugins": config.plugins, "seconds": seconds,
           "cache": None if cache is None else str(cache)}  # fmt: skip
    command = [sys.executable, "-m", "ltat_tune.planning.gpu_sharing"]
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(contextlib.closing(ToldProcess(command, limit_s=_LIMIT_S)))
            for _ in range(copies)
        ]
        for process in processes:
            process.tell(json.dumps(job))
        for process in processes:  # all are warm before any is measured
            process.hear()
        for process in processes:
            process.tell("go")
        reports = [json.loads(process.hear()) for process in processes]
    return MeasuredShare(
        copies,
        sum(done["images"] / done["seconds"] for done in reports),
        max(done["memory_mib"] for done in reports),
    )


class _Enough(Exception):
    """Ends a training that was measured for long enough."""


def train_stdin() -> None:
    """Run one of the processes: stdin has the job, then the word to go; stdout gets two lines."""
    from ltat_tune.data.datasets import load_splits
    from ltat_tune.seeding import prepare_process
    from ltat_tune.training.fit_result import EpochMetrics
    from ltat_tune.training.trainer import Trainer

    job: dict[str, Any] = json.loads(sys.stdin.readline())
    prepare_process(job["threads"])
    load_plugins(job["plugins"])
    config = TrialConfig.from_flat(job["config"])
    splits = load_splits(config, cache_dir=Path(job["cache"]) if job["cache"] else None)
    short, part = representative_part(config, splits, job["images"])
    trainer = Trainer(short, splits=part, device=job["device"])
    ends: list[float] = []  # of the epochs

    def on_epoch(done: EpochMetrics) -> None:
        if len(ends) == _WARM - 1:
            print("warm", flush=True)
            sys.stdin.readline()
        ends.append(time.perf_counter())
        if len(ends) > _WARM + 1 and ends[-1] - ends[_WARM - 1] > job["seconds"]:
            raise _Enough

    with contextlib.suppress(_Enough):
        while True:
            trainer.fit(on_epoch)
    report = {
        "images": (len(ends) - _WARM) * len(part.train),
        "seconds": ends[-1] - ends[_WARM - 1],
        "memory_mib": peak_mib(job["device"]),
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    train_stdin()
