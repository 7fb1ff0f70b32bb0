#!/usr/bin/env python
"""What a training step, an epoch and its validation cost, against each other, on this machine.

    python scripts/bench_step.py [--smoke] [--json FILE] [--rounds 5] [--width 16] [--threads 1]

validation: the hold-out under PGD-20 against an epoch of PGD-10 training: as `Trainer` does it,
with every image attacked, and with the right ones alone. evaluation: batch sizes, BatchNorm folded
or not, early exit. methods: one training step of each against PGD-AT. reference: REAT's step
against `step_reference.PlainStep`, each in a process of its own, losses and gradients compared
first. together: two trainings at once. trial: a whole training of digits that is validated each
epoch, each eighth, and at a rung and the end alone.

What is compared runs in turns, and a ratio is the median over the turns, with the lowest and the
highest: trust ratios, not seconds. On one CPU thread the seconds are the process's own. Digits are
real and their network is trained; the 32x32 images are noise with labels by which 60 % are right,
because only their number and size count for time. Training and hold-out counts of CIFAR and
Tiny-ImageNet are exact, at their default hold-outs where nothing else is said; the cost of one
image is measured, in training and in validation at the same size.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from ltat_tune.attacks import pgd
from ltat_tune.attacks.frozen import frozen
from ltat_tune.config.timeline import awp_epoch, clean_epochs
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import evaluation_batches, training_batches
from ltat_tune.data.datasets import LabelledImages, load_splits
from ltat_tune.data.long_tail import profile_counts
from ltat_tune.methods import METHODS, build_method, needs_projection
from ltat_tune.models import Classifier, ResNet18, SmallCNN, build_model
from ltat_tune.models.conv_bn import ConvBN
from ltat_tune.seeding import new_generator, prepare_process
from ltat_tune.training.evaluation import measure_accuracy
from ltat_tune.training.optim import build_optimizer
from ltat_tune.training.trainer import Trainer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a script finds `scripts`
from scripts.bench_timing import circumstances, in_turns, line_of, table_of
from scripts.step_apart import apart
from scripts.step_reference import agreement
from scripts.step_together import throughputs

DIGITS = {
    "data.name": "digits", "data.val_per_class": 30, "model.width": 8,
    "model.stem": "space_to_depth", "attack.eps": 0.1, "attack.step_size": 0.025,
    "optim.epochs": 16, "optim.batch_size": 64, "optim.lr_schedule": "cosine",
    "evaluation.every_epochs": 8,
}  # fmt: skip  # search_spaces/quickstart.yaml
CIFAR = {"data.name": "cifar10", "model.name": "resnet18"}
STEPS: dict[str, dict[str, object]] = {
    "pgd_at": {},
    **{name: {"method.name": name} for name in METHODS if name != "pgd_at"},
    "pgd_at, awp": {"method.awp_gamma": 0.01},
}
PARTS = ("validation", "evaluation", "methods", "reference", "together", "trial")
RUNG = 6  # of 16 epochs, as in search_spaces/quickstart.yaml without SRAT's deferred weights
RIGHT_SHARE = 0.6  # of the noise images; PGD-AT's clean accuracy on CIFAR-10-LT is of this order
ENOUGH = 0.25  # validation must cost less of an epoch


@dataclass(frozen=True)
class Setting:
    """Images, a configuration and its network; `counts` and `holdout` are of the real data set."""

    name: str
    given: dict[str, object]  # of the configuration; the rest follows the method
    model: Classifier
    train: LabelledImages
    val: LabelledImages
    counts: Tensor  # (K,)
    holdout: int

    @property
    def config(self) -> TrialConfig:
        return TrialConfig.from_flat(self.given)

    def training(self, values: dict[str, object]) -> Callable[[], None]:
        """One pass over `train` with these values changed, from a copy of the model."""
        config = TrialConfig.from_flat({**self.given, **values})
        model = self.model
        if needs_projection(config) or config.model.head != self.config.model.head:
            model = _model(config, self.train, len(self.counts))
        model = deepcopy(model).to(self.train.targets.device)
        optimizer = build_optimizer(config.optim, model)
        counts = self.counts.to(self.train.targets.device)
        epoch = max(clean_epochs(config), awp_epoch(config))
        method = build_method(config, counts, epoch=epoch, predicted=counts)
        batches, noise = new_generator(0, "batches"), new_generator(0, "attack")

        def epoch_of_training() -> None:
            for images, targets in training_batches(
                self.train, config.optim.batch_size, config=config.data, generator=batches
            ):
                step = method.training_step(
                    model, images, targets, class_weights=None, generator=noise
                )
                optimizer.zero_grad(set_to_none=True)
                step.loss.backward()
                optimizer.step()
                if step.after_update is not None:
                    step.after_update()

        return epoch_of_training

    def validation(
        self, *, steps: int, batch_size: int, early_exit: bool = False, folded: bool = True
    ) -> Callable[[], None]:
        """Clean answers and PGD on `val`; with `early_exit` only images that are right."""
        model = self.model if folded else unfolded(self.model)
        attack = self.config.attack
        noise = new_generator(0, "attack")

        def attacked() -> None:
            left = self.val
            with frozen(model, training=False):
                right = []
                with torch.no_grad():
                    for images, targets in evaluation_batches(self.val, batch_size):
                        right.append(model(images).argmax(dim=1) == targets)
                if early_exit:
                    stands = torch.cat(right)
                    left = LabelledImages(left.images[stands], left.targets[stands])
                for images, targets in evaluation_batches(left, batch_size):
                    images = pgd(
                        model, images, targets, eps=attack.eps, step_size=attack.step_size,
                        steps=steps, start="uniform_clipped", generator=noise,
                    )  # fmt: skip
                    with torch.no_grad():
                        model(images)

        return attacked

    def as_trainer(self) -> None:
        """What `Trainer` does after an epoch."""
        for attack in ("clean", self.config.evaluation.val_attack):
            measure_accuracy(
                self.model, self.val, attack, self.config, split="val", classes=len(self.counts)
            )


def unfolded(model: Classifier) -> Classifier:
    """A copy whose `ConvBN` are a convolution and a BatchNorm in eval mode too."""

    def replace(module: nn.Module) -> None:
        for name, child in module.named_children():
            if isinstance(child, ConvBN):
                setattr(module, name, nn.Sequential(child.conv, child.bn))
            else:
                replace(child)

    copied = deepcopy(model)
    replace(copied)
    return copied


def _model(config: TrialConfig, images: LabelledImages, classes: int) -> Classifier:
    channels, projection = images.images.shape[1], needs_projection(config)
    return build_model(
        config.model, in_channels=channels, num_classes=classes, projection=projection
    ).to(images.targets.device)


def digits(ratio: float, changes: dict[str, object], *, device: torch.device) -> Setting:
    """The quickstart's recipe with changes, its network trained."""
    given = {**DIGITS, "data.imbalance_ratio": ratio, **changes}
    config = TrialConfig.from_flat(given)
    splits = load_splits(config)
    fitted = Trainer(config, splits=splits, device=device).fit().model
    assert isinstance(fitted, Classifier)
    train, val = splits.train.to(device), splits.val.to(device)
    name = f"quickstart, UR {ratio:g}"
    return Setting(name, given, fitted, train, val, splits.samples_per_class, len(val))


