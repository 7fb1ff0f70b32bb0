"""Give every plotly figure the same style, with the colours of presentation/palette.py.

The report's page shows the same figures on light and on dark paper. It replaces INK, MUTED and
GRID by legible colours, so nothing else may be drawn in exactly these three.
"""

from __future__ import annotations

import plotly.graph_objects as go

from ltat_tune.presentation.palette import (
    BLUE,
    GROUP_COLOURS,
    PALETTE,
    SKY,
    VERMILLION,
)

INK, MUTED, GRID, PLOT_GREY = "#1b1d21", "#5c636d", "#e2e5e9", "#9aa0a8"
LINE_COLOURS = (*PALETTE[:-1], INK)
DASHES = ("solid", "dash", "dashdot", "dot", "longdash", "longdashdot", "solid")
# cividis without its ends: one is invisible on dark paper, the other on light paper
COLOURSCALE = [(0.0, "#3b496c"), (0.25, "#5f636e"), (0.5, "#82807b"), (0.75, "#ada170"),
               (1.0, "#e3cc4f")]  # fmt: skip
# for lines beside grey ones: cividis is grey in its middle
LINE_COLOURSCALE = [(0.0, "#6a5acd"), (0.25, "#3b82c4"), (0.5, "#1f9e89"), (0.75, "#6dbb4a"),
                    (1.0, "#e0b400")]  # fmt: skip
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def empty_plot(*, height: int = 380) -> go.Figure:
    """Return an empty figure in the report's style."""
    return styled(go.Figure(), height=height)


def styled(fig: go.Figure, *, height: int = 380) -> go.Figure:
    """Apply the report's style to a figure, and return it."""
    axis = {
        "gridcolor": GRID, "linecolor": GRID, "zeroline": False, "ticks": "", "automargin": True,
        "title_font_color": MUTED, "tickfont_color": INK, "showline": True,
    }  # fmt: skip
    fig.update_layout(
        template="none", height=height, font={"family": _FONT, "size": 12.5, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", colorway=LINE_COLOURS,
        margin={"l": 60, "r": 20, "t": 36, "b": 44}, hoverlabel={"font_size": 12},
        legend={"font": {"color": INK}}, bargap=0.25,
    )  # fmt: skip
    fig.update_xaxes(**axis)
    fig.update_yaxes(**axis)
    return fig


__all__ = [
    "BLUE", "COLOURSCALE", "DASHES", "PLOT_GREY", "GRID", "GROUP_COLOURS", "INK",
    "LINE_COLOURS", "LINE_COLOURSCALE", "MUTED", "PALETTE", "SKY",
    "VERMILLION", "empty_plot", "styled",
]  # fmt: skip
