"""SRAT's figures of accuracies: by class, and over weights, λ and K.

Deviations of all: the paper's text names only the ends of the weights, λ and K, so the values
between them are ours. Every point has its spread over seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes

from ltat_tune.errors import MissingData
from ltat_tune.figures import panels, style
from ltat_tune.figures.captions import robust_run, small_print
from ltat_tune.figures.panels import Group
from ltat_tune.figures.sources import Recipe, Sources, common_split
from ltat_tune.figures.spec import Drawing
from ltat_tune.figures.srat.counts import HALVES, bar_legend
from ltat_tune.presentation import palette
from ltat_tune.presentation.names import attack_name, problem_name, reached_note, row_name
from ltat_tune.storage.trained_run import Run, Split

PAIRS = (("cat", "horse"), ("automobile", "truck"), ("dog", "deer"))  # Figures 2, 10, 12
_LOSSES = ("cross_entropy", "focal", "ldam")
_T = TypeVar("_T")


def by_class(profile: str, ratio: float) -> Callable[[Sources], Drawing]:
    """Return the function that draws Figures 1, 7, 8, 9: accuracy of every class by training."""

    def draw(sources: Sources) -> Drawing:
        group = panels.nearest_recipe(
            sources, _both_plain, "natural and adversarial training (CE) on the same images",
            profile=profile, ratio=ratio,
        )  # fmt: skip
        natural, adversarial = (_plain(group, name) for name in ("natural", "pgd_at"))
        assert natural is not None and adversarial is not None
        attack = adversarial.first.attack
        shown = [natural, adversarial]
        fig, axes = style.paper_figure(2, cols=3, height_in=2.6, sharey=True)
        for index, (title, recipe, measured) in enumerate(_columns(natural, adversarial, attack)):
            _class_bars(axes[0, index], recipe, measured, common_split(shown, measured))
            style.letter(axes[0, index], index, title)
        axes[0, 0].set_ylabel("accuracy (%)")
        fig.legend(handles=bar_legend(means=True), loc="outside upper center", ncols=5)
        papers = f"CIFAR-10 {profile.capitalize()}-{ratio:g}"
        return Drawing(fig, small_print(fig, shown, paper=papers))

    return draw


def _columns(natural: _T, adversarial: _T, attack: str) -> list[tuple[str, _T, str]]:
    """Return title, models and attack of three panels; natural training is not attacked."""
    return [
        ("natural training, clean", natural, "clean"),
        ("adversarial training, clean", adversarial, "clean"),
        (f"adversarial training, {attack_name(attack)}", adversarial, attack),
    ]


def _plain(group: Group, method: str) -> Recipe | None:
    """Return the recipe of a method with cross-entropy and without weights, or None."""
    for recipe in group:
        config = recipe.config
        unweighted = config.reweight.name == "none" or config.reweight.under_weight == 1
        if config.method.name == method and config.loss.name == "cross_entropy" and unweighted:
            return recipe
    return None


def _both_plain(group: Group) -> bool:
    """Return whether both methods are there, for more than a pair: pairs have other figures."""
    return len(group[0].first.samples_per_class) > 2 and all(
        _plain(group, method) is not None for method in ("natural", "pgd_at")
    )


def _class_bars(axes: Axes, recipe: Recipe, attack: str, split: Split) -> None:
    run = recipe.first
    classes, members = len(run.samples_per_class), run.groups.members
    recalls = np.array([[np.nan if r is None else 100 * r for r in x.recall(attack, split)]
                        for x in recipe.runs])  # fmt: skip
    means = recalls.mean(axis=0)
    spreads = recalls.std(axis=0, ddof=1) if len(recalls) > 1 else np.zeros(classes)
    colours = [
        style.pale(
            palette.GROUP_COLOURS["under" if c in members.get("under", []) else "well"], 0.45
        )
        for c in range(classes)
    ]
    axes.bar(
        range(classes), means, width=0.75, color=colours,
        yerr=panels.within(means.tolist(), spreads.tolist()),
        error_kw={"elinewidth": 0.6, "capsize": 1.2, "ecolor": "#333333"},
    )  # fmt: skip
    lines = [("acc", palette.BLACK, "-")]
    lines += [(f"{g}_acc", palette.GROUP_COLOURS[g], "--") for g in ("well", "under")]
    for name, colour, line in lines:
        mean, _ = recipe.over_seeds(_reading(f"{attack}_{name}", split))
        axes.axhline(100 * mean, color=colour, linestyle=line, linewidth=1.1, clip_on=False)
    axes.set_ylim(0, 104)
    style.horizontal_grid(axes)
    style.class_ticks(axes, run.class_names)


def _reading(metric: str, split: Split) -> Callable[[Run], float]:
    return lambda run: run.metric(metric, split)


def binary_pair(classes: tuple[str, str] | None) -> Callable[[Sources], Drawing]:
    """Return the function that draws Figures 2, 10, 11, 12: a pair over the rare class's weight.

    None is Figure 11, whose pair the paper's text does not name: any but the other three.
    """

    def draw(sources: Sources) -> Drawing:
        def fits(group: Group) -> bool:
            used = group[0].config.data.classes
            matches = used == classes or used not in PAIRS
            return matches and any(_weighted(group, name) for name in ("natural", "pgd_at"))

        what = "natural or adversarial training, reweighted, of " + (
            " and ".join(classes) if classes else "a pair that is not in Figures 2, 10, 12"
        )
        able = [group for group in panels.groups(sources) if fits(group)]
        if not able:
            raise MissingData(f"a scenario with {what}")
        group = next((g for g in able if g[0].config.data.classes == classes), able[0])
        natural, adversarial = (_weighted(group, name) for name in ("natural", "pgd_at"))
        shown_recipes = [*natural, *adversarial]
        run = robust_run(shown_recipes)
        attack = run.attack
        fig, axes = style.paper_figure(2, cols=3, height_in=2.4, sharey=True)
        columns = _columns(natural, adversarial, attack)
        for index, (title, recipes, measured) in enumerate(columns):
            panel = axes[0, index]
            if not recipes:
                panel.text(0.5, 0.5, "not trained here", ha="center", transform=panel.transAxes)
                panel.set_xticks([])
            for place, (name, shown) in enumerate(HALVES.items()):
                label = _member(run, name) or shown
                if recipes:
                    _sweep(panel, recipes, "reweight.under_weight", measured, f"{name}_acc",
                           common_split(shown_recipes, measured), index=place, label=label,
                           colour=palette.GROUP_COLOURS[name])  # fmt: skip
            panel.set_xlabel("weight of the rare class")
            panel.set_ylim(0, 102)
            style.letter(panel, index, title)
            style.horizontal_grid(panel)
        axes[0, 0].set_ylabel("accuracy (%)")
        panels.legend_above(fig, axes[0, 0] if natural else axes[0, 1])
        named = f" ({', '.join(classes)})" if classes else ""
        papers = f"CIFAR-10{named} Step-100"
        if not classes and group[0].config.data.name == "cifar10":
            papers = ""  # its pair is not known
        return Drawing(fig, small_print(fig, shown_recipes, paper=papers))

    return draw


def _weighted(group: Group, method: str) -> Group:
    return [
        recipe
        for recipe in group
        if recipe.config.method.name == method
        and recipe.config.reweight.name == "under_represented"
    ]


def _member(run: Run, group: str) -> str | None:
    """Return `cat (5000 training images)` if the group is one class, else None."""
    members = run.groups.members[group]
    if len(members) != 1:
        return None
    count = run.samples_per_class[members[0]]
    return f"{run.class_names[members[0]]} ({count} training images)"


def _sweep(
    axes: Axes, recipes: Sequence[Recipe], path: str, attack: str, name: str, split: Split, *,
    index: int, label: str, colour: str | None = None,
) -> None:  # fmt: skip
    """Draw one accuracy of these recipes over the value of one parameter."""
    x = [float(recipe.config.get(path)) for recipe in recipes]
    metric = f"{attack}_{name}"
    points = [panels.percents(r.over_seeds(_reading(metric, split))) for r in recipes]
    panels.spread_line(axes, x, points, index=index, label=label, colour=colour)
    panels.value_ticks(axes, x, log=True)


def _srat_sweep(sources: Sources, path: str, what: str) -> list[Group]:
    """Return SRAT's recipes by scenario, of the study that tried most values of a parameter.

    Raises:
        MissingData: no study tried two values, confirmed or not.
    """

    def tried(group: Group) -> int:
        return len({recipe.config.get(path) for recipe in group})

    for view in panels.views(sources):
        srat_groups = [
            [recipe for recipe in group if recipe.config.method.name == "srat"]
            for group in panels.groups(view)
        ]
        widest = max(srat_groups, key=tried, default=[])
        if tried(widest) >= 2:
            study = widest[0].first.study
            together = [group for group in srat_groups if group and group[0].first.study == study]
            return sorted(together, key=lambda g: g[0].config.data.profile, reverse=True)
    raise MissingData(f"a trained SRAT with several {what}")


def over_weight(sources: Sources) -> Drawing:
    """Draw Figure 5: SRAT with each loss over the weight of the under-represented classes."""
    group = _srat_sweep(sources, "reweight.under_weight", "weights")[0]
    return _two_panels(group, "reweight.under_weight", _WEIGHT, "CIFAR-10 Step-100")


_WEIGHT = "weight of the under-represented classes (others: 1)"
_LAMBDA = "weight λ of the separation loss"


def over_weight_by_group(sources: Sources) -> Drawing:
    """Draw Figure 15: SRAT-LDAM over that weight: all, well- and under-represented classes."""
    group = _srat_sweep(sources, "reweight.under_weight", "weights")[0]
    ldam = [recipe for recipe in group if recipe.config.loss.name == "ldam"] or [
        r for r in group if r.config.loss.name == group[0].config.loss.name
    ]
    run = ldam[0].first
    fig, axes = style.paper_figure(2, cols=2, height_in=2.5)
    series = (
        ("acc", "all classes", palette.BLACK),
        *((f"{g}_acc", f"{HALVES[g]} classes", palette.GROUP_COLOURS[g]) for g in HALVES),
    )
    for column, attack in enumerate(("clean", run.attack)):
        for place, (name, label, colour) in enumerate(series):
            _sweep(axes[0, column], ldam, "reweight.under_weight", attack, name,
                   common_split(ldam, attack), index=place, label=label,
                   colour=colour)  # fmt: skip
        _finish(axes[0, column], column, run, _WEIGHT)
    panels.legend_above(fig, axes[0, 0])
    name = row_name(run.config)
    shown = name if name == "SRAT-LDAM" else f"{name}, not the paper's SRAT-LDAM"
    notes = small_print(fig, ldam, paper="CIFAR-10 Step-100", more=[shown])
    return Drawing(fig, notes if name == "SRAT-LDAM" else (*notes, shown))


def over_lambda(sources: Sources) -> Drawing:
    """Draw Figure 6: SRAT with each loss over λ, one row for each imbalanced data set."""
    groups = _srat_sweep(sources, "method.separation_weight", "λ")
    fig, axes = style.paper_figure(2, rows=len(groups), cols=2, height_in=1.9 * len(groups) + 0.6)
    for row, group in enumerate(groups):
        _loss_lines(axes[row], group, "method.separation_weight", _LAMBDA, first=2 * row)
        for axis in axes[row]:
            data = problem_name(group[0].config.data, group[0].first.samples_per_class)
            axis.set_title(f"{axis.get_title()}, {data}")
    panels.legend_above(fig, *axes[:, 0])  # with a scenario for each loss, a row has only one
    shown = [recipe for group in groups for recipe in group]
    papers = "CIFAR-10 Step-100 and CIFAR-10 Exp-100"
    return Drawing(fig, small_print(fig, shown, paper=papers))


def _two_panels(group: Group, path: str, x_label: str, papers: str) -> Drawing:
    """Draw clean and robust accuracy over one parameter, one line for each loss."""
    fig, axes = style.paper_figure(2, cols=2, height_in=2.5)
    _loss_lines(axes[0], group, path, x_label)
    panels.legend_above(fig, axes[0, 0])
    return Drawing(fig, small_print(fig, group, paper=papers))


def _loss_lines(row: Any, group: Group, path: str, x_label: str, *, first: int = 0) -> None:
    run = group[0].first
    for column, attack in enumerate(("clean", run.attack)):
        for place, loss in enumerate(_LOSSES):
            recipes = [recipe for recipe in group if recipe.config.loss.name == loss]
            if recipes:
                _sweep(row[column], recipes, path, attack, "acc", common_split(group, attack),
                       index=place, label=row_name(recipes[0].config))  # fmt: skip
        panels.value_ticks(row[column], [float(r.config.get(path)) for r in group], log=True)
        _finish(row[column], column, run, x_label, first=first)


def _finish(axes: Axes, column: int, run: Run, x_label: str, *, first: int = 0) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(panels.robust_axis(run) if column else panels.clean_axis())
    style.letter(axes, first + column, "robust" if column else "clean")
    style.horizontal_grid(axes)
    axes.margins(y=0.12)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0), min(high, 100))


def over_ratio(sources: Sources) -> Drawing:
    """Draw Figure 16: DRCB-Focal and SRAT-Focal over the imbalance ratio K of step imbalance."""
    recipes = [
        recipe
        for group in panels.groups(sources)
        for recipe in group
        if recipe.config.loss.name == "focal" and recipe.config.method.name in ("pgd_at", "srat")
        and recipe.config.reweight.name != "none" and recipe.config.data.profile == "step"
    ]  # fmt: skip
    studies: dict[str, Group] = {}
    for recipe in recipes:
        studies.setdefault(recipe.first.study, []).append(recipe)
    if not studies:
        raise MissingData("a trained DRCB-Focal or SRAT-Focal on step imbalance")
    chosen = max(studies.values(), key=lambda g: len({r.config.data.imbalance_ratio for r in g}))
    names = sorted({row_name(recipe.config) for recipe in chosen})
    run = chosen[0].first
    missed = any(reached_note(r.config.data, r.first.samples_per_class) for r in chosen)
    requested = "requested " if missed else ""
    fig, axes = style.paper_figure(2, cols=2, height_in=2.5)
    for column, attack in enumerate(("clean", run.attack)):
        for place, name in enumerate(names):
            alike = [recipe for recipe in chosen if row_name(recipe.config) == name]
            _sweep(axes[0, column], alike, "data.imbalance_ratio", attack, "acc",
                   common_split(chosen, attack), index=place, label=name)  # fmt: skip
        _finish(axes[0, column], column, run, f"{requested}imbalance ratio K")
    panels.legend_above(fig, axes[0, 0])
    return Drawing(fig, small_print(fig, chosen, paper="CIFAR-10 Step-5 to Step-100"))