def noise_images(
    *,
    width: int,
    images: int,
    batch_size: int,
    device: torch.device,
    changes: dict[str, object] | None = None,
) -> Setting:
    """ResNet-18 on 32x32 noise at CIFAR-10's defaults, with `images` to train on and to attack."""
    given = {**CIFAR, "model.width": width, "optim.batch_size": batch_size, **(changes or {})}
    config = TrialConfig.from_flat(given)
    generator = torch.Generator().manual_seed(0)
    counts = torch.tensor(counts_of(10, 5000, config.data.imbalance_ratio, 100))
    drawn = torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.multinomial(counts.double(), images, replacement=True, generator=generator)
    train = LabelledImages(drawn, labels).to(device)
    model = _model(config, train, 10)
    with torch.no_grad(), frozen(model, training=False):
        answers = torch.cat([model(x).argmax(1) for x, _ in evaluation_batches(train, 128)])
    wrong = torch.rand(images, generator=generator).to(device) >= RIGHT_SHARE
    val = LabelledImages(train.images, (answers + wrong) % 10)
    return Setting(f"ResNet-18, width {width}", given, model, train, val, counts, 1000)


def counts_of(classes: int, official: int, ratio: float, val_per_class: int) -> list[int]:
    available = [official - val_per_class] * classes
    return profile_counts("exp", available, imbalance_ratio=ratio)


