"""REAT's Figures 3, 4, 8, 9 and Table 14: distances of adversarial images, rivals, time."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ltat_tune.errors import MissingData
from ltat_tune.figures import style
from ltat_tune.figures.captions import ball_text, robust_run, small_print, training_attack_text
from ltat_tune.figures.choice import Chosen, choose
from ltat_tune.figures.reat.models import PGD_AT_BSL, REAT_MODEL, ROBAL, WITH_RBL, WITHOUT_RBL
from ltat_tune.figures.sources import Recipe, Sources, common_split
from ltat_tune.figures.spec import Drawing
from ltat_tune.presentation import palette
from ltat_tune.presentation.names import attack_name, data_name
from ltat_tune.storage.trained_run import Run, Split

_STEPS = 100
_FEW_CLASSES = 20
_GROUPS = ("head", "body", "tail")
_CIFAR10, _CIFAR100 = "CIFAR-10-LT (UR=50)", "CIFAR-100-LT (UR=10)"


def figure_03(sources: Sources) -> Drawing:
    """Draw how far an image's adversarial image moves from epoch to epoch, by class group."""
    chosen = choose(
        sources, (WITHOUT_RBL, WITH_RBL), paper=_CIFAR10,
        has=lambda run: len(run.ae_distances) > 1,
        has_what="distances by epoch (evaluation.ae_distance_images, two epochs or more)",
    )  # fmt: skip
    fig, axes = style.paper_figure(2, cols=len(_GROUPS), height_in=2.2, sharey=True)
    for panel, (ax, group) in enumerate(zip(axes[0], _GROUPS, strict=True)):
        for i, (label, recipe) in enumerate(chosen.models):
            _distances(ax, recipe.first, group, label, i)
        style.letter(ax, panel, f"{group} classes")
        style.horizontal_grid(ax)
        ax.set_xlabel("epoch")
        ax.locator_params(axis="x", integer=True, nbins=6)
    axes[0, 0].set_ylabel("mean L2 distance of AEs\nfrom the epoch before")
    handles, names = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper center", ncols=len(names))
    run = chosen.recipes[-1].first
    images = run.config.evaluation.ae_distance_images
    notes = small_print(
        fig, chosen.recipes, paper=_CIFAR10, data=chosen.data,
        attack=training_attack_text(run.config), images=f"{images} training images of each class",
        seeds=f"seed {run.seed}", more=["lines: mean of the classes, bands: lowest to highest"],
    )  # fmt: skip
    return Drawing(fig, (*chosen.notes, *notes))


def figure_04(sources: Sources) -> Drawing:
    """Draw RoBal and REAT over the attack's steps, and by class."""
    chosen = _rivals(sources, _CIFAR10)
    fig, axes = style.paper_figure(2, cols=2, height_in=2.5, width_ratios=(1, 1.5))
    style.letter(axes[0, 0], 0, "over attack steps")
    style.letter(axes[0, 1], 1, "by class")
    images = _over_steps(axes[0, 0], chosen, sources)
    _by_class(axes[0, 1], chosen)
    run = chosen.recipes[0].first
    notes = small_print(
        fig, chosen.recipes, paper=_CIFAR10, data=chosen.data,
        more=[f"(a): {images} test images, seed {run.seed}, one start"],
    )  # fmt: skip
    return Drawing(fig, (*chosen.notes, *notes))


def figure_08(sources: Sources) -> Drawing:
    """Draw RoBal and REAT over the attack's steps, with many classes."""
    chosen = _rivals(sources, _CIFAR100)
    fig, axes = style.paper_figure(1, height_in=2.3)
    images = _over_steps(axes[0, 0], chosen, sources)
    run = chosen.recipes[0].first
    notes = small_print(
        fig, chosen.recipes, paper=_CIFAR100, data=chosen.data, attack=ball_text(run.config),
        images=f"{images} test images", seeds=f"seed {run.seed}, one start",
    )  # fmt: skip
    return Drawing(fig, (*chosen.notes, *notes))


