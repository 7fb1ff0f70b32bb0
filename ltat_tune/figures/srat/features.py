"""SRAT's t-SNE figures: penultimate features of clean images by method (3, 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ltat_tune.errors import MissingData
from ltat_tune.figures import panels, style
from ltat_tune.figures.captions import small_print
from ltat_tune.figures.embedding import bare, tsne
from ltat_tune.figures.panels import Group
from ltat_tune.figures.sources import Recipe, Sources
from ltat_tune.figures.spec import Drawing
from ltat_tune.presentation import palette
from ltat_tune.presentation.names import row_name
from ltat_tune.training.metrics import ClassGroups

if TYPE_CHECKING:
    from ltat_tune.figures.features import Features


_SHOWN = ("CE", "DRCB-LDAM", "SRAT-LDAM")


def of_pair(sources: Sources) -> Drawing:
    """Draw Figure 3: training images of a pair after unweighted natural and adversarial training.

    Deviations: each class shows as many images as `--test-images` allows; the rare one of CIFAR
    shows all.
    """
    import torch

    from ltat_tune.figures.features import features_under_attack, trained
    from ltat_tune.training.evaluation import MeasuredPart

    group = panels.nearest_recipe(sources, _fits, "natural and adversarial training of a pair")
    pairs = [g for g in panels.groups(sources) if _fits(g)]
    group = next((g for g in pairs if g[0].config.data.classes == ("cat", "horse")), group)
    methods = _methods(group)
    fig, axes = style.paper_figure(2, cols=len(methods), height_in=2.9)
    recipes = [_lightest(group, method) for method in methods]
    for column, (method, recipe) in enumerate(zip(methods, recipes, strict=True)):
        run = recipe.first
        restored = trained(run, sources.device)
        targets = restored.train.targets.cpu().numpy()
        most = max(1, sources.images // len(restored.classes))
        rows = np.concatenate(
            [np.flatnonzero(targets == c)[:most] for c in range(len(restored.classes))]
        )
        places = torch.from_numpy(rows)
        part = MeasuredPart("train", restored.train.at(places).to(sources.device), places)
        shown = features_under_attack(restored.model, part, run.config, steps=0)
        separation = _scatter(axes[0, column], shown, run.samples_per_class)
        style.letter(axes[0, column], column, f"{_METHODS[method]}; {separation}")
    _legend(fig, run.class_names, run.samples_per_class)
    notes = small_print(
        fig, recipes, paper="CIFAR-10 (cat, horse) Step-100", attack="",
        images=f"clean training images, at most {most} of a class",
        seeds=f"seed {run.seed}", more=_EXPLAINED,
    )  # fmt: skip
    lacking = [f"without {title}" for method, title in _METHODS.items() if method not in methods]
    return Drawing(fig, (*notes, *lacking))


_EXPLAINED = (
    "t-SNE of the penultimate features",
    "the silhouette (−1 to 1, higher is better separated) is of the features themselves, not of "
    "the picture",
)


_METHODS = {"natural": "natural training", "pgd_at": "adversarial training"}


def _methods(group: Group) -> list[str]:
    there = {recipe.config.method.name for recipe in group}
    return [method for method in _METHODS if method in there]


def _fits(group: Group) -> bool:
    """Return whether a group is a pair with both methods, or with one in a study of weights.

    A smoke run leaves only one method.
    """
    if len(group[0].first.samples_per_class) != 2:
        return False
    methods = _methods(group)
    weighted = any(
        recipe.config.method.name in methods and recipe.config.reweight.name == "under_represented"
        for recipe in group
    )
    return len(methods) == 2 or weighted


def _lightest(group: Group, method: str) -> Recipe:
    """Return the recipe without weights, or with the smallest weight."""

    def weight(recipe: Recipe) -> float:
        reweight = recipe.config.reweight
        return reweight.under_weight if reweight.name == "under_represented" else 1.0

    return min((r for r in group if r.config.method.name == method), key=weight)


def of_methods(sources: Sources) -> Drawing:
    """Draw Figure 4: test images after PGD-AT (CE), DRCB-LDAM and SRAT-LDAM.

    Deviations: the text does not name the images; here they are the class-balanced, clean test
    images.
    """
    from ltat_tune.figures.features import test_features

    def shown(group: Group) -> list[Recipe]:
        named = {row_name(recipe.config): recipe for recipe in reversed(group)}
        return [named[name] for name in _SHOWN if name in named]

    group = max(panels.groups(sources), key=lambda g: len(shown(g)), default=[])
    chosen = shown(group)
    if not chosen:
        raise MissingData(f"a trained model out of {', '.join(_SHOWN)}")
    fig, axes = style.paper_figure(2, cols=len(chosen), height_in=2.9)
    for column, recipe in enumerate(chosen):
        features = test_features(recipe.first, sources, steps=0)
        separation = _scatter(axes[0, column], features, recipe.first.samples_per_class)
        name = row_name(recipe.config)
        style.letter(axes[0, column], column, f"{name}; {separation}")
    run = chosen[0].first
    _legend(fig, run.class_names, run.samples_per_class)
    on_cifar = run.config.data.name == "cifar10"  # the text does not name the imbalance
    notes = small_print(
        fig, chosen, paper="" if on_cifar else "CIFAR-10", attack="",
        images=f"{len(features.targets)} clean test images", seeds=f"seed {run.seed}",
        more=_EXPLAINED,
    )  # fmt: skip
    missing = [n for n in _SHOWN if n not in {row_name(r.config) for r in chosen}]
    lacking = (f"not trained here: {', '.join(missing)}",) if missing else ()
    return Drawing(fig, (*notes, *lacking))


def silhouette(features: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Return how well the classes are separated in feature space, -1 to 1."""
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(features, targets))