def validation_rows(setting: Setting, rounds: int) -> list[dict[str, Any]]:
    """Shares of an epoch, for the setting itself or, from noise, for the CIFAR sets."""
    size, device = setting.config.evaluation.batch_size, setting.train.targets.device
    steps = int(setting.config.evaluation.val_attack.removeprefix("pgd"))
    tasks = {
        "an epoch of training": setting.training({}),
        "as Trainer does it": setting.as_trainer,
        "every image attacked": setting.validation(steps=steps, batch_size=size),
        "right images attacked": setting.validation(steps=steps, batch_size=size, early_exit=True),
    }
    timed = in_turns(tasks, rounds, device)[1:]
    per_image = len(setting.train) / len(setting.val)
    sets = [(setting.name, int(setting.counts.sum()), setting.holdout)]
    if setting.config.data.name == "cifar10":
        sets = [
            (f"{name}, UR {ratio}", sum(counts_of(classes, official, ratio, held)),
             held * classes)
            for name, classes, official, ratio, held in (
                ("CIFAR-10", 10, 5000, 10, 100), ("CIFAR-10", 10, 5000, 50, 100),
                ("CIFAR-10", 10, 5000, 100, 100), ("CIFAR-100", 100, 500, 10, 20),
                ("CIFAR-100", 100, 500, 50, 20), ("CIFAR-100", 100, 500, 100, 20),
                ("CIFAR-100, 100 held out", 100, 500, 10, 100),
                ("Tiny-ImageNet", 200, 500, 100, 10),
            )
        ]  # fmt: skip
    every = setting.config.evaluation.every_epochs
    rows = []
    for name, training, holdout in sets:
        for row in timed:
            factor = per_image * holdout / training
            share = factor * row["ratio"]
            rows.append({
                "setting": name, "model": setting.name, "training_images": training,
                "holdout_images": holdout, "validation": row["name"], "share_of_epoch": share,
                "low": factor * row["low"], "high": factor * row["high"], "every_epochs": every,
                "every_epochs_for_a_quarter": max(1, math.ceil(share / ENOUGH)),
            })  # fmt: skip
    return rows