def figure_09(sources: Sources) -> Drawing:
    """Draw RoBal and REAT by class, with many classes."""
    chosen = _rivals(sources, _CIFAR100)
    fig, axes = style.paper_figure(2, height_in=2.5)
    _by_class(axes[0, 0], chosen)
    notes = small_print(fig, chosen.recipes, paper=_CIFAR100, data=chosen.data)
    return Drawing(fig, (*chosen.notes, *notes))


def table_14(sources: Sources) -> Drawing:
    """Draw median seconds of a training epoch, with quartiles as bars, by data and method."""
    methods = {kind.label: kind for kind in (PGD_AT_BSL, ROBAL, REAT_MODEL)}
    rows: dict[str, dict[str, NDArray[np.float64]]] = {}
    for recipe in sources.recipes:
        for label, kind in methods.items():
            runs = [run for run in recipe.runs if run.checkpoint.exists()]
            if runs and kind.fits(recipe.config):
                # The first epoch also warms up caches and kernels.
                seconds = [past.seconds for run in runs for past in run.history[1:] or run.history]
                quartiles = np.percentile(seconds, [25, 50, 75])
                name = data_name(recipe.config.data, recipe.first.samples_per_class)
                rows.setdefault(name, {}).setdefault(label, quartiles)
    if not rows:
        raise MissingData("a trained PGD-AT (BSL) or RoBal or REAT with its checkpoint.pt")
    fig, axes = style.paper_figure(1 if len(rows) < 3 else 2, height_in=2.7)
    ax = axes[0, 0]
    present = [label for label in methods if any(label in row for row in rows.values())]
    width = 0.8 / max(2, len(present))
    for i, label in enumerate(methods):
        measured = [(j, row[label]) for j, row in enumerate(rows.values()) if label in row]
        if not measured:
            continue
        aside = (present.index(label) - (len(present) - 1) / 2) * width
        at = np.array([j + aside for j, _ in measured])
        low, middle, high = np.array([quartiles for _, quartiles in measured]).T
        ax.bar(
            at, middle, 0.9 * width, label=label, color=palette.PALETTE[i],
            yerr=[middle - low, high - middle], error_kw={"lw": 0.8},
        )  # fmt: skip
        for x, y, top in zip(at, middle, high, strict=True):
            ax.annotate(f"{y:.3g}", (x, top), (0, 1), textcoords="offset points", ha="center",
                        va="bottom", fontsize=6)  # fmt: skip
    ax.set_xticks(range(len(rows)), [name.replace(" (", "\n(") for name in rows])
    ax.set_ylabel("seconds of a training epoch")
    ax.margins(y=0.2)
    style.horizontal_grid(ax)
    ax.figure.legend(loc="outside upper center", ncols=len(methods))
    absent = [label for label in methods if label not in present]
    shown = [recipe for recipe in sources.recipes
             if any(kind.fits(recipe.config) for kind in methods.values())]  # fmt: skip
    notes = small_print(
        fig, shown, paper="", data="", attack=training_attack_text(shown[0].config), images="",
        seeds="median of the epochs after the first, all seeds; bars: quartiles",
        more=["validation included", "trainings that shared a device were slower than alone"],
    )  # fmt: skip
    return Drawing(fig, (*([f"without {' and '.join(absent)}"] if absent else []), *notes))


def _rivals(sources: Sources, paper: str) -> Chosen:
    return choose(sources, (ROBAL, REAT_MODEL), paper=paper)


def _distances(ax: Axes, run: Run, group: str, label: str, index: int) -> None:
    """Draw the mean over the group's classes, and the band from its lowest to its highest."""
    members = run.groups.members.get(group, [])
    by_epoch = np.array(run.ae_distances[1:], dtype=np.float64)[:, members]
    epochs = np.arange(2, len(run.ae_distances) + 1)
    colour = palette.PALETTE[index]
    ax.plot(
        epochs, by_epoch.mean(axis=1), color=colour, label=label, ls=style.LINES[index],
        marker=style.MARKERS[index] if len(epochs) < 20 else None,
    )  # fmt: skip
    ax.fill_between(epochs, by_epoch.min(axis=1), by_epoch.max(axis=1), color=colour, alpha=0.15)


