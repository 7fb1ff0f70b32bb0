"""Training images by class: SRAT's Figures 13 and 14."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.sources import class_counts, open_source
from ltat_tune.errors import DataError, MissingData
from ltat_tune.figures import style
from ltat_tune.figures.captions import below
from ltat_tune.figures.sources import Sources
from ltat_tune.figures.spec import Drawing
from ltat_tune.presentation import palette
from ltat_tune.presentation.names import problem_name
from ltat_tune.training.metrics import ClassGroups

HALVES = {"well": "well-represented", "under": "under-represented"}


def bar_legend(*, means: bool = False) -> list[Any]:
    """Return legend entries of bars by half of the classes; with means, of the mean lines too."""
    share = 0.45 if means else 0.0
    handles: list[Any] = [
        Patch(color=style.pale(palette.GROUP_COLOURS[g], share), label=f"{HALVES[g]} classes")
        for g in HALVES
    ]
    if not means:
        return handles
    handles.append(Line2D([], [], color=palette.BLACK, label="mean of all"))
    return handles + [
        Line2D([], [], color=palette.GROUP_COLOURS[g], linestyle="--", label=f"mean of {g}")
        for g in HALVES
    ]


def draw_training_counts(data_set: str) -> Callable[[Sources], Drawing]:
    """Return the function that draws Figures 13, 14: training images of every class."""

    def draw(sources: Sources) -> Drawing:
        fig, axes = style.paper_figure(2, rows=2, cols=2, height_in=3.6, sharex=True, sharey=True)
        places = [(p, k) for p in ("step", "exp") for k in (10, 100)]
        for index, (profile, ratio) in enumerate(places):
            config = TrialConfig.from_flat({
                "data.name": data_set, "data.profile": profile, "data.imbalance_ratio": ratio,
                "data.val_source": "test", "data.base": _BASES[data_set],
                "data.root": sources.root,
            })  # fmt: skip
            try:
                counts = class_counts(config)
            except DataError as error:
                raise MissingData(str(error)) from None
            panel = axes.flat[index]
            count_bars(panel, counts, _names(config))
            name = problem_name(config.data, counts)
            style.letter(panel, index, f"{name}, {sum(counts):,} images")
        for panel in axes[0]:
            panel.set_xlabel("")  # the row below has it
        for panel in axes[:, 0]:
            panel.set_ylabel("training images")
        fig.legend(handles=bar_legend(), loc="outside upper center", ncols=2)
        below(fig, ["training images of the official files", "nothing held out for validation, "
                    "as in the paper", _HOW[data_set]])  # fmt: skip
        return Drawing(fig)

    return draw


# As the space files of the tables: SVHN's classes start from their own counts.
_BASES = {"cifar10": "min_class", "svhn": "per_class"}
_HOW = {"cifar10": "every class starts from 5,000",
        "svhn": "every class starts from its own count"}  # fmt: skip


def _names(config: TrialConfig) -> list[str]:
    return list(open_source(config.data).classes)


def count_bars(axes: Axes, counts: Sequence[int], names: Sequence[str]) -> None:
    """Draw training images by class, coloured by half, with the numbers if there is room."""
    alike = len(set(counts)) == 1  # no class is rarer than another
    under = [] if alike else ClassGroups.from_counts(list(counts)).members.get("under", [])
    colours = [
        palette.GROUP_COLOURS["under" if c in under else "well"] for c in range(len(counts))
    ]
    bars = axes.bar(range(len(counts)), counts, width=0.75, color=colours)
    if len(counts) <= 12:
        axes.bar_label(bars, fmt="%d", fontsize=6, padding=1)
    axes.margins(y=0.1)
    style.class_ticks(axes, list(names))
