"""Draw trainings and models: curves, the trade-off, classes, predictions."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence, Set
from html import escape

import numpy as np
import plotly.graph_objects as go

from ltat_tune.presentation.units import in_percent
from ltat_tune.report.data import Scene, TrialCurve
from ltat_tune.report.plot_style import (
    BLUE,
    COLOURSCALE,
    GROUP_COLOURS,
    INK,
    MUTED,
    PLOT_GREY,
    SKY,
    VERMILLION,
    empty_plot,
)
from ltat_tune.report.words import attack_name, how_it_ended, percent, trial
from ltat_tune.storage.trained_run import Run
from ltat_tune.storage.trials import TrialRow

MOST_CURVES = 80  # in one plot
_MOST_POINTS = 60  # in one curve
_FEW_EPOCHS = 10  # up to here each epoch has its tick
_MANY_CLASSES = 24  # with more, classes have no names on the axis


def learning_curves_plot(scene: Scene, rungs: Sequence[int]) -> tuple[go.Figure, int]:
    """Return (plot of the trials' scores over their epochs, number of drawn trials).

    Copies are short complete trainings, drawn dotted. A cross marks where a trial ended early,
    even if its line is not drawn.

    Args:
        scene: the scenario.
        rungs: epochs at which trials are judged, including the lengths of copies.
    """
    fig = empty_plot(height=400)
    winner = scene.winner.result.number if scene.winner else None
    baseline = scene.baseline.result.number if scene.baseline else None
    drawn = _most_telling(scene.rows, {winner, baseline})
    looks = {
        "stopped early": (PLOT_GREY, 1.0), "trained to the end": (SKY, 1.4),
        "running": (PLOT_GREY, 1.4), "failed or diverged": (MUTED, 1.0),
        "baseline": (INK, 2.4), "winner": (VERMILLION, 2.6),
    }  # fmt: skip
    named: set[str] = set()
    for row in drawn:
        kind = how_it_ended(row.state)
        kind = "failed or diverged" if kind in ("failed", "diverged") else kind
        kind = "winner" if row.number == winner else "baseline" if row.number == baseline else kind
        colour, width = looks[kind]
        for curve in scene.curves.get(row.number, ()) or _from_ledger(row.scores):
            if curve.name.startswith("seed-"):
                continue
            epochs, scores = _thinned(curve)
            fig.add_scatter(
                x=epochs, y=scores, mode="lines+markers" if len(epochs) < 12 else "lines",
                name=kind, legendgroup=kind, showlegend=kind not in named,
                line={"color": colour, "width": width, "dash": "dot" if curve.name else "solid"},
                marker={"size": 4}, hovertemplate=_hover(row.number, row.state, curve.name),
                legendrank=1000 - list(looks).index(kind), customdata=[row.name] * len(epochs),
            )  # fmt: skip
            named.add(kind)
    ends = [(row, end) for row in scene.rows if row.state in ("pruned", "failed", "diverged")
            and (end := _last_point(scene.curves.get(row.number, ()), row.scores))]  # fmt: skip
    if ends:
        fig.add_scatter(
            x=[at for _, (at, _) in ends], y=[score for _, (_, score) in ends], mode="markers",
            name="where a trial ended early", marker={"symbol": "x-thin", "size": 8, "line": {
                "width": 1.8, "color": MUTED}},
            text=[trial(row.number) for row, _ in ends], customdata=[row.name for row, _ in ends],
            hovertemplate="%{text} ended here<extra></extra>",
        )  # fmt: skip
    mark_rungs(fig, rungs)
    fig.update_xaxes(title={"text": "epoch", "standoff": 6}, rangemode="tozero")
    if max((max(trace.x, default=0) for trace in fig.data), default=0) <= _FEW_EPOCHS:
        fig.update_xaxes(dtick=1)  # there are no half epochs
    fig.update_yaxes(title="score, %")
    fig.update_layout(legend={"orientation": "h", "y": -0.19, "yanchor": "top", "x": 0})
    return fig, len(drawn)


def mark_rungs(fig: go.Figure, rungs: Sequence[int]) -> None:
    """Draw a dotted vertical line at each rung."""
    for epoch in rungs:
        fig.add_vline(x=epoch, line={"color": MUTED, "width": 1, "dash": "dot"},
                      annotation_text=f"rung {epoch}", annotation_position="top",
                      annotation_font={"size": 11, "color": MUTED})  # fmt: skip


def _most_telling(rows: Sequence[TrialRow], marked: Set[int | None]) -> list[TrialRow]:
    """Return at most MOST_CURVES trials, the best of each way to end; marked ones come last."""
    if len(rows) <= MOST_CURVES:
        chosen = list(rows)
    else:
        chosen = [row for row in rows if row.number in marked]
        room = (MOST_CURVES - len(chosen)) / len(rows)
        for state in dict.fromkeys(row.state for row in rows):
            others = [r for r in rows if r.state == state and r.number not in marked]
            best_first = sorted(others, key=_reached, reverse=True)
            chosen += best_first[: math.floor(room * len(others))]
    return sorted(chosen, key=lambda row: (row.number in marked, _reached(row)))


def _reached(row: TrialRow) -> float:
    """Return a trial's score, else its last score at a rung, else 0."""
    if row.score is not None:
        return row.score
    return row.scores[max(row.scores)] if row.scores else 0.0


def _from_ledger(scores: Mapping[int, float]) -> list[TrialCurve]:
    if not scores:
        return []
    return [TrialCurve("", tuple(scores), tuple(scores.values()), 0.0, max(scores))]


def _hover(number: int, state: str, stage: str) -> str:
    what = f", {stage.replace('copy-', 'copy of ')} epochs" if stage.startswith("copy") else ""
    which = f"{trial(number)} ({how_it_ended(state)}{what})"
    return f"{which}: %{{y:.1f}} % at epoch %{{x}}<extra></extra>"


def _thinned(curve: TrialCurve) -> tuple[list[int], list[float]]:
    """Return (epochs, scores in percent), at most _MOST_POINTS of them, with the last."""
    last = len(curve.epochs) - 1
    kept = list(range(last + 1))
    if last >= _MOST_POINTS:
        kept = sorted({round(i * last / (_MOST_POINTS - 1)) for i in range(_MOST_POINTS)})
    return [curve.epochs[i] for i in kept], [in_percent(curve.scores[i]) for i in kept]


def _last_point(
    curves: Sequence[TrialCurve], scores: Mapping[int, float]
) -> tuple[int, float] | None:
    """Return the last (epoch, score in percent) of the trial, else of its longest copy."""
    own = [c for c in curves if c.epochs and not c.name.startswith("seed-")]
    if own:
        last = max(own, key=lambda c: (not c.name, c.epochs[-1]))
        return last.epochs[-1], in_percent(last.scores[-1])
    return (max(scores), in_percent(scores[max(scores)])) if scores else None


def trade_off_plot(
    trials: Sequence[tuple[int, float, float]],
    front: Sequence[int],
    confirmed: Sequence[tuple[str, Sequence[float], Sequence[float], bool]],
    titles: tuple[str, str],
) -> go.Figure:
    """Plot two measures of every complete trial, with the Pareto front.

    Args:
        trials: (number, first measure, second measure) in %.
        front: numbers of the trials on the front.
        confirmed: (name, first measure and second measure of every seed in %, is winner).
        titles: titles of the axes.
    """
    fig = empty_plot(height=400)
    fig.add_scatter(
        x=[x for _, x, _ in trials], y=[y for _, _, y in trials], mode="markers", name="trial",
        marker={"color": SKY, "size": 8}, text=[trial(n) for n, _, _ in trials],
        hovertemplate="%{text}: %{x:.1f} %, %{y:.1f} %<extra></extra>",
    )  # fmt: skip
    edge = sorted((x, y) for n, x, y in trials if n in front)
    fig.add_scatter(
        x=[x for x, _ in edge], y=[y for _, y in edge], mode="lines+markers", name="front",
        line={"color": BLUE, "width": 1.6, "shape": "vh"}, hoverinfo="skip",
        marker={"symbol": "circle-open", "size": 13, "line": {"width": 1.6}},
    )  # fmt: skip
    others = itertools.cycle(("diamond", "square", "triangle-up", "cross", "hexagon"))
    for name, first, second, is_winner in confirmed:
        fig.add_scatter(
            x=[statistics.fmean(first)], y=[statistics.fmean(second)], mode="markers",
            name=escape(name), error_x=_spread(first), error_y=_spread(second),
            marker={"symbol": "star" if is_winner else next(others),
                    "size": 14 if is_winner else 10, "color": VERMILLION if is_winner else INK},
            hovertemplate=escape(name) + ": %{x:.1f} %, %{y:.1f} %<extra></extra>",
        )  # fmt: skip
    fig.update_xaxes(title={"text": titles[0], "standoff": 6})
    fig.update_yaxes(title=titles[1])
    fig.update_layout(legend={"orientation": "h", "y": -0.19, "yanchor": "top", "x": 0})
    return fig


def _spread(values: Sequence[float]) -> dict[str, object]:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"type": "data", "array": [spread], "thickness": 1.2, "width": 3, "color": MUTED}


