"""Figures in neither paper, from files alone: learning curves, RBL's weights."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from ltat_tune.config.timeline import drop_epochs
from ltat_tune.errors import MissingData
from ltat_tune.figures import panels, style
from ltat_tune.figures.captions import (
    ball_text,
    small_print,
    training_attack_text,
    validation_text,
)
from ltat_tune.figures.panels import Group
from ltat_tune.figures.sources import Recipe, Sources
from ltat_tune.figures.spec import Drawing
from ltat_tune.presentation import palette
from ltat_tune.presentation.names import attack_name, labels
from ltat_tune.storage.trained_run import Run

FIRST_TRIAL = "t0000"  # in a search, the first entry of start_from: the baseline


def contestants(sources: Sources, most: int) -> list[tuple[str, Recipe]]:
    """Return (name, recipe) of the best recipes, by validation, of the scenario that has most.

    The first configuration of a study is always among them: in a search it is the baseline.
    """
    groups = panels.groups(sources)
    if not groups:
        raise MissingData("a finished training")
    largest: Group = max(groups, key=len)
    group = sorted(largest, key=lambda recipe: recipe.score, reverse=True)
    first = first_recipe(sources, group)
    chosen = group[:most]
    if first is not None and first not in chosen:
        chosen[-1] = first
    return list(zip(labels([recipe.config for recipe in chosen]), chosen, strict=True))


def first_recipe(sources: Sources, group: Group) -> Recipe | None:
    """Return the recipe of the scenario's first trial, if it is in the group."""
    where = group[0].first
    first = [
        run.config.recipe
        for run in sources.runs
        if (run.study, run.scenario) == (where.study, where.scenario)
        and run.kind == "trial" and run.path.name == FIRST_TRIAL
    ]  # fmt: skip
    return next((recipe for recipe in group if recipe.config.recipe in first), None)


def draw_learning_curves(sources: Sources) -> Drawing:
    """Draw validation accuracy over the epochs, clean and attacked, with the band of the seeds."""
    chosen = contestants(sources, 4)
    run = chosen[0][1].first
    fig, axes = style.paper_figure(2, cols=2, height_in=2.8)
    for column, attack in enumerate(("clean", run.config.evaluation.val_attack)):
        panel, metric = axes[0, column], f"val/{attack}_balanced_acc"
        for place, (name, recipe) in enumerate(chosen):
            epochs, values = over_epochs(recipe, metric)
            colour = palette.PALETTE[place]
            panel.plot(epochs, values.mean(axis=0), color=colour, label=name,
                       linestyle=style.LINES[place])  # fmt: skip
            if len(values) > 1:
                panel.fill_between(
                    epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.14,
                    linewidth=0,
                )  # fmt: skip
        for epoch in rate_drops(run):
            panel.axvline(epoch, color=palette.GREY, linestyle=":", linewidth=0.8)
        panel.set_xlabel("epoch")
        panel.locator_params(axis="x", integer=True)
        shown = attack_name(attack)
        panel.set_ylabel(f"balanced {'clean' if attack == 'clean' else shown} accuracy (%)")
        style.letter(panel, column, "clean" if attack == "clean" else "robust")
        style.horizontal_grid(panel)
    panels.legend_above(fig, axes[0, 0])
    seeds = max(len(recipe.runs) for _, recipe in chosen)
    small_print(
        fig, [recipe for _, recipe in chosen], attack=_validated(run),
        images=validation_text(run.config),
        seeds=f"mean of {seeds} seeds, band from lowest to highest" if seeds > 1 else "one seed",
        more=["dotted: the learning rate drops"] if rate_drops(run) else [],
    )  # fmt: skip
    return Drawing(fig, one_scenario(sources, run))


def _validated(run: Run) -> str:
    """Return the attack on the validation images, such as `PGD-20, L∞, ε = 8/255`."""
    return f"{attack_name(run.config.evaluation.val_attack)}, {ball_text(run.config)}"


