#!/usr/bin/env python
"""Every method side by side on long-tailed digits or photographs, with its default values.

    python scripts/methods_tried.py [--seeds 3] [--only 'reat|srat'] [--bf16]
    python scripts/methods_tried.py --images FOLDER --classes ship cat frog [--seeds 3]

Trains each row with the same recipe and prints balanced accuracy (clean, PGD-20, CW-20), and the
recall of the worst class and of the tail under PGD-20: mean and standard deviation over seeds. A
check that every method trains, not a ranking: nothing is tuned.

Digits: the quickstart's network, 16 epochs, PGD-10 at L-inf eps 0.1, imbalance ratio 50, measured
on the validation images. The loss of the batch at step 0 and at step 50 of seed 0 comes first.
`--bf16` trains each seed in bfloat16 too, and shows by how many points that moves PGD-20.

Photographs: an image folder with `train/` and `test/`, 12 epochs, PGD-5 at L-inf eps 8/255,
imbalance ratio 20, at most 700 images of a class. They are measured on 900 test images, the same
for all. These select nothing: every row has the weights of its last epoch, and of two kinds of
weights the better on the validation images.
"""

from __future__ import annotations

import argparse
import copy
import re
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ltat_tune.config.scalars import pixels
from ltat_tune.config.timeline import deferral_epoch
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import training_batches
from ltat_tune.data.datasets import load_splits
from ltat_tune.errors import TrainingDiverged
from ltat_tune.losses import class_weights
from ltat_tune.methods import ClassState, build_method, needs_projection
from ltat_tune.methods.fairness.class_state import recorded_sums
from ltat_tune.models import build_model
from ltat_tune.models.foreign.start import load_teacher, start_from
from ltat_tune.presentation.names import data_name
from ltat_tune.provenance import machine
from ltat_tune.results.wording import mean_std
from ltat_tune.seeding import new_generator, prepare_process, stream_seed
from ltat_tune.training.epoch_sums import EpochSums
from ltat_tune.training.evaluation import MeasuredPart, measure_accuracy
from ltat_tune.training.metrics import ClassGroups
from ltat_tune.training.optim import build_optimizer, learning_rate
from ltat_tune.training.trainer import Trainer


@dataclass(frozen=True)
class Bench:
    """What the rows have in common.

    Attributes:
        recipe: the values of the configuration that a row does not set.
        split: `val` or `test`, whose images are measured.
        images: the most images that are measured; None is all.
        shows_losses: whether a row begins with two losses.
    """

    recipe: dict[str, object]
    split: str = "val"
    images: int | None = None
    shows_losses: bool = True


_NETWORK = {
    "model.width": 8, "model.stem": "space_to_depth", "optim.batch_size": 64,
    "optim.lr_schedule": "cosine",
}  # fmt: skip
DIGITS = Bench(
    {
        **_NETWORK, "data.name": "digits", "data.imbalance_ratio": 50, "data.val_per_class": 30,
        "attack.eps": 0.1, "attack.step_size": 0.025, "optim.epochs": 16,
        "evaluation.every_epochs": 16,
    }
)  # fmt: skip


def photographs(folder: Path, classes: Sequence[str]) -> Bench:
    """Return the recipe on an image folder; the classes go from head to tail, none means all."""
    recipe = {
        **_NETWORK, "data.name": "image_folder", "data.root": str(folder),
        "data.classes": list(classes) or None, "data.imbalance_ratio": 20,
        "data.max_per_class": 700, "data.val_per_class": 100, "data.augmentation": "crop_flip",
        "attack.eps": 8 / 255, "attack.step_size": 2 / 255, "attack.steps": 5,
        "optim.epochs": 12, "optim.lr": 0.05, "evaluation.every_epochs": 12,
    }  # fmt: skip
    return Bench(recipe, split="test", images=900, shows_losses=False)


