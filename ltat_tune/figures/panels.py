"""Pieces that several figures share: which recipes they show, lines with spread, the small print.

Accuracies are fractions everywhere else and percent from here on: that is what is printed.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ltat_tune.config import DataConfig, TrialConfig
from ltat_tune.figures import style
from ltat_tune.figures.labels import attack_name, data_name
from ltat_tune.figures.sources import Recipe, Run, Sources
from ltat_tune.figures.spec import MissingData

_NORMS = {"linf": "L∞", "l2": "L2"}
_LOSS_NAMES = {"cross_entropy": "CE", "focal": "Focal", "ldam": "LDAM"}
Group = list[Recipe]


def groups(sources: Sources) -> list[Group]:
    """Recipes that were trained and measured alike: of one scenario of one study each.

    Where some of them were tested, the others are left out: validation images are others.
    """
    together: dict[tuple[str, str], Group] = {}
    for recipe in sources.recipes:
        together.setdefault((recipe.first.study, recipe.first.scenario), []).append(recipe)
    found = []
    for group in together.values():
        tested = [recipe for recipe in group if is_tested(recipe)]
        found.append(tested or group)
    return found


def views(sources: Sources) -> tuple[Sources, Sources]:
    """Everything, and the trials without their confirmations: more recipes, validation only."""
    searched = tuple(run for run in sources.runs if run.kind != "confirmation")
    return sources, Sources(searched, sources.device, sources.images)


def is_tested(recipe: Recipe) -> bool:
    """Whether all its seeds were measured on the test images."""
    return all(any(name.startswith("test/") for name in run.per_class) for run in recipe.runs)


def nearest(
    sources: Sources,
    has: Callable[[Group], bool],
    what: str,
    *,
    profile: str | None = None,
    ratio: float | None = None,
) -> Group:
    """The group that has what a figure shows, of the profile and imbalance ratio if one is.

    Raises:
        MissingData: no group has it; `what` says what was looked for.
    """
    able: list[Group] = []
    for view in views(sources):
        able = able or [group for group in groups(view) if has(group)]
    if not able:
        raise MissingData(f"a scenario with {what}")

    def distance(group: Group) -> tuple[bool, float]:
        data = group[0].config.data
        far = 0.0 if ratio is None else abs(math.log(data.imbalance_ratio / ratio))
        return profile is not None and data.profile != profile, far

    return min(able, key=distance)


def problem_name(data: DataConfig) -> str:
    """`CIFAR-10 Exp-100`, `CIFAR-10 (cat, horse) Step-100`: SRAT's way of naming the data."""
    name = data_name(DataConfig(name=data.name, profile="balanced"))
    if data.classes is not None and len(data.classes) <= 3:
        name += f" ({', '.join(data.classes)})"
    if data.profile in ("exp", "step"):
        return f"{name} {data.profile.capitalize()}-{data.imbalance_ratio:g}"
    return name if data.profile == "balanced" else f"{name} {data.profile}"


def problem_names(recipes: Sequence[Recipe]) -> str:
    """`CIFAR-10 Step-5 to Step-100`: the data of several recipes, by imbalance ratio."""
    by_ratio = sorted(recipes, key=lambda recipe: recipe.config.data.imbalance_ratio)
    names = list(dict.fromkeys(problem_name(recipe.config.data) for recipe in by_ratio))
    if len(names) < 3:
        return " and ".join(names)
    return f"{names[0]} to {names[-1].rpartition(' ')[2]}"


def row_name(config: TrialConfig) -> str:
    """What SRAT's tables call a configuration: CE, CB-Reweight, DRCB-LDAM, SRAT-Focal.

    Source: SRAT 5.1. CB weighs from the first epoch on, DRCB later.
    """
    loss = _LOSS_NAMES.get(config.loss.name, config.loss.name)
    if config.method.name == "srat":
        return f"SRAT-{loss}"
    if config.method.name != "pgd_at":
        return config.method.name
    if config.reweight.name == "none":
        return loss
    if config.reweight.schedule == "deferred":
        return f"DRCB-{loss}"
    return "CB-Reweight" if loss == "CE" else f"CB-{loss}"


def eps_of(config: TrialConfig) -> float:
    """Radius of the evaluation, pixel units."""
    return config.attack.eps if config.evaluation.eps is None else config.evaluation.eps


def norm_of(config: TrialConfig) -> str:
    """Norm of the evaluation: linf or l2."""
    return config.evaluation.norm or config.attack.norm


def eps_text(eps: float) -> str:
    """`8/255` where it is that, else `0.1`."""
    pixels = eps * 255
    if abs(pixels - round(pixels)) < 1e-6 and eps > 0:
        return f"{round(pixels)}/255"
    return f"{eps:g}"


