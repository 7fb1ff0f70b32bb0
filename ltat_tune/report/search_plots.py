"""Draw interactive plots of a search with plotly, for the report and for notebooks.

Only the contour comes from `optuna.visualization`. Its other plots leave out trials without a
conditional parameter, and trials that were stopped early.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from itertools import combinations
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial
from plotly.subplots import make_subplots

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.presentation.units import in_percent, percent
from ltat_tune.report.plot_style import (
    BLUE,
    COLOURSCALE,
    INK,
    LINE_COLOURSCALE,
    MUTED,
    PLOT_GREY,
    VERMILLION,
    empty_plot,
    styled,
)
from ltat_tune.results.importance import ImportanceEstimate, Importances, as_study, judged
from ltat_tune.results.wording import p_value
from ltat_tune.space.domains import Domain
from ltat_tune.space.space import text_of
from ltat_tune.storage.trials import TrialRow

_MISSING = "–"
_BELOW = 0.12  # share of a range; points without a value lie this far below it
_COLUMNS = 3  # slices in a row
LEAST_TO_CONTOUR = 5  # trials with both parameters


def short(path: str) -> str:
    """Return a parameter's symbol, else the end of its path: `η`, `under weight`, `loss`."""
    parameter = PARAMETERS.get(path)
    symbol = parameter.symbol.partition(",")[0] if parameter else ""
    return symbol or path.removesuffix(".name").rpartition(".")[2].replace("_", " ")


def importance_plot(found: Importances) -> go.Figure:
    """Plot shares by fANOVA and PED-ANOVA as bars with intervals, each parameter with its p."""
    fig = empty_plot(height=90 + 46 * max(1, len(found.values)))
    labels = [f"{short(one.path)}<br>{p_value(one.p)}" for one in found.values][::-1]
    fanova: Sequence[ImportanceEstimate | None] = [one.fanova for one in found.values][::-1]
    ped_anova: Sequence[ImportanceEstimate | None] = [one.ped_anova for one in found.values][::-1]
    methods = (("fANOVA", BLUE, fanova), ("PED-ANOVA", VERMILLION, ped_anova))
    for place, (name, colour, estimates) in enumerate(methods):
        there = [(y, e) for y, e in enumerate(estimates) if e is not None]
        if not there:
            continue
        at = [y + (0.2 if place == 0 else -0.2) for y, _ in there]
        fig.add_bar(
            x=[100 * e.share for _, e in there], y=at, width=0.34, orientation="h", name=name,
            marker_color=colour, customdata=[labels[y].partition("<br>")[0] for y, _ in there],
            error_x={
                "type": "data", "symmetric": False, "color": MUTED, "thickness": 1.2, "width": 3,
                "array": [max(0.0, 100 * (e.high - e.share)) for _, e in there],
                "arrayminus": [max(0.0, 100 * (e.share - e.low)) for _, e in there],
            },
            hovertemplate="%{customdata}: %{x:.0f} %<extra>" + name + "</extra>",
        )  # fmt: skip
    fig.update_xaxes(title="share, %", range=[0, 102])
    fig.update_yaxes(
        tickvals=list(range(len(labels))), ticktext=labels, range=[-0.6, len(labels) - 0.4],
        showgrid=False,
    )  # fmt: skip
    fig.update_layout(legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0})
    return fig


def parallel_coordinates(
    rows: Sequence[TrialRow], tuned: Mapping[str, Domain], *, winner: int | None = None
) -> go.Figure:
    """Plot every trial as a line over its parameters to its score.

    Trials that did not train to their end are grey. A dash stands for a missing parameter.

    Args:
        rows: the scenario's trials.
        tuned: path -> domain of the tuned parameters.
        winner: number of the trial to draw thick and in another colour.
    """
    rows = [row for row in rows if row.state != "running"]
    paths = [path for path in tuned if any(path in row.params for row in rows)]
    axes = [_axis(tuned[path], rows, short_text=len(paths) > _WIDE_AXES) for path in paths]
    scores = [row.score for row in rows]
    reached = [score for score in scores if score is not None]
    low, high = (min(reached), max(reached)) if reached else (0.0, 1.0)
    span = (high - low) or 0.01
    under = low - _BELOW * span
    ticks: list[float] = [low + span * part for part in (0, 0.25, 0.5, 0.75, 1)]
    unscored = len(reached) < len(scores)
    axes.append({
        "label": "score, %", "values": [under if s is None else s for s in scores],
        "range": [under if unscored else low, low + span],
        "tickvals": ([under] if unscored else []) + ticks,
        "ticktext": (["no score"] if unscored else []) + [percent(t) for t in ticks],
    })  # fmt: skip
    # the ends of the colour scale: grey for trials without a score, and the winner's colour
    scale = [(0.0, PLOT_GREY), (0.05, PLOT_GREY), (0.05, LINE_COLOURSCALE[0][1])]
    scale += [(0.1 + 0.8 * at, colour) for at, colour in LINE_COLOURSCALE]
    scale += [(0.95, LINE_COLOURSCALE[-1][1]), (0.95, VERMILLION), (1.0, VERMILLION)]
    colours = [low - span / 8 if s is None else s for s in scores]
    place = next((i for i, row in enumerate(rows) if row.number == winner), None)
    if place is not None:  # all lines of plotly are equally thin, so it is drawn side by side
        colours[place] = low + 9 / 8 * span
        for axis in axes:
            at, width = axis["values"][place], _LINE * (axis["range"][1] - axis["range"][0])
            axis["values"] += [at + step * width for step in _BESIDE]
        colours += [colours[place]] * len(_BESIDE)
    fig = empty_plot(height=430)
    fig.add_parcoords(
        dimensions=axes,
        line={
            "color": colours, "colorscale": scale, "cmin": low - span / 8,
            "cmax": low + 9 / 8 * span,
        },
        labelfont={"color": INK, "size": 13}, tickfont={"color": INK, "size": 11},
        rangefont={"color": "rgba(0,0,0,0)", "size": 1},
    )  # fmt: skip
    fig.update_layout(margin={"l": 70, "r": 60, "t": 50, "b": 24})
    return fig