MEASURED = {
    "clean, %": "clean_balanced_acc", "PGD-20, %": "pgd20_balanced_acc",
    "CW-20, %": "cw20_balanced_acc", "worst, %": "pgd20_worst_acc", "tail, %": "pgd20_tail_acc",
}  # fmt: skip
BALANCED: dict[str, object] = {"loss.name": "balanced_softmax"}
TAUGHT = "a teacher of the same seed"  # a training of `TEACHER`
# all classes weigh alike, and short, because classes of few images are overfitted soon
TEACHER: dict[str, object] = {"reweight.name": "inverse", "reweight.schedule": "immediate"}
START = "a training of the same seed"  # of PGD-AT with balanced softmax
STEP = "attack.step_size / attack.eps"  # of a method that publishes its step so
ROWS: dict[str, dict[str, object]] = {
    "PGD-AT": {},
    "natural": {"method.name": "natural"},
    "PGD-AT, focal": {"loss.name": "focal"},
    "PGD-AT, effective number": {"loss.name": "effective_number"},
    "PGD-AT, LDAM, cosine head": {"loss.name": "ldam", "model.head": "cosine"},
    "PGD-AT, balanced softmax": BALANCED,
    "N-FGSM, balanced softmax": {
        **BALANCED, "attack.steps": 1, STEP: 1.0, "attack.start": "uniform_clipped",
        "attack.start_radius": 2.0, "attack.projection": False,
    },
    "FGSM-RS, balanced softmax": {
        **BALANCED, "attack.steps": 1, STEP: 1.25, "attack.start": "uniform_clipped",
    },
    "PGD-AT, balanced softmax, average of 2 epochs": {
        **BALANCED, "optim.ema_epochs": 2.0, "optim.ema_keep": "better",
    },
    "SRAT-CE": {"method.name": "srat"},
    "REAT (bounded TAIL)": {"method.name": "reat"},
    "REAT (bounded TAIL, RBL acting)": {"method.name": "reat", "attack.bn_mode": "batch"},
    "REAT (released TAIL)": {"method.name": "reat", "method.tail_variant": "released"},
    "REAT (paper TAIL)": {"method.name": "reat", "method.tail_variant": "paper"},
    "RoBal R, measured at scale 10": {"method.name": "robal"},
    "TRADES": {"method.name": "trades"},
    "MART": {"method.name": "mart"},
    "AWP around PGD-AT": {"method.awp_gamma": 0.01},
    "AWP around TRADES": {"method.name": "trades", "method.awp_gamma": 0.005},
    "AT-BSL": {**BALANCED, "attack.start": "gaussian"},
    "TAET": {"method.name": "taet"},
    "RobustLT around balanced softmax": {
        **BALANCED, "attack.class_budget": 0.3, "attack.class_budget_warmup": 0.8,
        "attack.bn_mode": "batch",
    },
    "ETF penalty around PGD-AT": {"loss.etf_weight": 1.0},
    "DAFA around TRADES": {"method.name": "dafa"},
    "DAFA around PGD-AT": {"method.name": "dafa", "method.base": "pgd_at"},
    "DAFA around PGD-AT, balanced softmax": {
        **BALANCED, "method.name": "dafa", "method.base": "pgd_at",
    },
    "FAAL around PGD-AT": {"method.name": "faal"},
    "FAAL around PGD-AT, released": {
        "method.name": "faal", "method.faal_coefficients": "released",
    },
    "FAAL around PGD-AT, balanced softmax": {**BALANCED, "method.name": "faal"},
    "FAAL, 12 epochs from PGD-AT, balanced softmax": {
        **BALANCED, "method.name": "faal", "model.init": START, "optim.epochs": 12,
        "optim.lr": 0.01,
    },
    "PGD-AT, 12 epochs more, balanced softmax": {
        **BALANCED, "model.init": START, "optim.epochs": 12, "optim.lr": 0.01,
    },
    "FAAL around TRADES": {"method.name": "faal", "method.base": "trades"},
    "CFA around TRADES": {"method.name": "cfa"},
    "CFA around PGD-AT": {"method.name": "cfa", "method.base": "pgd_at"},
    "CFA around PGD-AT, larger radius for hard": {
        "method.name": "cfa", "method.base": "pgd_at", "method.cfa_larger_radius": "hard",
    },
    "CFA around PGD-AT, balanced softmax": {
        **BALANCED, "method.name": "cfa", "method.base": "pgd_at",
    },
    "CFA around PGD-AT, balanced softmax, larger radius for hard": {
        **BALANCED, "method.name": "cfa", "method.base": "pgd_at",
        "method.cfa_larger_radius": "hard",
    },
    "WAT": {"method.name": "wat"},
    "distillation (reconstruction), balanced softmax": {**BALANCED, "method.teacher": TAUGHT},
}  # fmt: skip


