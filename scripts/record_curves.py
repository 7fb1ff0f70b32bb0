"""Records real learning curves on digits for bench_search.py, once.

    python scripts/record_curves.py         # about an hour on one core; goes on where it stopped

A full factorial grid of 288 configurations (digits, UR 50, 24 epochs, SRAT): three losses, four
learning rates, two weight decays, three separation weights λ, four kinds of deferred reweighting.
Of each: validation after every epoch, short complete copies (also with a cheaper attack), probes,
and the truth: PGD-20 on the test images, mean of two seeds. Configurations that differ only in
what acts after the deferral share a stem, as in a study; a branch is the training from scratch to
the last bit.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ltat_tune.config.timeline import deferral_epoch
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.datasets import load_splits
from ltat_tune.errors import TrainingDiverged
from ltat_tune.seeding import prepare_process
from ltat_tune.training.checkpoint import adopt_checkpoint
from ltat_tune.training.evaluation import measure_accuracy
from ltat_tune.training.fit_result import EpochMetrics
from ltat_tune.training.trainer import Trainer

EPOCHS = 24
COPIES = (3, 6, 12)
CHEAP_COPY, CHEAP_STEPS = 6, 2
PROBES, PROBE_EPOCHS = (3, 6, 12), 2
SCORE = "val/pgd10_balanced_acc"
OUT = Path(__file__).parent.parent / "tests" / "data" / "digits_curves.json"

FIXED: dict[str, Any] = {
    "data.name": "digits",
    "data.val_per_class": 30,
    "data.imbalance_ratio": 50,
    "model.width": 8,
    "model.stem": "space_to_depth",
    "method.name": "srat",
    "attack.eps": 0.1,
    "attack.step_size": 0.025,
    "attack.steps": 10,
    "optim.epochs": EPOCHS,
    "optim.batch_size": 64,
    "optim.milestones": [0.75, 0.9],
    "reweight.schedule": "deferred",
    "reweight.start_fraction": 0.75,
    "evaluation.val_attack": "pgd10",
    "evaluation.select_epoch": "best",
}
EARLY: dict[str, tuple[Any, ...]] = {
    "optim.weight_decay": (5e-4, 5e-3),
    "loss.name": ("cross_entropy", "balanced_softmax", "ldam"),
    "optim.lr": (0.02, 0.05, 0.1, 0.3),
    "method.separation_weight": (0.0, 0.3, 2.0),
}
LATE: tuple[dict[str, Any], ...] = (
    {"reweight.name": "none"},
    {"reweight.name": "class_balanced", "reweight.beta": 0.9},
    {"reweight.name": "class_balanced", "reweight.beta": 0.999},
    {"reweight.name": "under_represented", "reweight.under_weight": 20},
)


def early_points() -> Iterator[dict[str, Any]]:
    """What is shared by the configurations of one stem."""
    for values in itertools.product(*EARLY.values()):
        yield dict(zip(EARLY, values, strict=True))


class Stem:
    """Trains the configurations of one stem, each from the deferral on."""

    def __init__(self, splits: Any, folder: Path) -> None:
        self._splits, self._folder = splits, folder

    def train(
        self, config: TrialConfig, begins: int, *, probes: bool = False
    ) -> tuple[Trainer, Any] | None:
        """A finished training, or None where it diverged; `begins` is where branches part."""
        trainer = Trainer(config, splits=self._splits)
        path, stem = self._folder / "checkpoint.pt", self._folder / "stem.pt"
        path.unlink(missing_ok=True)
        if stem.exists():
            adopt_checkpoint(stem, path, identity=config.identity)

        def keep_stem(done: EpochMetrics) -> None:
            if done.epoch == begins and not stem.exists():
                shutil.copyfile(path, stem)

        try:
            result = trainer.fit(
                keep_stem,
                checkpoint=path,
                # probes before the deferral see what acts late, so they are made one by one below
                probe_at=[p for p in PROBES if p > begins] if probes else (),
                probe_epochs=PROBE_EPOCHS,
            )
        except TrainingDiverged:
            return None
        return trainer, result


def record(
    early: dict[str, Any], base: TrialConfig, splits: Any, scratch: Path
) -> list[dict[str, Any]]:
    """The curves of all branches of one stem."""
    found: list[dict[str, Any]] = []
    configs = [base.replace({**early, **late}) for late in LATE]
    begins = max(deferral_epoch(config) for config in configs)
    for late in LATE:
        found.append({"early": early, "late": late, "copies": {}, "probes": {}, "truth": []})
    for seed in (0, 1):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            stem = Stem(splits, Path(folder))
            for config, row in zip(configs, found, strict=True):
                trained = stem.train(config.replace({"seeds.seed": seed}), begins)
                if trained is None:
                    row.setdefault("curve", [])
                    row["truth"].append(None)
                    continue
                trainer, result = trained
                if seed == 0:
                    row["curve"] = [round(past.metrics[SCORE], 4) for past in trainer.history]
                    row["epoch_seconds"] = sorted(p.seconds for p in trainer.history)[EPOCHS // 2]
                tested = measure_accuracy(
                    result.model,
                    splits.test(),
                    "pgd20",
                    config,
                    split="test",
                    classes=len(splits.classes),
                )
                row["truth"].append(
                    round(
                        tested.metrics("test/pgd20", trainer.groups)["test/pgd20_balanced_acc"], 4
                    )
                )
    for length, steps in [*((copy, None) for copy in COPIES), (CHEAP_COPY, CHEAP_STEPS)]:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            stem = Stem(splits, Path(folder))
            for config, row in zip(configs, found, strict=True):
                short = config.shortened(length)
                if steps is not None:
                    short = short.replace({"attack.steps": steps})
                trained = stem.train(short, round(0.75 * length))
                score = None if trained is None else round(trained[1].metrics[SCORE], 4)
                row["copies"][str(length) if steps is None else f"{length}s{steps}"] = score
    for config, row in zip(configs, found, strict=True):
        trainer = Trainer(config.replace({"optim.epochs": EPOCHS}), splits=splits)
        scores: dict[int, float | None] = {}

        class Enough(Exception):
            pass

        def look(done: EpochMetrics, trainer: Trainer = trainer, scores: Any = scores) -> None:
            if done.epoch in PROBES:
                probe = trainer.probe(PROBE_EPOCHS)
                score = probe.get("probe/" + SCORE.removeprefix("val/"))
                scores[done.epoch] = None if score is None else round(score, 4)
            if done.epoch == PROBES[-1]:
                raise Enough

        try:
            trainer.fit(look)
        except (Enough, TrainingDiverged):
            pass
        row["probes"] = {str(epoch): score for epoch, score in scores.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--stems", type=int, default=None, help="only the first so many")
    arguments = parser.parse_args()
    prepare_process(1)
    base = TrialConfig.from_flat(FIXED)
    splits = load_splits(base)
    points = list(early_points())[: arguments.stems]
    parts = arguments.out.with_suffix(".jsonl")
    parts.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in parts.read_text().splitlines()] if parts.exists() else []
    known = [rows[0]["early"] for rows in done]
    with tempfile.TemporaryDirectory() as scratch, open(parts, "a") as file:
        for early in points:
            if early in known:
                continue
            began = time.perf_counter()
            rows = record(early, base, splits, Path(scratch))
            done.append(rows)
            file.write(json.dumps(rows) + "\n")
            file.flush()
            print(f"{len(done)} of {len(points)} stems, {time.perf_counter() - began:.1f} s")
    table = {
        "made_by": "scripts/record_curves.py",
        "epochs": EPOCHS,
        "probe_epochs": PROBE_EPOCHS,
        "fixed": FIXED,
        "rows": [row for rows in done for row in rows],
    }
    arguments.out.write_text(json.dumps(table, separators=(",", ":")) + "\n")
    parts.unlink()


if __name__ == "__main__":
    main()