def one_scenario(sources: Sources, run: Run) -> tuple[str, ...]:
    """Return a note that names the scenario of a figure of `contestants`, if there are others."""
    others = len(panels.groups(sources)) - 1
    if not others:
        return ()
    return (f"drawn for {run.study}/{run.scenario} only, one of {others + 1} scenarios",)


def over_epochs(recipe: Recipe, metric: str) -> tuple[list[int], NDArray[np.float64]]:
    """Return the epochs at which every seed has a metric, (E,), and values in %, (seeds, E)."""
    by_seed = [
        {past.epoch: 100 * past.metrics[metric] for past in run.history if metric in past.metrics}
        for run in recipe.runs
    ]
    epochs = sorted(set.intersection(*(set(seed) for seed in by_seed)))
    if not epochs:
        raise MissingData(f"{recipe.first.name} has no {metric} over epochs")
    return epochs, np.array([[seed[epoch] for epoch in epochs] for seed in by_seed])


def rate_drops(run: Run) -> list[int]:
    """Return the last epochs, from 1, before the learning rate drops; none if it is smooth."""
    return drop_epochs(run.config.optim)


def rbl_over_epochs(sources: Sources) -> Drawing:
    """Draw RBL's effective numbers and class weights in every epoch of the best REAT.

    Without a REAT, it is the best recipe of all.

    Source: REAT 4.1, Eq. 1; the weights are those of `losses.rbl`.
    """
    recorded = [recipe for recipe in sources.recipes if recipe.first.predicted]
    if not recorded:
        raise MissingData("predictions of the training images by epoch")
    used = [recipe for recipe in recorded if recipe.config.method.name == "reat"]
    recipe = max(used or recorded, key=lambda r: (len(r.runs), r.score))
    run = recipe.first
    effective, weights = rbl_numbers(run)
    classes = len(run.samples_per_class)
    fig, axes = style.paper_figure(2, cols=2, height_in=2.8)
    order = np.argsort([-n for n in run.samples_per_class], kind="stable")
    shades = colormaps[style.SEQUENTIAL](np.linspace(0, 0.92, classes))
    epochs = range(1, len(effective) + 1)
    for rank, c in enumerate(order):
        label = f"{run.class_names[c]} ({run.samples_per_class[c]})"
        for column, values in enumerate((effective, weights)):
            axes[0, column].plot(epochs, values[:, c], color=shades[rank], label=label)
    axes[0, 0].set_yscale("symlog", linthresh=1)
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel("effective number of predictions")
    axes[0, 1].set_yscale("log")
    axes[0, 1].set_ylabel(f"class weight (sum {classes})")
    for column, title in enumerate(("effective numbers", "weights")):
        axes[0, column].set_xlabel("epoch that used it")
        axes[0, column].locator_params(axis="x", integer=True)
        style.letter(axes[0, column], column, title)
        style.horizontal_grid(axes[0, column])
    if classes <= 12:
        handles, names = axes[0, 0].get_legend_handles_labels()
        fig.legend(handles, names, loc="outside right center", title="class (images)",
                   title_fontsize=7)  # fmt: skip
    name = labels([run.config])[0]
    colours = [] if classes <= 12 else ["dark to light: frequent to rare"]
    small_print(
        fig, [recipe], attack=training_attack_text(run.config), images="training images",
        seeds=f"{name}, seed {run.seed}",
        more=["from the predictions of the epoch before, in the first from the counts", *colours],
    )  # fmt: skip
    acted = run.config.method.name == "reat"
    return Drawing(fig, () if acted else (f"{name} did not train with these weights",))


def rbl_numbers(run: Run) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return effective numbers N (1 - (1 - 1/N)^n) and weights by epoch: (E, K) twice."""
    import torch

    from ltat_tune.losses.rbl import effective_numbers, rbl_weights

    counts = torch.tensor(run.samples_per_class)
    before = [torch.tensor(n) for n in (run.samples_per_class, *run.predicted[:-1])]
    effective = [effective_numbers(counts, n).tolist() for n in before]
    return np.array(effective), np.array([rbl_weights(counts, n).tolist() for n in before])
