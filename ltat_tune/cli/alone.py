"""Trains one configuration file without Ray and compares it with its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ltat_tune.config.config_file import load_config
from ltat_tune.config.extensions import Plugin
from ltat_tune.errors import ConfigError, TrainingDiverged
from ltat_tune.provenance import versions
from ltat_tune.seeding import prepare_process
from ltat_tune.training.evaluation import measure_accuracy
from ltat_tune.training.fit_result import EpochMetrics, FitResult
from ltat_tune.training.trainer import Trainer


def train_file(
    path: Path,
    *,
    test: bool,
    seed: int | None,
    threads: int | None,
    device: str,
    checkpoint: Path | None,
    quiet: bool,
    form: str,
) -> int:
    """Train, print the metrics, and say whether recorded digits were reproduced.

    Returns:
        The exit status: 1 if the training diverged or recorded digits were not reproduced, else 0.
    """
    config, recorded = load_config(path)
    recorded = recorded or {}
    has_record = bool(recorded)
    if seed is not None:
        same = seed == config.seeds.seed
        config = config.replace({"seeds.seed": seed})
        recorded = recorded if same else {}
    prepare_process(threads or int(recorded.get("threads", 1)))
    check_device(device)
    notes = Console(stderr=True, highlight=False, quiet=quiet)
    for plugin in config.plugins:
        notes.print(f"note: {Plugin(**plugin).note}", soft_wrap=True)
    trainer = Trainer(config, device=device, precision=recorded.get("precision"))
    notes.print(f"{path}: {config.method.name}, {config.optim.epochs} epochs, "
                f"{len(trainer.splits.train)} images {trainer.counts.tolist()}")  # fmt: skip
    try:
        result = _fit(trainer, notes, checkpoint)
    except TrainingDiverged as error:
        Console(stderr=True, highlight=False).print(f"diverged: {error}")
        return 1
    metrics = {name: value for name, value in result.metrics.items() if name.startswith("val/")}
    if test:
        metrics |= _test(
            trainer, result, recorded.get("attacks", ["clean", config.evaluation.val_attack])
        )
    differences = _differences(result, trainer, metrics, recorded)
    if form == "json":
        report: dict[str, Any] = {
            "epoch": result.epoch,
            "weights": result.weights,
            "metrics": metrics,
        }
        if recorded:
            report |= {"reproduced": not differences, "differences": differences}
        print(json.dumps(report, indent=2))
    else:
        for name, value in metrics.items():
            print(f"{name:32} {value:.6f}")
    if recorded and not (quiet and not differences):
        _verdict(Console(stderr=True, highlight=False), result, metrics, recorded, differences)
    if _has_other_noise(recorded):
        notes.print(
            "the file's robust accuracies are of 0.4.0, whose attacks started from other noise; "
            "they are not compared",
            soft_wrap=True,
        )
    elif has_record and not recorded:
        notes.print("the seed differs from the file's, so its recorded digits do not apply")
    return 1 if differences else 0


def check_device(device: str) -> None:
    """Check that this machine and this build of torch have the device.

    Raises:
        ConfigError: they do not; the message lists the devices.
    """
    devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    kind, _, index = device.partition(":")
    exists = device in devices or (kind == "cuda" and not index and len(devices) > 1)
    if not exists and kind in ("cpu", "cuda"):
        raise ConfigError(f"--device must be one of {', '.join(devices)} here, got {device}")
    if not exists:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"--device {device} cannot be used here: {reason}") from None


def _fit(trainer: Trainer, notes: Console, checkpoint: Path | None) -> FitResult:
    columns = (TextColumn("epoch {task.completed}/{task.total}"), BarColumn(),
               TextColumn("{task.description}"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=notes, transient=True) as progress:
        bar = progress.add_task("", total=trainer.config.optim.epochs)

        def on_epoch(done: EpochMetrics) -> None:
            score = done.metrics.get(trainer.score_name)
            text = None if score is None else f"{trainer.score_name} {100 * score:.1f} %"
            progress.update(bar, completed=done.epoch, description=text)

        return trainer.fit(on_epoch, checkpoint=checkpoint)


def _test(trainer: Trainer, result: FitResult, attacks: list[str]) -> dict[str, float]:
    images = trainer.splits.test().to(trainer.device)
    classes = len(trainer.splits.classes)
    metrics: dict[str, float] = {}
    for attack in attacks:
        accuracy = measure_accuracy(
            result.model, images, attack, trainer.config, split="test", classes=classes
        )
        metrics |= accuracy.metrics(f"test/{attack}", trainer.groups)
    return metrics


def _differences(
    result: FitResult, trainer: Trainer, metrics: dict[str, float], recorded: dict[str, Any]
) -> list[str]:
    """Return the differences from the record; only numbers that were measured are compared."""
    if not recorded:
        return []
    pairs: dict[str, tuple[Any, Any]] = {
        "images": (trainer.splits.subset_hash, recorded["subset_hash"]),
        "weights": (result.weights, recorded["weights"]),
    }
    numbers = _recorded_metrics(recorded)
    pairs |= {name: (value, numbers[name]) for name, value in metrics.items() if name in numbers}
    return [f"{name} {now}, recorded {then}" for name, (now, then) in pairs.items() if now != then]


def _recorded_metrics(recorded: dict[str, Any]) -> dict[str, float]:
    """Return the recorded metrics of both splits that a measurement can give again."""
    numbers = {**recorded.get("val", {}), **recorded.get("test", {})}
    if _has_other_noise(recorded):
        return {name: value for name, value in numbers.items() if "/clean_" in name}
    return numbers


def _has_other_noise(recorded: dict[str, Any]) -> bool:
    """Return whether the recorded robust accuracies are of attacks that started elsewhere."""
    return bool(recorded) and recorded.get("noise") != "place"


def _verdict(
    notes: Console,
    result: FitResult,
    metrics: dict[str, float],
    recorded: dict[str, Any],
    differences: list[str],
) -> None:
    if not differences:
        compared = len(metrics.keys() & _recorded_metrics(recorded).keys())
        notes.print(
            f"reproduced: weights {result.weights} and all {compared} recorded numbers measured"
        )
        return
    notes.print("not reproduced:")
    for line in differences:
        notes.print(f"  {line}", soft_wrap=True)
    now = versions()
    changed = [f"{n} {v}, then {recorded['versions'][n]}" for n, v in now.items()
               if recorded.get("versions", {}).get(n, v) != v]  # fmt: skip
    notes.print(
        "  changed since: "
        f"{'; '.join(changed) or 'no package version; perhaps the processor or thread count'}"
    )