def losses_at(config: TrialConfig, steps: tuple[int, ...]) -> list[float]:
    """The loss of the batch at these steps, counted from 0, as the trainer would see it."""
    trainer, seed = Trainer(config), config.seeds.seed
    model = build_model(
        config.model, in_channels=1, num_classes=10, projection=needs_projection(config),
        seed=stream_seed(seed, "weights"),
    )  # fmt: skip
    if config.model.init is not None:
        start_from(model, config.model.init)
    optimizer = build_optimizer(config.optim, model)
    generators = {name: new_generator(seed, name) for name in ("batches", "attack")}
    found: list[float] = []
    predicted: torch.Tensor | None = None
    classes, teacher = ClassState(), None
    if config.method.teacher is not None:
        load_teacher(teacher := copy.deepcopy(model), config.method.teacher)
    step = 0
    for epoch in range(config.optim.epochs):
        method = build_method(
            config, trainer.counts, epoch=epoch, predicted=predicted, classes=classes,
            teacher=teacher,
        )  # fmt: skip
        sums = EpochSums(10, trainer.device, **recorded_sums(config, epoch))
        optimizer.param_groups[0]["lr"] = learning_rate(config.optim, epoch)
        weights = class_weights(config.reweight, trainer.counts)
        late = epoch >= deferral_epoch(config)
        for images, targets in training_batches(
            trainer.splits.train, config.optim.batch_size, config=config.data,
            generator=generators["batches"],
        ):  # fmt: skip
            output = method.training_step(
                model, images, targets, class_weights=weights if late else None,
                generator=generators["attack"],
            )  # fmt: skip
            sums.add(output, targets)
            if step in steps:
                found.append(output.loss.item())
            if step == max(steps):
                return found
            optimizer.zero_grad(set_to_none=True)
            output.loss.backward()
            optimizer.step()
            if output.after_update is not None:
                output.after_update()
            step += 1
        predicted = torch.tensor(sums.read()[1])
        classes = classes.after(*sums.read_classes())
    raise ValueError(f"the run has {step} steps, fewer than {max(steps)}")


def configured(bench: Bench, values: Mapping[str, object], seed: int, folder: Path) -> TrialConfig:
    """Return a row's configuration of one seed.

    What it starts from is trained once for each seed, and lies in `folder`.
    """
    recipe = {**bench.recipe, "seeds.seed": seed}
    plain, values = TrialConfig.from_flat(recipe), dict(values)
    if STEP in values:
        values["attack.step_size"] = float(str(values.pop(STEP))) * plain.attack.eps
    for path, mark, of, epochs in (
        ("method.teacher", TAUGHT, TEACHER, 8),
        ("model.init", START, BALANCED, plain.optim.epochs),
    ):
        if values.get(path) == mark:
            file = folder / f"{path}-{seed}.pt"
            if not file.exists():
                before = TrialConfig.from_flat({**recipe, **of}).shortened(epochs)
                Trainer(before, cache_dir=folder / "cache").fit(checkpoint=file)
            values[path] = str(file)
    return TrialConfig.from_flat({**recipe, **values})