def _look_of(classes: int, counts: list[int]) -> list[tuple[str, str]]:
    """Return every class's colour and marker: dots if well-represented, else triangles."""
    members = ClassGroups.from_counts(counts).members
    looks = {}
    for group, marker in (("well", "o"), ("under", "^")):
        for place, label in enumerate(members.get(group, [])):
            looks[label] = (place, marker)
    if classes <= 2 * len(palette.PALETTE):
        start = {"o": 0, "^": 1 if classes == 2 else 0}
        return [
            (palette.PALETTE[looks[c][0] + start[looks[c][1]]], looks[c][1])
            for c in range(classes)
        ]
    ranks = np.argsort(np.argsort([-n for n in counts], kind="stable"))
    shades = colormaps[style.SEQUENTIAL](ranks / (classes - 1))
    return [(to_hex(shades[c]), looks[c][1]) for c in range(classes)]


def _scatter(axes: Axes, shown: Features, counts: list[int]) -> str:
    """Draw the map. Return the separation of the features, for the title."""
    axes.set_box_aspect(1)
    bare(axes)
    if float(shown.features.std(axis=0).max()) == 0:
        axes.text(0.5, 0.5, "all images have\nthe same features", ha="center", va="center")
        return "no separation"
    points = tsne(shown.features)
    looks = _look_of(len(counts), counts)
    for label in np.argsort([-n for n in counts], kind="stable"):  # rare classes on top
        of_class = shown.targets == label
        colour, marker = looks[label]
        axes.scatter(
            points[of_class, 0], points[of_class, 1], s=6, color=colour, marker=marker,
            linewidths=0, alpha=0.8,
        )  # fmt: skip
    score = f"{silhouette(shown.features, shown.targets):.2f}"
    return f"silhouette {score.replace('-', '−')}"


def _legend(fig: Figure, names: list[str], counts: list[int]) -> None:
    if len(names) > 12:
        return
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=f"{name} ({count})")
        for name, count, (colour, marker) in zip(
            names, counts, _look_of(len(counts), counts), strict=True
        )
    ]
    fig.legend(
        handles=handles, loc="outside upper center", ncols=5, title="class (training images)",
        title_fontsize=7, handletextpad=0.2,
    )  # fmt: skip