def _over_steps(ax: Axes, chosen: Chosen, sources: Sources) -> int:
    """Draw the curves. Return how many test images they are of."""
    from ltat_tune.figures.features import accuracy_over_steps

    for i, (label, recipe) in enumerate(chosen.models):
        curve = accuracy_over_steps(recipe.first, sources, steps=_STEPS)
        accuracies = 100 * np.array(curve.accuracies)
        ax.plot(
            range(len(accuracies)), accuracies, color=palette.PALETTE[i], ls=style.LINES[i],
            label=label,
        )  # fmt: skip
    ax.set_xscale("symlog", linthresh=1, linscale=0.4)
    ticks = [0, 1, 2, 5, 10, 20, 50, 100]
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    ax.set_xlabel("PGD steps")
    ax.set_ylabel("accuracy, %")
    style.horizontal_grid(ax)
    ax.legend()
    return curve.images


def _by_class(ax: Axes, chosen: Chosen) -> None:
    """Draw robust bars in front of pale clean ones; many classes as points by rank, with means."""
    first = robust_run(chosen.recipes)
    attack = first.attack
    counts = first.samples_per_class
    many = len(counts) > _FEW_CLASSES
    order = sorted(range(len(counts)), key=lambda c: -counts[c]) if many else range(len(counts))
    lowest = 1 if many else 0  # ranks count from 1; named classes have no number
    rank = {c: place for place, c in enumerate(order, lowest)}
    width = 0.8 / len(chosen.models)
    for i, (label, recipe) in enumerate(chosen.models):
        colour = palette.PALETTE[i]
        robust = f"{label}, {attack_name(attack)}"
        at = lowest + np.arange(len(counts)) + (i - (len(chosen.models) - 1) / 2) * width
        clean, _ = _recalls(recipe, "clean", common_split(chosen.recipes, "clean"))
        mean, std = _recalls(recipe, attack, common_split(chosen.recipes, attack))
        if many:
            ax.plot(at, mean[list(order)], style.MARKERS[i], ms=2, color=style.pale(colour, 0.4))
            _group_means(ax, recipe, mean, rank, colour, robust, "-")
            _group_means(ax, recipe, clean, rank, colour, f"{label}, clean", ":")
            continue
        ax.bar(at, clean, 0.92 * width, color=style.pale(colour), label=f"{label}, clean")
        error = std if len(recipe.runs) > 1 else None
        ax.bar(
            at, mean, 0.92 * width, color=colour, label=robust, yerr=error, error_kw={"lw": 0.7}
        )
    if many:
        ax.set_xlabel("class by rank; lines: means of head, body and tail")
    else:
        style.class_ticks(ax, first.class_names)
    ax.set_ylabel("accuracy, %")
    ax.set_ylim(0, 100)
    style.horizontal_grid(ax)
    above = 1.13 if ax.get_title() else 1.0  # leave room for the title
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, above), ncols=len(chosen.models))


def _group_means(
    ax: Axes,
    recipe: Recipe,
    values: NDArray[np.float64],
    rank: dict[int, int],
    colour: str,
    label: str,
    line: str,
) -> None:
    """Draw a level line over the ranks of each group."""
    for i, group in enumerate(_GROUPS):
        members = recipe.first.groups.members.get(group, [])
        if members:
            places = [rank[c] for c in members]
            ends = (min(places) - 0.4, max(places) + 0.4)
            height = float(np.nanmean(values[members]))
            ax.plot(ends, (height, height), line, color=colour, label=None if i else label)


def _recalls(
    recipe: Recipe, attack: str, split: Split
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return recalls by class in percent: mean and standard deviation over seeds, (K,) each."""
    rows = 100 * np.array([run.recall(attack, split) for run in recipe.runs], dtype=np.float64)
    return rows.mean(axis=0), rows.std(axis=0, ddof=1) if len(rows) > 1 else np.zeros(len(rows[0]))
