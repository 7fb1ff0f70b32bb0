#!/usr/bin/env python
"""Does an average of trials that share a stem beat the best single trial on the test images?

    python scripts/soups_tried.py [--seeds 12] [--to studies]
    python scripts/soups_tried.py --images FOLDER --classes ship cat frog [--seeds 12]

Runs the study of problems/soups.yaml on digits, or of problems/soups_photographs.yaml on a folder
of images with `train/` and `test/`, once for each seed of the training, of the subset and of the
search, makes its soups, and attacks all test images. Prints balanced clean and PGD-20 accuracy of
three models, all chosen on the validation images: the best trial; the same with BatchNorm
statistics estimated anew, to show what of a gain is theirs alone; and the best soup. The trial
stands for the soup where no average beats it.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from scipy.stats import t
from torch import nn

from ltat_tune import Study
from ltat_tune.comparison.entries import review
from ltat_tune.config.scalars import pixels
from ltat_tune.data.sources import class_counts
from ltat_tune.evaluation.loading import Loaded, load_target
from ltat_tune.evaluation.targets import find_targets
from ltat_tune.export.soup.make import make_soups
from ltat_tune.presentation.names import data_name
from ltat_tune.provenance import machine
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.training.batch_statistics import estimate_statistics
from ltat_tune.training.evaluation import measure_accuracy

DIGITS = Path(__file__).parent / "problems" / "soups.yaml"
PHOTOGRAPHS = DIGITS.with_name("soups_photographs.yaml")
ATTACKS = ("clean", "pgd20")
ROWS = ("best trial", "best trial, statistics anew", "soup")


def balanced(model: nn.Module, loaded: Loaded) -> list[float]:
    """The balanced accuracy on all test images, clean and attacked."""
    found = []
    for attack in ATTACKS:
        accuracy = measure_accuracy(
            model, loaded.splits.test(), attack, loaded.config, split="test",
            classes=len(loaded.splits.classes),
        )  # fmt: skip
        found.append(accuracy.metrics("test", loaded.groups)["test_balanced_acc"])
    return found


def one_study(
    space: Path, data: Mapping[str, object], seed: int, to: Path
) -> tuple[dict[str, list[float]], float, int, str]:
    """The accuracies of the three models, the gain on the validation images, members, images.

    Args:
        space: the file of the study.
        data: values by path that the file leaves open.
        seed: of training, subset and search.
        to: folder of the studies.
    """
    name = f"{space.stem.replace('_', '-')}-{seed}"
    if not (to / name / "results.json").exists():
        seeds = {"seeds.seed": seed, "seeds.subset_seed": seed, "searcher.seed": seed}
        Study(space, out=to, overrides={"name": name, **data, **seeds}).run(in_process=True)
    (made,) = make_soups(review(StudyFolder.open(to / name)), device="cpu")
    alone = max(soup.best_alone for soup in made.soups)
    (target,) = find_targets(str(made.best_trial.folder), to)
    trial = load_target(target)
    anew = copy.deepcopy(trial.model)
    estimate_statistics(
        anew, trial.config, trial.splits.train, trial.splits.samples_per_class,
        epoch=trial.config.optim.epochs - 1, classes=trial.class_state,
    )  # fmt: skip
    found = {ROWS[0]: balanced(trial.model, trial), ROWS[1]: balanced(anew.eval(), trial)}
    best = made.best
    images = f"{len(trial.splits.test().targets)} test images"
    counts = class_counts(trial.config)
    of = f"{counts} training images by class, {data_name(trial.config.data, counts)}"
    of += f", L-inf eps {pixels(trial.config.attack.eps)}"
    if best is None or made.path is None or best.score <= alone:
        return {**found, ROWS[2]: found[ROWS[0]]}, 0.0, 1, f"{images}, {of}"
    (target,) = find_targets(str(made.path), to)
    soup = load_target(target)
    found[ROWS[2]] = balanced(soup.model, soup)
    return found, best.score - alone, len(best.members), f"{images}, {of}"


def in_words(gains: list[float]) -> str:
    """The mean of gains in points, and how many are higher or lower."""
    ends = ""
    if len(gains) > 1:
        half = t.isf(0.025, len(gains) - 1) * statistics.stdev(gains) / math.sqrt(len(gains))
        mean = statistics.mean(gains)
        ends = f" (95 % interval {mean - half:+.2f} to {mean + half:+.2f})"
    higher, lower = sum(g > 1e-9 for g in gains), sum(g < -1e-9 for g in gains)
    return (
        f"{statistics.mean(gains):+.2f} points{ends}, {higher} of {len(gains)} higher, "
        f"{lower} lower"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--seeds", type=int, default=12, help="studies, each with seeds of its own"
    )
    parser.add_argument("--to", type=Path, default=Path("studies"), help="folder of the studies")
    parser.add_argument("--images", type=Path, help="a folder of images instead of digits")
    parser.add_argument("--classes", nargs="+", default=[], help="of the folder, head to tail")
    arguments = parser.parse_args()
    space, data = DIGITS, dict[str, object]()
    if arguments.images:
        space = PHOTOGRAPHS
        data = {"data.root": str(arguments.images), "data.classes": arguments.classes or None}
        arguments.to /= "-".join([arguments.images.name, *arguments.classes])
    table = Table("seed", "model", *(f"{name}, %" for name in ATTACKS), box=None)
    gains: dict[str, list[list[float]]] = {name: [[], []] for name in ROWS[1:]}
    for seed in range(arguments.seeds):
        found, on_val, members, about = one_study(space, data, seed, arguments.to)
        for row, values in found.items():
            more = f" of {members}, {100 * on_val:+.1f} on validation" if row == ROWS[2] else ""
            table.add_row(str(seed), row + more, *(f"{100 * value:.1f}" for value in values))
        for row, lists in gains.items():
            for gain, value, base in zip(lists, found[row], found[ROWS[0]], strict=True):
                gain.append(100 * (value - base))
    console = Console(highlight=False, width=110)
    console.print(table)
    console.print("test images, against the best trial:")
    for row, lists in gains.items():
        for attack, gain in zip(ATTACKS, lists, strict=True):
            console.print(f"{row}, {attack}: {in_words(gain)}")
    console.print(f"balanced accuracy; {about}; {machine()}")


if __name__ == "__main__":
    main()
