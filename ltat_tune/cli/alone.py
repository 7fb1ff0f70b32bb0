"""Trains one configuration file without Ray and compares it with its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ltat_tune.cli.options import print_rows
from ltat_tune.config.config_file import load_config
from ltat_tune.config.extensions import Plugin
from ltat_tune.errors import TrainingDiverged
from ltat_tune.models.arithmetic import chosen_device, computing_on
from ltat_tune.presentation.units import percent
from ltat_tune.provenance import versions
from ltat_tune.seeding import prepare_process
from ltat_tune.training.evaluation import measure_accuracy
from ltat_tune.training.fit_result import EpochMetrics, FitResult
from ltat_tune.training.trainer import Trainer

# On another device, or without deterministic kernels, a training repeats to about this much. Two
# seeds of one configuration differ by 0.02 to 0.04.
REPEATS_WITHIN = 0.03


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
    chosen = chosen_device(device)
    notes = Console(stderr=True, highlight=False, quiet=quiet)
    for plugin in config.plugins:
        notes.print(f"note: {Plugin(**plugin).note}", soft_wrap=True)
    trainer = Trainer(config, device=chosen, precision=recorded.get("precision"))
    notes.print(f"{path}: {config.method.name}, {config.optim.epochs} epochs on {chosen}, "
                f"{len(trainer.splits.train)} images {trainer.counts.tolist()}")  # fmt: skip
    try:
        result = _fit(trainer, notes, checkpoint)
    except TrainingDiverged as error:
        Console(stderr=True, highlight=False).print(f"diverged: {error}")
        return 1
    if trainer.note:
        notes.print(f"note: {trainer.note}", soft_wrap=True)
    metrics = {name: value for name, value in result.metrics.items() if name.startswith("val/")}
    if test:
        metrics |= _test(
            trainer, result, recorded.get("attacks", ["clean", config.evaluation.val_attack]),
            recorded.get("test_part"),
        )  # fmt: skip
    differences = _differences(result, trainer, metrics, recorded)
    if form == "json":
        report: dict[str, Any] = {
            "epoch": result.epoch,
            "weights": result.weights,
            "metrics": metrics,
        }
        if recorded:
            checked = (
                "digits" if _digits_repeat(result, recorded) else f"within {REPEATS_WITHIN:g}"
            )
            report |= {"reproduced": not differences, "differences": differences,
                       "checked": checked}  # fmt: skip
        print(json.dumps(report, indent=2))
    elif form == "csv":
        print_rows([{"metric": name, "value": value} for name, value in metrics.items()], form)
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


def _fit(trainer: Trainer, notes: Console, checkpoint: Path | None) -> FitResult:
    columns = (TextColumn("epoch {task.completed}/{task.total}"), BarColumn(),
               TextColumn("{task.description}"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=notes, transient=True) as progress:
        bar = progress.add_task("", total=trainer.config.optim.epochs)

        def on_epoch(done: EpochMetrics) -> None:
            score = done.metrics.get(trainer.score_name)
            text = None if score is None else f"{trainer.score_name} {percent(score)} %"
            progress.update(bar, completed=done.epoch, description=text)

        return trainer.fit(on_epoch, checkpoint=checkpoint)


def _test(
    trainer: Trainer, result: FitResult, attacks: list[str], at_most: int | None
) -> dict[str, float]:
    images = trainer.splits.test().to(trainer.device)
    classes = len(trainer.splits.classes)
    metrics: dict[str, float] = {}
    for attack in attacks:
        with computing_on(trainer.device, trainer.config.compute):
            accuracy = measure_accuracy(
                result.model, images, attack, trainer.config, split="test", classes=classes,
                at_most=at_most,
            )  # fmt: skip
        metrics |= accuracy.metrics(f"test/{attack}", trainer.groups)
    return metrics


def _differences(
    result: FitResult, trainer: Trainer, metrics: dict[str, float], recorded: dict[str, Any]
) -> list[str]:
    """Return the differences from the record; only numbers that were measured are compared."""
    if not recorded:
        return []
    digits = _digits_repeat(result, recorded)
    pairs: dict[str, tuple[Any, Any]] = {
        "images": (trainer.splits.subset_hash, recorded["subset_hash"])
    }
    if digits:
        pairs["weights"] = (result.weights, recorded["weights"])
    numbers = _recorded_metrics(recorded)
    pairs |= {
        name: (value, numbers[name])
        for name, value in metrics.items()
        if name in numbers and (digits or abs(value - numbers[name]) > REPEATS_WITHIN)
    }
    return [f"{name} {now}, recorded {then}" for name, (now, then) in pairs.items() if now != then]


def _digits_repeat(result: FitResult, recorded: dict[str, Any]) -> bool:
    """Return whether this device must give the recorded digits, or only numbers that are near."""
    then, now = recorded.get("arithmetic") or "", result.arithmetic
    if not then:  # an earlier version recorded it, and promised digits of a CPU
        return now.startswith("cpu")
    return bool(then == now and "not deterministic" not in now)


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
    digits = _digits_repeat(result, recorded)
    if not digits:
        notes.print(
            f"recorded on {recorded.get('arithmetic') or 'a device that was not noted'}, trained "
            f"on {result.arithmetic}: sums round otherwise, so numbers are compared within "
            f"{100 * REPEATS_WITHIN:g} points, and weights are not compared",
            soft_wrap=True,
        )
    if not differences:
        compared = len(metrics.keys() & _recorded_metrics(recorded).keys())
        if not digits:
            near = f"{100 * REPEATS_WITHIN:g} points"
            notes.print(f"reproduced within {near}: all {compared} recorded "
                        "numbers measured")  # fmt: skip
            return
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