def evaluation_rows(
    setting: Setting, rounds: int, *, steps: int, sizes: tuple[int, ...]
) -> list[dict[str, Any]]:
    """PGD on the images of the setting, by batch size, folding and early exit."""
    middle = sizes[len(sizes) // 2]
    tasks = {f"batch {middle}": setting.validation(steps=steps, batch_size=middle)}
    for size in sizes:
        tasks[f"batch {size}"] = setting.validation(steps=steps, batch_size=size)
    tasks["BatchNorm not folded"] = setting.validation(
        steps=steps, batch_size=middle, folded=False
    )
    tasks["right images alone"] = setting.validation(
        steps=steps, batch_size=middle, early_exit=True
    )
    what = {"setting": setting.name, "attack": f"pgd{steps}", "images": len(setting.val)}
    timed = in_turns(tasks, rounds, setting.train.targets.device)
    return [{**what, **row} for row in timed]


def method_rows(setting: Setting, rounds: int) -> list[dict[str, Any]]:
    """One step of each method on one batch, against PGD-AT."""
    size = setting.config.optim.batch_size
    # Digits lie class after class; a batch of one class would spare REAT and SRAT their pairs.
    some = torch.randperm(len(setting.train), generator=new_generator(0, "batches"))[:size]
    some = some.to(setting.train.targets.device)
    first = LabelledImages(setting.train.images[some], setting.train.targets[some])
    one = Setting(**{**vars(setting), "train": first})
    tasks = {name: one.training(values) for name, values in STEPS.items()}
    what = {"setting": setting.name, "batch_size": len(first)}
    pairs = {name: _pairs(task) for name, task in tasks.items()}
    return [
        {
            **what, **row, "pairs": pairs[row["name"]],
            "ratio_per_pair": row["ratio"] * pairs["pgd_at"] / pairs[row["name"]],
        }
        for row in in_turns(tasks, rounds, first.targets.device)
    ]  # fmt: skip


def _pairs(task: Callable[[], None]) -> float:
    """Forward-backward pairs of one step; a forward without gradient is half of one."""
    found = 0.0

    def count(module: nn.Module, given: Any, output: Any) -> None:
        nonlocal found
        if isinstance(module, SmallCNN | ResNet18):
            found += 1.0 if output.requires_grad else 0.5

    hook = register_module_forward_hook(count)
    try:
        task()
    finally:
        hook.remove()
    return found


def reference_rows(
    rounds: int, *, width: int, batch_size: int, device: torch.device, changes: dict[str, object]
) -> list[dict[str, Any]]:
    """REAT's step, ours in both precisions, against the plain one; numbers compared first."""
    job = {
        "changes": {**changes, "method.name": "reat"}, "width": width, "batch_size": batch_size,
        "device": str(device), "threads": torch.get_num_threads(),
    }  # fmt: skip
    with apart(job) as (processes, results):
        tasks = {n: one.warmed if rounds == 0 else one for n, one in processes.items()}
        timed = in_turns(tasks, rounds, device, warm=True)
    reference = results["plain reference"]
    agreed = {name: agreement(found, reference) for name, found in results.items()}
    steps = TrialConfig.from_flat(job["changes"]).attack.steps
    what = {"setting": f"ResNet-18, width {width}", "batch_size": batch_size, "steps": steps}
    return [
        {**what, **row, "times_faster": 1 / row["ratio"], **agreed[row["name"]]} for row in timed
    ]


def together_rows(
    rounds: int, *, width: int, batch_size: int, device: torch.device, changes: dict[str, object]
) -> list[dict[str, Any]]:
    """REAT alone and twice at once, on one CPU thread each."""
    job = {
        "config": {**CIFAR, "model.width": width, **changes, "method.name": "reat"},
        "batch_size": batch_size, "steps": 1 if rounds == 0 else 3, "threads": 1,
        "device": str(device), "precision": "fp32", "counts": counts_of(10, 5000, 50, 100),
    }  # fmt: skip
    return throughputs(job, (1, 2), rounds)


def trial_rows(
    rounds: int, *, device: torch.device, changes: dict[str, object]
) -> list[dict[str, Any]]:
    """Whole trainings of digits, UR 50, against one that is never validated but at its end."""
    plain = {**DIGITS, "data.imbalance_ratio": 50, **changes}
    splits = load_splits(TrialConfig.from_flat(plain))
    validated: dict[str, list[int]] = {}
    weights: set[str] = set()

    def training(name: str, every: int | None, rungs: tuple[int, ...]) -> Callable[[], None]:
        config = TrialConfig.from_flat({**plain, "evaluation.every_epochs": every})

        def train() -> None:
            trainer = Trainer(config, splits=splits, device=device)
            weights.add(trainer.fit(validate_at=rungs).weights)
            validated[name] = [h.epoch for h in trainer.history if "val/clean_acc" in h.metrics]

        return train

    settings = {"the end": (None, ()), "null": (None, (RUNG,)), "8": (8, (RUNG,)), "1": (1, ())}
    timed = in_turns({n: training(n, *how) for n, how in settings.items()}, rounds, device)
    assert len(weights) == 1  # validations change nothing
    return [
        {"every_epochs": (name := row.pop("name")), "validations": len(validated[name]), **row,
         "share_of_trial": 1 - 1 / row["ratio"]}
        for row in timed
    ]  # fmt: skip


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Everything, as JSON would have it."""
    device = torch.device(given.device)
    slow = device.type == "cpu"
    images, batch, steps = (64, 32, 2) if slow else (2000, 128, 20)
    rounds, sizes = given.rounds, (128, 500, 1000)
    changes: dict[str, object] = {}
    if given.quick:
        images, batch, steps = 8, 4, 1
        rounds, sizes = 0, (4, 6, 8)
        changes = {"attack.steps": 1, "evaluation.val_attack": "pgd2"}

    @cache
    def real(ratio: float) -> Setting:
        epochs = 1 if given.quick else 16
        return digits(ratio, {**changes, "optim.epochs": epochs}, device=device)

    @cache
    def noise(number: int) -> Setting:
        return noise_images(
            width=given.width, images=number, batch_size=batch, device=device, changes=changes
        )

    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "validation": lambda: [
            row
            for setting in (real(10), real(50), noise(images))
            for row in validation_rows(setting, rounds)
        ],
        "evaluation": lambda: [
            *evaluation_rows(
                real(50), rounds, steps=2 if given.quick else 20, sizes=(32, 128, 500)
            ),
            *evaluation_rows(noise(sizes[-1]), rounds, steps=steps, sizes=sizes),
        ],
        "methods": lambda: [r for s in (real(50), noise(images)) for r in method_rows(s, rounds)],
        "reference": lambda: reference_rows(
            rounds, width=given.width, batch_size=given.batch or batch, device=device,
            changes=changes,
        ),
        "together": lambda: together_rows(
            rounds, width=given.width, batch_size=given.batch or batch, device=device,
            changes=changes,
        ),
        "trial": lambda: trial_rows(
            rounds, device=device,
            changes={**changes, **({"optim.epochs": RUNG + 2} if given.quick else {})},
        ),
    }  # fmt: skip
    return {
        **circumstances(device),
        "quick": given.quick,
        "rounds": rounds,
        **{name: rows() for name, rows in parts.items() if given.only in (None, name)},
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", "--smoke", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured here")
    parser.add_argument("--batch", type=int, help="of the parts reference and together")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--rounds", type=int, default=5, help="turns after the warm-up")
    parser.add_argument("--width", type=int, default=None, help="of the ResNet-18; GPU 64, CPU 16")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    if given.width is None:
        given.width = 4 if given.quick else 64 if given.device.startswith("cuda") else 16
    prepare_process(given.threads)
    found = measure(given)
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    if given.format == "json":
        print(json.dumps(found, indent=1))
        return 0
    console = Console(highlight=False, width=150)
    for part in PARTS:
        if part in found:
            console.print(table_of(found[part]), "")
    console.print(line_of(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