def per_class(
    models: Sequence[tuple[str, Sequence[Run], str]], measures: Sequence[str]
) -> tuple[go.Figure, list[list[str]]]:
    """Return (plot of the recall of every class, rows of a table), most frequent class first.

    Args:
        models: (name, one run for each seed, colour).
        measures: `test/clean`, `test/pgd20` ...; the first is drawn hollow, the others filled.
    """
    run = models[0][1][0]
    order = sorted(range(len(run.samples_per_class)), key=lambda c: -run.samples_per_class[c])
    named = [run.class_names[c] for c in order]
    many = len(order) > _MANY_CLASSES
    fig = empty_plot(height=380)
    columns: list[list[float | None]] = []
    for name, runs, colour in models:
        for place, measure in enumerate(measures):
            means = [_mean_recall(runs, measure, c) for c in order]
            columns.append(means)
            attack = measure.partition("/")[2]
            title = f"{name}, {attack_name(attack)}"
            fig.add_scatter(
                x=list(range(len(order))), y=[None if m is None else in_percent(m) for m in means],
                mode="lines" if many else "lines+markers", name=escape(title),
                line={"color": colour, "width": 1.4, "dash": "dot" if place == 0 else "solid"},
                marker={"size": 8, "symbol": "circle-open" if place == 0 else "circle"},
                text=[escape(n) for n in named],
                hovertemplate="%{text}: %{y:.1f} %<extra>" + escape(title) + "</extra>",
            )  # fmt: skip
    _class_axis(fig, named, [run.samples_per_class[c] for c in order])
    fig.update_yaxes(title="recall, %", range=[-3, 103])
    fig.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
    rows = [
        [named[i], str(run.samples_per_class[c]), *(percent(column[i]) for column in columns)]
        for i, c in enumerate(order)
    ]
    return fig, rows


