"""Measures how fast this machine trains, and in how much memory, with a short real training.

It runs in a process of its own, so that nothing of it stays: `python -m
ltat_tune.planning.calibration` reads from stdin, as JSON, what to train, and writes its
measurement to stdout.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltat_tune.config.plugin_loader import load_plugins
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import StudyError
from ltat_tune.planning.estimate import Calibration

if TYPE_CHECKING:
    from ltat_tune.data.datasets import LabelledImages


SECONDS = 30.0  # intended length of the measured training
_LIMIT_S = 240.0  # then the measurement is given up
_EPOCHS = 3  # the first one warms up, the last one is validated
_FIRST_IMAGES = {"cpu": 16, "cuda": 256}  # in a first try, which shows how many fit the time


def calibrate(
    config: TrialConfig,
    *,
    device: str,
    threads: int,
    cache_dir: Path | None = None,
    limit_s: float = _LIMIT_S,
) -> Calibration:
    """Train a configuration for about half a minute, and return what it takes.

    It trains three epochs on as many images of every class as there is time for, and validates the
    last epoch.

    Args:
        config: what to train.
        device: cpu or cuda.
        threads: CPU threads.
        cache_dir: decoded images, if there are any.
        limit_s: time after which the measurement is given up.

    Raises:
        StudyError: the training failed, or even a few images take too long.
    """
    job = {"config": config.flat(), "device": device, "threads": threads, "seconds": SECONDS,
           "plugins": config.plugins,
           "cache_dir": None if cache_dir is None else str(cache_dir)}  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ltat_tune.planning.calibration"], input=json.dumps(job),
            capture_output=True, text=True, timeout=limit_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise StudyError(
            f"nothing was measured: this machine did not train {_FIRST_IMAGES[device]} images "
            f"{_EPOCHS} times in {limit_s:.0f} s; leave out --measure to get a rule of thumb"
        ) from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
        raise StudyError(f"nothing was measured, because the training failed: {last}")
    return Calibration(**json.loads(done.stdout.splitlines()[-1]))


def measure_training(
    config: TrialConfig, *, device: str, threads: int, cache_dir: Path | None, seconds: float
) -> Calibration:
    """Measure a training in this process; see `calibrate`."""
    from ltat_tune.data.datasets import load_splits
    from ltat_tune.seeding import prepare_process

    prepare_process(threads)
    splits = load_splits(config, cache_dir=cache_dir)
    whole, least = len(splits.train), max(len(splits.classes), _FIRST_IMAGES[device])
    images = min(whole, least)
    train_s, val_s = _try(config, splits, images, device)
    affordable = int(images * seconds / max(train_s * _EPOCHS + val_s, 1e-9))
    if affordable > images and images < whole:
        images = min(whole, affordable)
        train_s, val_s = _try(config, splits, images, device)
    from ltat_tune.planning.cost import attack_steps, training_mib

    short = short_run(config)
    # without time for a whole batch, the rule of thumb gives the memory that it takes in addition
    part = config.replace({"optim.batch_size": min(images, config.optim.batch_size)})
    missing_mib = training_mib(config) - training_mib(part)
    passes = images * (attack_steps(short) + 1.5)
    return Calibration(
        pass_s=train_s / passes,
        memory_mib=peak_mib(device) + missing_mib,
        epoch_s=train_s * whole / images,
        gpu=device != "cpu",
    )


def _try(config: TrialConfig, splits: Any, images: int, device: str) -> tuple[float, float]:
    """Return the seconds of an epoch on some images, and of validating the same share of them."""
    from ltat_tune.training.trainer import Trainer

    val = _part_of(images, len(splits.train), len(splits.val))
    part = replace(splits, train=some_of(splits.train, images), val=some_of(splits.val, val))
    seconds: list[float] = []
    Trainer(short_run(config), splits=part, device=device).fit(
        lambda done: seconds.append(done.seconds)
    )
    train_s = min(seconds[:-1])
    return train_s, max(0.0, seconds[-1] - train_s)


def short_run(config: TrialConfig) -> TrialConfig:
    """Return a run of a few epochs, validated once; what acts late acts in proportion."""
    return config.shortened(_EPOCHS).replace(
        {"evaluation.every_epochs": _EPOCHS, "evaluation.select_epoch": "last"}
    )


def _part_of(images: int, whole: int, val: int) -> int:
    return max(1, math.ceil(val * images / whole))


def some_of(data: LabelledImages, images: int) -> LabelledImages:
    """Return some images, taken from the classes in turn."""
    import torch

    places: Sequence[Any] = [torch.nonzero(data.targets == k).flatten()
                             for k in data.targets.unique()]  # fmt: skip
    turn = torch.cat([torch.arange(len(p)) for p in places])
    chosen = torch.cat(list(places))[torch.argsort(turn, stable=True)][:images]
    return replace(data, images=data.images[chosen], targets=data.targets[chosen])


def peak_mib(device: str) -> float:
    """Return the peak memory of this process in MiB, of GPU memory on a GPU."""
    if device == "cpu":
        # not ru_maxrss, which a process inherits from its parent
        status = Path("/proc/self/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024
    import torch

    context = 500 * 2**20  # CUDA itself, which torch does not count
    return (torch.cuda.max_memory_reserved() + context) / 2**20


def calibrate_stdin() -> None:
    """Measure the training that stdin describes."""
    import ltat_tune.backend.ray_tuner  # noqa: F401  a worker has Ray, 130 MiB

    job = json.loads(sys.stdin.read())
    cache = job["cache_dir"]
    load_plugins(job["plugins"])
    calibration = measure_training(
        TrialConfig.from_flat(job["config"]), device=job["device"], threads=job["threads"],
        cache_dir=None if cache is None else Path(cache), seconds=job["seconds"],
    )  # fmt: skip
    print(json.dumps(asdict(calibration)))


if __name__ == "__main__":
    calibrate_stdin()
