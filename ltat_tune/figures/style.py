"""One style for every figure: sizes for print, and colours for the colour-blind.

Everything is drawn on separate figures with the Agg canvas: neither pyplot nor the backend nor
matplotlib's global settings are touched.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # beside the colours, for print in grey
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
GROUP_MARKERS = {"head": "o", "body": "s", "tail": "^", "well": "o", "under": "^"}
SEQUENTIAL = "cividis"  # keeps its order in grey and for the colour-blind


WIDTHS_IN = {1: 3.35, 2: 6.9}  # one and two columns of a paper, inches
PNG_DPI = 300

_RC: Any = {  # matplotlib types the keys as one long Literal
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "patch.linewidth": 0.0,
    "errorbar.capsize": 1.5,
    "pdf.fonttype": 42,  # TrueType; Type 3 is refused by many publishers
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "savefig.dpi": PNG_DPI,
    "text.usetex": False,
}


def look() -> AbstractContextManager[None]:
    """Return a context with this style; the previous settings come back after it."""
    return matplotlib.rc_context(_RC)


def paper_figure(
    columns: int = 1,
    *,
    rows: int = 1,
    cols: int = 1,
    height_in: float | None = None,
    **subplots: Any,
) -> tuple[Figure, NDArray[Any]]:
    """Return an empty figure and its axes, shape (rows, cols). Call it inside `look()`.

    Args:
        columns: width in columns of a paper, 1 or 2.
        rows: rows of axes.
        cols: axes in a row.
        height_in: inches; None is 2.1 for each row.
        **subplots: further arguments of `Figure.subplots`: sharex, sharey, width_ratios ...
    """
    size = WIDTHS_IN[columns], 2.1 * rows if height_in is None else height_in
    fig = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(fig)
    axes = fig.subplots(rows, cols, squeeze=False, **subplots)
    return fig, axes


def pale(colour: str, share: float = 0.7) -> tuple[float, float, float]:
    """Return the colour mixed with white: opaque, so that the grid does not shine through."""
    red, green, blue = (share + (1 - share) * part for part in to_rgb(colour))
    return red, green, blue


def horizontal_grid(axes: Axes) -> None:
    """Draw thin lines at the ticks of the y axis, behind the data."""
    axes.grid(axis="y")


def letter(axes: Axes, index: int, title: str) -> None:
    """Write `(a) title` above a panel."""
    axes.set_title(f"({'abcdefghijklmnopqrstuvwxyz'[index]}) {title}")


def class_ticks(axes: Axes, names: list[str]) -> None:
    """Write class names under the bars 0..K-1; above 20 classes, every tenth index."""
    if len(names) > 20:
        step = max(1, len(names) // 10)
        ticks = list(range(0, len(names), step))
        axes.set_xticks(ticks, [str(t) for t in ticks])
        axes.set_xlabel("class")
        return
    long = max(len(name) for name in names) > 2
    axes.set_xticks(
        range(len(names)), names, rotation=45 if long else 0, ha="right" if long else "center",
        rotation_mode="anchor",
    )  # fmt: skip
    if not long:
        axes.set_xlabel("class")
