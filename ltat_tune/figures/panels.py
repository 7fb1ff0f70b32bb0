"""Pieces that several figures share: the choice of recipes, lines with spread, legends.

Accuracies are fractions everywhere else and percent from here on, because the figures print
percent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from ltat_tune.errors import MissingData
from ltat_tune.figures import style
from ltat_tune.figures.sources import Recipe, Sources
from ltat_tune.presentation import palette
from ltat_tune.presentation.names import attack_name
from ltat_tune.storage.trained_run import Run

Group = list[Recipe]
_BESIDE_PT = (0.0, 2.4, -2.4, 4.8, -4.8)
_LETTER_IN, _HANDLE_IN = 0.058, 0.5  # sizes in a legend


def groups(sources: Sources) -> list[Group]:
    """Return recipes that were trained and measured alike: one scenario of one study each.

    If some of them were tested, the others are left out, because validation images are other
    images.
    """
    together: dict[tuple[str, str], Group] = {}
    for recipe in sources.recipes:
        together.setdefault((recipe.first.study, recipe.first.scenario), []).append(recipe)
    comparable = []
    for group in together.values():
        tested = [recipe for recipe in group if all_tested(recipe)]
        comparable.append(tested or group)
    return comparable


def views(sources: Sources) -> tuple[Sources, Sources]:
    """Return all sources, and the trials without their confirmations.

    The second has more recipes, but only validation images.
    """
    searched = tuple(run for run in sources.runs if run.kind != "confirmation")
    return sources, Sources(searched, sources.device, sources.images)


def all_tested(recipe: Recipe) -> bool:
    """Return whether all seeds of a recipe were measured on the test images."""
    return all(any(name.startswith("test/") for name in run.per_class) for run in recipe.runs)


def nearest_recipe(
    sources: Sources,
    has: Callable[[Group], bool],
    what: str,
    *,
    profile: str | None = None,
    ratio: float | None = None,
) -> Group:
    """Return the group that a figure can show, nearest in profile and imbalance ratio.

    Raises:
        MissingData: there is no such group; `what` names it in the message.
    """
    able: list[Group] = []
    for view in views(sources):
        able = able or [group for group in groups(view) if has(group)]
    if not able:
        raise MissingData(f"a scenario with {what}")

    def distance(group: Group) -> tuple[bool, float, bool]:
        data = group[0].config.data
        far = 0.0 if ratio is None else abs(math.log(data.imbalance_ratio / ratio))
        return profile is not None and data.profile != profile, far, data.name != "cifar10"

    return min(able, key=distance)


def percents(values: tuple[float, float]) -> tuple[float, float]:
    """Return mean and spread in percent."""
    return 100 * values[0], 100 * values[1]


def clean_axis() -> str:
    """Return the label of a clean accuracy."""
    return "clean accuracy (%)"


def robust_axis(run: Run) -> str:
    """Return the label of the accuracy under the measured attack: `PGD-20 accuracy (%)`."""
    return f"{attack_name(run.attack)} accuracy (%)"


def spread_line(
    axes: Axes,
    x: Sequence[float],
    points: Sequence[tuple[float, float]],
    *,
    index: int,
    label: str,
    colour: str | None = None,
) -> None:
    """Draw a line over ascending x with bars of one standard deviation, clipped to 0 to 100 %.

    Lines with bars stand a little beside their x, or their bars would hide each other.
    """
    order = sorted(range(len(x)), key=lambda i: x[i])
    means = [points[i][0] for i in order]
    spreads = [points[i][1] for i in order]
    bars = within(means, spreads)
    drawn = axes.errorbar(
        [x[i] for i in order], means, yerr=bars, label=label,
        color=colour or palette.PALETTE[index % len(palette.PALETTE)],
        marker=style.MARKERS[index % len(style.MARKERS)],
        linestyle=style.LINES[index % len(style.LINES)], elinewidth=0.8, clip_on=False,
    )  # fmt: skip
    root = axes.get_figure(root=True)
    if bars and root is not None:  # the limits are set by now
        beside = _BESIDE_PT[index % len(_BESIDE_PT)] / 72
        moved = axes.transData + ScaledTranslation(beside, 0, root.dpi_scale_trans)
        for artist in drawn.get_children():
            artist.set_transform(moved)


def within(
    means: Sequence[float], spreads: Sequence[float]
) -> tuple[list[float], list[float]] | None:
    """Return the lengths of bars below and above, none past 0 or 100 %; None without spread."""
    if not any(spreads):
        return None
    below_it = [min(s, m) for m, s in zip(means, spreads, strict=True)]
    return below_it, [min(s, 100 - m) for m, s in zip(means, spreads, strict=True)]


def value_ticks(axes: Axes, values: Sequence[float], *, log: bool) -> None:
    """Set ticks at the values that were tried and nowhere else."""
    unique = sorted(set(values))
    if log and min(unique) > 0 and max(unique) / min(unique) >= 8:
        axes.set_xscale("log")
    crowded = _thinned(unique, log)
    axes.set_xticks(crowded, [f"{value:.3g}" for value in crowded])
    axes.minorticks_off()


def _thinned(values: list[float], log: bool) -> list[float]:
    """Return the values whose labels do not touch the one before; the last is always kept."""
    if len(values) < 3:
        return values
    place = [math.log(v) if log and v > 0 else v for v in values]
    gap = 0.085 * (place[-1] - place[0])
    kept = [len(values) - 1]
    for i in range(len(values) - 2, -1, -1):
        if place[kept[-1]] - place[i] >= gap:
            kept.append(i)
    return [values[i] for i in sorted(kept)]


def legend_above(fig: Figure, *axes: Axes, most: int = 4) -> None:
    """Draw one legend of what `axes` show, outside of all panels, so that it covers nothing."""
    by_name: dict[str, Any] = {}
    for panel in axes:
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True):
            by_name.setdefault(name, handle)
    widest = max(map(len, by_name)) * _LETTER_IN + _HANDLE_IN
    fitting = max(1, int(fig.get_figwidth() / widest))
    fig.legend(by_name.values(), by_name.keys(), loc="outside upper center",
               ncols=min(most, len(by_name), fitting))  # fmt: skip
