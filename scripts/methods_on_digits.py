#!/usr/bin/env python
"""Every method on digits at imbalance ratio 50: the loss at two steps, and robust accuracy.

    python scripts/methods_on_digits.py [--seeds 3] [--only 'reat|srat'] [--bf16]

Trains each row with its default hyperparameters and the same recipe (the quickstart's network, 16
epochs, PGD-10 at L-inf eps 0.1) and prints, beside PGD-AT: the loss of the batch at step 0 and at
step 50 of seed 0, and on the validation images balanced accuracy (clean, PGD-20, CW-20), and the
recall of the worst class and of the tail under PGD-20, mean and standard deviation over seeds. A
check that every method trains, not a ranking: nothing is tuned.
`--bf16` trains each seed in bfloat16 too, and shows by how many points that moves PGD-20.
"""

from __future__ import annotations

import argparse
import copy
import re
import statistics
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from ltat_tune.config.timeline import deferral_epoch
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import training_batches
from ltat_tune.data.sources import class_counts
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
from ltat_tune.training.evaluation import measure_accuracy
from ltat_tune.training.optim import build_optimizer, learning_rate
from ltat_tune.training.trainer import Trainer

RECIPE = {
    "data.name": "digits", "data.imbalance_ratio": 50, "data.val_per_class": 30,
    "model.width": 8, "model.stem": "space_to_depth", "attack.eps": 0.1, "attack.step_size": 0.025,
    "optim.epochs": 16, "optim.batch_size": 64, "optim.lr_schedule": "cosine",
    "evaluation.every_epochs": 16,
}  # fmt: skip
CLEAN, PGD20 = "val/clean_balanced_acc", "val/pgd20_balanced_acc"
WORST, TAIL, CW20 = "val/pgd20_worst_acc", "val/pgd20_tail_acc", "val/cw20_balanced_acc"
BALANCED: dict[str, object] = {"loss.name": "balanced_softmax"}
TAUGHT = "a teacher of the same seed"  # a training of `TEACHER`
# all classes weigh alike, and short, because classes of few images are overfitted soon
TEACHER: dict[str, object] = {"reweight.name": "inverse", "reweight.schedule": "immediate"}
START = "a training of the same seed"  # of PGD-AT with balanced softmax
ROWS: dict[str, dict[str, object]] = {
    "PGD-AT": {},
    "natural": {"method.name": "natural"},
    "PGD-AT, focal": {"loss.name": "focal"},
    "PGD-AT, effective number": {"loss.name": "effective_number"},
    "PGD-AT, LDAM, cosine head": {"loss.name": "ldam", "model.head": "cosine"},
    "PGD-AT, balanced softmax": BALANCED,
    "N-FGSM, balanced softmax": {
        **BALANCED, "attack.steps": 1, "attack.step_size": 0.1, "attack.start": "uniform_clipped",
        "attack.start_radius": 2.0, "attack.projection": False,
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


def _configured(values: dict[str, object], seed: int, folder: Path) -> TrialConfig:
    """A row's configuration of one seed. What it starts from is trained once for each seed."""
    values = {**values, "seeds.seed": seed}
    for path, mark, of, epochs in (
        ("method.teacher", TAUGHT, TEACHER, 8), ("model.init", START, BALANCED, 16),
    ):  # fmt: skip
        if values.get(path) == mark:
            file = folder / f"{path}-{seed}.pt"
            if not file.exists():
                before = TrialConfig.from_flat({**RECIPE, **of, "seeds.seed": seed})
                Trainer(before.shortened(epochs)).fit(checkpoint=file)
            values[path] = str(file)
    return TrialConfig.from_flat({**RECIPE, **values})


def _trained(config: TrialConfig, precision: str) -> dict[str, float]:
    """The last epoch's metrics, and the accuracy after CW-20."""
    config = config.replace({"compute.precision": precision})
    trainer = Trainer(config)
    found = trainer.fit()
    margin = measure_accuracy(
        found.model, trainer.splits.val, "cw20", config, split="val", classes=10
    )
    return found.metrics | margin.metrics("val/cw20", trainer.groups)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="repeats of each row")
    parser.add_argument("--only", default="", help="rows whose name matches this")
    parser.add_argument("--bf16", action="store_true", help="also with compute.precision: bf16")
    arguments = parser.parse_args()
    prepare_process(1)
    table = Table(
        "method", "loss, step 0", "step 50", "clean, %", "PGD-20, %", "CW-20, %", "worst, %",
        "tail, %", box=None,
    )  # fmt: skip
    moved: list[float] = []
    if arguments.bf16:
        table.add_column("bf16 - fp32, points")
    with tempfile.TemporaryDirectory() as folder:
        for name, values in ROWS.items():
            if not re.search(arguments.only, name, re.IGNORECASE):
                continue
            seeds = range(arguments.seeds)
            configs = [_configured(values, seed, Path(folder)) for seed in seeds]
            first, later = losses_at(configs[0], (0, 50))
            results = [_trained(config, "fp32") for config in configs]
            measured = (CLEAN, PGD20, CW20, WORST, TAIL)
            columns = [[metrics[one] for metrics in results] for one in measured]
            shown = [mean_std(column) for column in columns]
            if arguments.bf16:
                other = [_trained(config, "bf16")[PGD20] for config in configs]
                apart = [half - whole for half, whole in zip(other, columns[1], strict=True)]
                moved += [100 * one for one in apart]
                shown.append(mean_std(apart))
            table.add_row(name, f"{first:.4f}", f"{later:.4f}", *shown)
    console, images = Console(highlight=False, width=150), TrialConfig.from_flat(RECIPE)
    console.print(table)
    console.print(
        f"balanced accuracy on 300 validation images, mean of {arguments.seeds} seeds; ± is the "
        f"standard deviation over the seeds; {data_name(images.data, class_counts(images))}, "
        f"L-inf eps 0.1; {machine()}"
    )
    if len(moved) > 1:
        error = statistics.stdev(moved) / len(moved) ** 0.5
        console.print(
            f"bfloat16 moves PGD-20 by {statistics.mean(moved):+.2f} points, standard error "
            f"{error:.2f}, over {len(moved)} pairs of trainings"
        )


if __name__ == "__main__":
    main()