def measured(bench: Bench, config: TrialConfig, folder: Path) -> dict[str, float]:
    """Train a configuration, and return its accuracies by the names of `MEASURED`."""
    trainer = Trainer(config, cache_dir=folder / "cache")
    found = trainer.fit()
    metrics, split = found.metrics, bench.split
    data = trainer.splits.val if split == "val" else trainer.splits.test()
    for attack in ("clean", "pgd20", "cw20"):
        if f"{split}/{attack}_balanced_acc" not in metrics:
            accuracy = measure_accuracy(
                found.model, data, attack, config, split=split,
                classes=len(trainer.splits.classes), at_most=bench.images,
            )  # fmt: skip
            metrics |= accuracy.metrics(f"{split}/{attack}", trainer.groups)
    return {title: metrics[f"{split}/{name}"] for title, name in MEASURED.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="repeats of each row")
    parser.add_argument("--only", default="", help="rows whose name matches this")
    parser.add_argument("--bf16", action="store_true", help="also with compute.precision: bf16")
    parser.add_argument("--images", type=Path, help="a folder of images instead of digits")
    parser.add_argument("--classes", nargs="+", default=[], help="of the folder, head to tail")
    arguments = parser.parse_args()
    prepare_process(1)
    folder = arguments.images
    print_table(
        photographs(folder, arguments.classes) if folder else DIGITS,
        [name for name in ROWS if re.search(arguments.only, name, re.IGNORECASE)],
        seeds=arguments.seeds, bf16=arguments.bf16,
    )  # fmt: skip


def print_table(bench: Bench, names: Sequence[str], *, seeds: int, bf16: bool = False) -> None:
    """Print each row when it is trained, and then what was measured on which images."""
    titles = ["loss, step 0", "step 50"] * bench.shows_losses + list(MEASURED)
    titles += ["bf16 - fp32, points"] * bf16
    width = max(map(len, names)) + 2

    def show(name: str, cells: Sequence[str]) -> None:
        padded = (
            cell.ljust(max(11, len(title)) + 2) for cell, title in zip(cells, titles, strict=False)
        )
        print(f"{name:{width}}{''.join(padded)}".rstrip(), flush=True)

    show("method", titles)
    moved: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in names:
            configs = [configured(bench, ROWS[name], seed, folder) for seed in range(seeds)]
            cells = []
            if bench.shows_losses:
                cells += [f"{loss:.4f}" for loss in losses_at(configs[0], (0, 50))]
            try:
                results = [measured(bench, config, folder) for config in configs]
            except TrainingDiverged as reason:
                show(name, [*cells, str(reason)])
                continue
            cells += [mean_std([result[title] for result in results]) for title in MEASURED]
            if bf16:
                half = {"compute.precision": "bf16"}
                apart = [
                    measured(bench, config.replace(half), folder)["PGD-20, %"]
                    - result["PGD-20, %"]
                    for config, result in zip(configs, results, strict=True)
                ]
                moved += [100 * one for one in apart]
                cells.append(mean_std(apart))
            show(name, cells)
        print(_measured_on(bench, TrialConfig.from_flat(bench.recipe), folder, seeds))
    if len(moved) > 1:
        error = statistics.stdev(moved) / len(moved) ** 0.5
        print(
            f"bfloat16 moves PGD-20 by {statistics.mean(moved):+.2f} points, standard error "
            f"{error:.2f}, over {len(moved)} pairs of trainings"
        )


def _measured_on(bench: Bench, config: TrialConfig, folder: Path, seeds: int) -> str:
    splits = load_splits(config, cache_dir=folder / "cache")
    counts = splits.samples_per_class.tolist()
    tail = [splits.classes[place] for place in ClassGroups.from_counts(counts).members["tail"]]
    data, kind = (splits.val, "validation") if bench.split == "val" else (splits.test(), "test")
    images = len(MeasuredPart.of(bench.split, data, bench.images, at_most=True))
    return (
        "clean, PGD-20 and CW-20 are balanced; worst class and tail "
        f"({', '.join(tail)}) are under PGD-20; ± is the standard deviation over {seeds} seeds\n"
        f"{images} {kind} images; {counts} training images by class, "
        f"{data_name(config.data, counts)}; L-inf eps {pixels(config.attack.eps)}; {machine()}"
    )


if __name__ == "__main__":
    main()