_LINE, _BESIDE = 0.002, (-2, -1, 1, 2)  # a line's share of the height, and where further ones lie
_WIDE_AXES, _SHORT_TEXT = 8, 9  # with more axes, their texts are cut to so many letters


def _axis(domain: Domain, rows: Sequence[TrialRow], *, short_text: bool) -> dict[str, Any]:
    """Return a parameter's axis, with a place for trials without the parameter."""
    places = [_position(domain, row.params.get(domain.path)) for row in rows]
    ticks = _ticks(domain)
    low, high = _ends(domain)
    under = low - _BELOW * ((high - low) or 1.0)
    missing = any(place is None for place in places)
    if missing:
        ticks = [(under, _MISSING), *ticks]
    return {
        "label": short(domain.path),
        "values": [under if place is None else place for place in places],
        "range": [under if missing else low, high],
        "tickvals": [at for at, _ in ticks],
        "ticktext": [_cut(text) if short_text else text for _, text in ticks],
    }


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT_TEXT else f"{text[: _SHORT_TEXT - 1]}…"


def _position(domain: Domain, value: Any) -> float | None:
    if value is None and None not in domain.choices:
        return None
    if domain.kind == "categorical":
        return float(domain.choices.index(value)) if value in domain.choices else None
    return _scaled(domain, float(value))


def _ends(domain: Domain) -> tuple[float, float]:
    """Return the positions of a range's ends, or of the first and the last choice."""
    if domain.kind == "categorical":
        return 0.0, len(domain.choices) - 1.0
    return _scaled(domain, domain.low), _scaled(domain, domain.high)


def _scaled(domain: Domain, value: float) -> float:
    return math.log10(value) if domain.log else value


def _ticks(domain: Domain) -> list[tuple[float, str]]:
    """Return the ticks of a parameter's axis as (position, text), from low to high."""
    if domain.kind == "categorical":
        return [
            (float(i), escape(text_of(choice)[:24])) for i, choice in enumerate(domain.choices)
        ]
    return axis_ticks(domain.low, domain.high, log=domain.log)


_FEWEST_TICKS, _MOST_TICKS = 3, 7


def axis_ticks(low: float, high: float, *, log: bool) -> list[tuple[float, str]]:
    """Return ticks as (position, text); on a log scale the position is the logarithm.

    A log scale has its ticks at 1, 2 and 5 times powers of ten, such as 0.02, 0.05 and 0.1, or at
    powers of ten alone. Other scales, and short log scales, have five ticks.
    """
    if log:
        inside = [
            (digit, digit * 10.0**power)
            for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for digit in (1, 2, 5)
            if low * (1 - 1e-9) <= digit * 10.0**power <= high * (1 + 1e-9)
        ]
        if len(inside) > _MOST_TICKS:
            inside = [one for one in inside if one[0] == 1]
        if len(inside) >= _FEWEST_TICKS:
            return [(math.log10(at), f"{at:.2g}") for _, at in inside]
        low, high = math.log10(low), math.log10(high)
    ticks = []
    for part in (0, 0.25, 0.5, 0.75, 1):
        at = low + part * (high - low)
        ticks.append((at, f"{10**at if log else at:.2g}"))
    return ticks