def norm_text(config: TrialConfig) -> str:
    """`L∞` or `L2`."""
    return _NORMS[norm_of(config)]


def ball_text(config: TrialConfig) -> str:
    """`L∞, ε = 8/255`."""
    return f"{norm_text(config)}, ε = {eps_text(eps_of(config))}"


def attack_text(run: Run) -> str:
    """`PGD-20, L∞, ε = 8/255`."""
    return f"{attack_name(run.attack)}, {ball_text(run.config)}"


def seeds_text(recipes: Sequence[Recipe]) -> str:
    """`mean and standard deviation of 3 seeds`, or `one seed`."""
    numbers = sorted({len(recipe.runs) for recipe in recipes})
    if numbers == [1]:
        return "one seed"
    many = "–".join(str(n) for n in dict.fromkeys((numbers[0], numbers[-1])))
    return f"mean ± standard deviation of {many} seeds"


def images_text(recipes: Sequence[Recipe]) -> str:
    """On which images the numbers are; the papers' protocol is named where it was followed."""
    if not all(is_tested(recipe) for recipe in recipes):
        return "validation images"
    if any(recipe.config.data.val_source == "test" for recipe in recipes):
        return "test images (also used for validation)"
    return "test images"


def validation_text(config: TrialConfig) -> str:
    """The validation images by name; the papers' protocol is named where it was followed."""
    if config.data.val_source == "test":
        return "validation images, which are the test images"
    return "validation images"


def small_print(fig: Figure, recipes: Sequence[Recipe], *more: str) -> None:
    """The line below a figure without which its numbers mean nothing."""
    parts = [*more, seeds_text(recipes), images_text(recipes)]
    robust = [r for r in recipes if r.config.method.name != "natural"] or list(recipes)
    parts.insert(len(more), attack_text(robust[0].first))
    parts.insert(0, problem_names(recipes))
    below(fig, "; ".join(parts))


def below(fig: Figure, text: str) -> None:
    """Small grey text under the axes; the layout makes room for it."""
    most = int(fig.get_figwidth() * 22)  # letters that fit at this size
    fig.supxlabel("\n".join(textwrap.wrap(text, most)), fontsize=6, color="#555555")


def percent(values: tuple[float, float]) -> tuple[float, float]:
    """Mean and spread as percent."""
    return 100 * values[0], 100 * values[1]


def clean_axis() -> str:
    """Label of a clean accuracy."""
    return "clean accuracy (%)"


def robust_axis(run: Run) -> str:
    """`PGD-20 accuracy (%)`: accuracy under the attack that was measured."""
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
    """One line over ascending x with bars of one standard deviation, which end at 0 and 100 %."""
    order = sorted(range(len(x)), key=lambda i: x[i])
    means = [points[i][0] for i in order]
    spreads = [points[i][1] for i in order]
    axes.errorbar(
        [x[i] for i in order], means, yerr=within(means, spreads), label=label,
        color=colour or style.PALETTE[index % len(style.PALETTE)],
        marker=style.MARKERS[index % len(style.MARKERS)],
        linestyle=style.LINES[index % len(style.LINES)], elinewidth=0.8, clip_on=False,
    )  # fmt: skip


def within(
    means: Sequence[float], spreads: Sequence[float]
) -> tuple[list[float], list[float]] | None:
    """Lengths of bars below and above, none past 0 or 100 %; None where there is no spread."""
    if not any(spreads):
        return None
    below_it = [min(s, m) for m, s in zip(means, spreads, strict=True)]
    return below_it, [min(s, 100 - m) for m, s in zip(means, spreads, strict=True)]


def value_ticks(axes: Axes, values: Sequence[float], *, log: bool) -> None:
    """Ticks at the values that were tried and nowhere else."""
    found = sorted(set(values))
    if log and min(found) > 0 and max(found) / min(found) >= 8:
        axes.set_xscale("log")
    crowded = _thinned(found, log)
    axes.set_xticks(crowded, [f"{value:g}" for value in crowded])
    axes.minorticks_off()


def _thinned(values: list[float], log: bool) -> list[float]:
    """Without those whose label would touch the one before it, the last one kept."""
    if len(values) < 3:
        return values
    place = [math.log(v) if log and v > 0 else v for v in values]
    gap = 0.085 * (place[-1] - place[0])
    kept = [len(values) - 1]
    for i in range(len(values) - 2, -1, -1):
        if place[kept[-1]] - place[i] >= gap:
            kept.append(i)
    return [values[i] for i in sorted(kept)]


def legend_above(fig: Figure, axes: Axes, *, most: int = 4) -> None:
    """One legend for all panels, outside of them: it can cover nothing."""
    handles, names = axes.get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper center", ncols=min(most, len(names)))
