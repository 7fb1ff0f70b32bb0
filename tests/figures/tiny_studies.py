"""Real studies of the smallest trainings, as `ltat-tune` leaves them, made without Ray."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from ltat_tune.config.config_file import dump_config
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import (
    CompleteTraining,
    KeptAnswers,
    MeasuredOnTest,
    write_test,
    write_training,
)
from ltat_tune.training.evaluation import correct_answers, measured_part
from ltat_tune.training.metrics import Accuracy
from ltat_tune.training.trainer import Trainer
from tests.training.toys import TINY

Values = Mapping[str, Any]
ATTACKS = ("clean", "pgd2")


def make_study(
    root: Path,
    scenarios: Mapping[str, tuple[Values, Sequence[Values]]],
    *,
    seeds: Sequence[int] = (0, 1),
    **common: Any,
) -> Path:
    """Trains every recipe of every scenario with every seed and measures it on the test images.

    Args:
        root: folder of the study.
        scenarios: name -> what is fixed in it, and the recipes.
        seeds: of the confirmations; the trials are those of the first.
        **common: values of all, by path with `__` for the dot.
    """
    folder = StudyFolder(root)
    facts = {"format": 1, "space_file": "tiny.yaml", "created": ""}
    folder.create({"name": root.name}, facts)
    shared = {path.replace("__", "."): value for path, value in common.items()}
    for name, (fixed, recipes) in scenarios.items():
        for number, recipe in enumerate(recipes):
            for seed in seeds:
                config = TrialConfig.from_flat(
                    {**TINY, "optim.lr": 0.05, **shared, **fixed, **recipe, "seeds.seed": seed}
                )
                place = folder.confirmation(name, config.recipe, seed)
                _confirm(place, config, folder.cache)
                if seed == seeds[0]:
                    shutil.copytree(
                        place, folder.trial(name, number),
                        ignore=shutil.ignore_patterns("test.json"),
                    )  # fmt: skip
    return root


def _confirm(place: Path, config: TrialConfig, cache: Path) -> None:
    trainer = Trainer(config, cache_dir=cache)
    place.mkdir(parents=True)
    result = trainer.fit(checkpoint=place / "checkpoint.pt")
    dump_config(place / "config.yaml", config, comment="tiny")
    write_training(place, CompleteTraining(
        state="complete", epoch=result.epoch, metrics=result.metrics,
        weights=result.weights, per_class=result.per_class, predicted=result.predicted,
        ae_distances=result.ae_distances, subset_hash=trainer.splits.subset_hash,
        samples_per_class=trainer.counts.tolist(),
    ))  # fmt: skip
    test, classes = trainer.splits.test(), len(trainer.splits.classes)
    measured = MeasuredOnTest(
        state="complete", epoch=result.epoch, weights=result.weights,
        metrics={}, per_class={}, images={},
    )  # fmt: skip
    for attack in ATTACKS:
        part = measured_part(test, attack, config, split="test")
        correct = correct_answers(result.model, part, attack, config)
        targets = part.data.targets
        accuracy = Accuracy.count(correct, targets, classes)
        measured = measured.with_attack(
            attack, accuracy.metrics(f"test/{attack}", trainer.groups), accuracy.per_class,
            KeptAnswers.of(correct.numpy(), targets.numpy(), classes=classes),
        )  # fmt: skip
    write_test(place, measured)


def bar_heights(axes: Axes) -> list[float]:
    """Heights of the bars, from left to right as they were drawn."""
    return [bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)]


LEAST_PT = 6  # at the width at which a paper shows the figure


def _collisions(axes: Axes, renderer: Any) -> list[str]:
    """Labels of an axis, or texts beside bars and points, that lie on each other."""
    found = []
    for texts in (axes.get_xticklabels(), axes.get_yticklabels(), axes.texts):
        shown = [t for t in texts if t.get_visible() and t.get_text().strip()]
        boxes = [t.get_window_extent(renderer) for t in shown]
        slanted = any(t.get_rotation() % 90 for t in shown)  # its box is larger than the text
        for i, one in enumerate(boxes):
            for j in range(i + 1, len(boxes)):
                common = Bbox.intersection(one, boxes[j])
                if not slanted and common is not None and min(common.width, common.height) > 1:
                    found.append(f"{shown[i].get_text()!r} lies on {shown[j].get_text()!r}")
    return found


def overlaps(fig: Figure) -> list[str]:
    """What lies on top of something else, or outside of the paper: empty in a good figure."""
    fig.canvas.draw()
    renderer = fig.canvas.get_renderer()  # type: ignore[attr-defined]
    paper = Bbox.from_bounds(0, 0, *(fig.get_size_inches() * fig.dpi))
    boxes = {}
    for i, axes in enumerate(fig.axes):
        box = axes.get_tightbbox(renderer)
        if axes.axison and box is not None:
            boxes[f"axes {i}"] = box
    boxes |= {f"legend {i}": x.get_window_extent(renderer) for i, x in enumerate(fig.legends)}
    boxes |= {f"text {x.get_text()!r}": x.get_window_extent(renderer) for x in fig.texts}
    found = [
        f"{name} is outside of the paper"
        for name, box in boxes.items()
        if not (box.x0 >= paper.x0 - 2 and box.x1 <= paper.x1 + 2
                and box.y0 >= paper.y0 - 2 and box.y1 <= paper.y1 + 2)
    ]  # fmt: skip
    found += [line for axes in fig.axes if axes.axison for line in _collisions(axes, renderer)]
    found += [
        f"{text.get_text()!r} has {text.get_fontsize()} pt, which is too small for print"
        for text in fig.findobj(Text) if text.get_text() and float(text.get_fontsize()) < LEAST_PT
    ]  # fmt: skip
    names = list(boxes)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            common = Bbox.intersection(boxes[one], boxes[other])
            if common is not None and min(common.width, common.height) > 1:
                found.append(f"{one} lies on {other}")
    return found