def slices(
    rows: Sequence[TrialRow],
    tuned: Mapping[str, Domain],
    *,
    winner: int | None = None,
) -> go.Figure:
    """Plot the score over each parameter alone; one that was stopped early has that of its last
    rung.

    Args:
        rows: the scenario's trials.
        tuned: path -> domain of the tuned parameters.
        winner: number of the trial to mark.
    """
    paths = [path for path in tuned if any(path in row.params for row in rows)]
    columns = min(_COLUMNS, max(1, len(paths)))
    lines = -(-len(paths) // columns) or 1
    fig = make_subplots(rows=lines, cols=columns, shared_yaxes="all", horizontal_spacing=0.05,
                        vertical_spacing=0.36 / lines if lines > 1 else 0)  # fmt: skip
    groups = {
        "trained to the end": (BLUE, "circle", [r for r in rows if r.score is not None]),
        "stopped early: score at its last rung": (
            PLOT_GREY, "triangle-down-open", [r for r in rows if r.score is None and r.scores],
        ),
        "winner": (VERMILLION, "star", [r for r in rows if r.number == winner]),
    }  # fmt: skip
    for index, path in enumerate(paths):
        domain = tuned[path]
        line, column = index // columns + 1, index % columns + 1
        for name, (colour, symbol, members) in groups.items():
            points = [(r, p) for r in members
                      if (p := _position(domain, r.params.get(path))) is not None]  # fmt: skip
            fig.add_scatter(
                x=[p for _, p in points], customdata=[r.name for r, _ in points],
                y=[in_percent(_last_score(r)) for r, _ in points],
                mode="markers", name=name, legendgroup=name, showlegend=index == 0,
                marker={"color": colour, "symbol": symbol, "size": 13 if symbol == "star" else 8,
                        "opacity": 1.0 if symbol == "star" else 0.85},
                text=[f"t{r.number:04d}: {short(path)} = {escape(text_of(r.params[path]))}"
                      for r, _ in points],
                hovertemplate="%{text}, %{y:.1f} %<extra></extra>", row=line, col=column,
            )  # fmt: skip
        ticks = _ticks(domain)
        ends = _ends(domain)
        margin = 0.5 if domain.kind == "categorical" else 0.05 * ((ends[1] - ends[0]) or 1)
        fig.update_xaxes(
            title={"text": short(path), "standoff": 6}, tickvals=[at for at, _ in ticks],
            ticktext=[_broken(text) for _, text in ticks], tickangle=0,
            range=[ends[0] - margin, ends[1] + margin], row=line, col=column,
        )  # fmt: skip
    fig.update_yaxes(title="score, %", col=1)
    styled(fig, height=110 + 220 * lines)
    fig.update_layout(legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0})
    return fig


def _broken(text: str) -> str:
    """Break long text at its underscores, so that neighbours do not touch."""
    return text.replace("_", "_<br>") if len(text) > 8 else text


def _last_score(row: TrialRow) -> float:
    return row.score if row.score is not None else row.scores[max(row.scores)]


def contour(
    rows: Sequence[FrozenTrial], paths: Sequence[str]
) -> tuple[go.Figure, tuple[str, str]] | None:
    """Return (contour plot of the score over two parameters, their paths), or None.

    The two are the first of `paths` that can be drawn. The result is None if fewer than two
    are ranges, or if too few trials have both.

    Args:
        rows: the scenario's trials, as Optuna holds them.
        paths: parameters, most important first.
    """
    _, scored = judged(rows)
    numeric = [
        path for path in paths
        if len({row.params[path] for row, _ in scored if path in row.params}) > 2
        and not any(isinstance(row.distributions.get(path),
                               optuna.distributions.CategoricalDistribution) for row, _ in scored)
    ]  # fmt: skip
    together = (
        pair for pair in combinations(numeric, 2)
        if sum(set(pair) <= set(row.params) for row, _ in scored) >= LEAST_TO_CONTOUR
    )  # fmt: skip
    pair = next(together, None)
    if pair is None:
        return None
    both = [(r, in_percent(s)) for r, s in scored if set(pair) <= set(r.params)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns that this plot is experimental
        drawn = optuna.visualization.plot_contour(as_study(both), params=list(pair))
    fig = go.Figure(drawn)
    fig.update_traces(
        selector={"type": "contour"}, colorscale=COLOURSCALE, reversescale=False,
        colorbar={"title": "score, %", "outlinewidth": 0, "thickness": 14},
    )  # fmt: skip
    fig.update_traces(
        selector={"type": "scatter"},
        marker={"color": "#ffffff", "size": 8, "line": {"color": "#1b1d21", "width": 1.2}},
    )
    styled(fig, height=400)
    fig.update_layout(title=None, showlegend=False)
    for axis in (fig.layout.xaxis, fig.layout.yaxis):
        path = axis.title.text  # Optuna sorts the two
        domain: Any = both[0][0].distributions[path]  # a range
        ticks = axis_ticks(domain.low, domain.high, log=domain.log)
        axis.update(title=short(path), ticktext=[text for _, text in ticks],
                    tickvals=[10**at if domain.log else at for at, _ in ticks])  # fmt: skip
    return fig, pair