def _mean_recall(runs: Sequence[Run], measure: str, c: int) -> float | None:
    recalls = [
        v for run in runs if (v := run.per_class.get(measure, [None] * (c + 1))[c]) is not None
    ]
    return statistics.fmean(recalls) if recalls else None


def _class_axis(fig: go.Figure, named: Sequence[str], counts: Sequence[int]) -> None:
    if len(named) > _MANY_CLASSES:
        fig.update_xaxes(title="classes, most frequent first", showticklabels=False)
        return
    text = [f"{escape(n[:14])}<br>{count}" for n, count in zip(named, counts, strict=True)]
    fig.update_xaxes(tickvals=list(range(len(named))), ticktext=text, showgrid=False,
                     title="class and its training images")  # fmt: skip


def predictions(run: Run, measure: Callable[[Run], Sequence[Sequence[float]]]) -> go.Figure:
    """Plot a measure by class and epoch as a heat map, most frequent class first.

    Args:
        run: the training.
        measure: returns the values of a run, (epochs, K) in %.
    """
    values = np.array(measure(run), dtype=float)
    order = sorted(range(values.shape[1]), key=lambda c: -run.samples_per_class[c])
    fig = empty_plot(height=110 + min(520, 24 * len(order)))
    named = [escape(run.class_names[c][:20]) for c in order]
    every = max(1, -(-len(values) // _MOST_POINTS))
    epochs = list(range(1, len(values) + 1))[::every]
    fig.add_heatmap(
        x=epochs, y=list(range(len(order))), z=np.round(values[::every, order].T, 2).tolist(),
        colorscale=COLOURSCALE, xgap=1, ygap=1, customdata=[[n] * len(epochs) for n in named],
        colorbar={"title": "%", "thickness": 14, "outlinewidth": 0},
        hovertemplate="%{customdata}, epoch %{x}: %{z:.1f} %<extra></extra>",
    )  # fmt: skip
    every_class = max(1, len(order) // 25)
    fig.update_yaxes(autorange="reversed", tickvals=list(range(0, len(order), every_class)),
                     ticktext=named[::every_class], showgrid=False,
                     title="class, frequent to rare")  # fmt: skip
    fig.update_xaxes(title="epoch", showgrid=False)
    if len(values) <= _FEW_EPOCHS:
        fig.update_xaxes(dtick=1)
    return fig


def training_counts_plot(run: Run) -> go.Figure:
    """Plot the training images by class, most frequent first, coloured by group."""
    counts, named = run.samples_per_class, run.class_names
    order = sorted(range(len(counts)), key=lambda c: -counts[c])
    fig = empty_plot(height=300)
    for group in ("head", "body", "tail"):
        members = run.groups.members.get(group, [])
        at = [i for i, c in enumerate(order) if c in members]
        if not at:
            continue
        fig.add_bar(
            x=at, y=[counts[order[i]] for i in at], name=group, marker_color=GROUP_COLOURS[group],
            text=[escape(named[order[i]]) for i in at], textposition="none",
            hovertemplate="%{text}: %{y} images<extra></extra>",
        )  # fmt: skip
    _class_axis(fig, [named[c] for c in order], [counts[c] for c in order])
    fig.update_yaxes(title="training images")
    fig.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
    return fig
