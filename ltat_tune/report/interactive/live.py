"""Build the section on what is running now: trainings against the thresholds of their rungs."""

from __future__ import annotations

from html import escape

import plotly.graph_objects as go

from ltat_tune.presentation.units import in_percent
from ltat_tune.report import pictures
from ltat_tune.report.blocks import Block, Heading, PageSection, Plot, Text, table
from ltat_tune.report.data import ReportData, Scene, TrialCurve
from ltat_tune.report.plot_style import INK, LINE_COLOURS, SKY, empty_plot
from ltat_tune.report.words import (
    NONE,
    count,
    how_it_ended,
    percent,
    settings,
    trial,
)
from ltat_tune.search.stopping_rules import EarlyStopping
from ltat_tune.storage.training_files import RESULT, TEST
from ltat_tune.storage.trials import TrialRow

_TICK = 0.35  # epochs to either side of a rung, half the length of a threshold's line


def thresholds_of(data: ReportData, scene: Scene) -> dict[str, dict[int, float]]:
    """Return trial -> rung -> the score that it must reach there, by the scores so far.

    A rung without enough scores to stop anything is left out, and so are copies: they go on by
    their rank once all have ended.
    """
    name = scene.scenario.name
    stopping = EarlyStopping(data.metric, data.rungs, data.space.scheduler, (name,))
    for row in scene.rows:
        stopping.put_back(name, row.name, row.scores)
    return {row.name: stopping.thresholds(name, row.name) for row in scene.rows}


def now(data: ReportData) -> PageSection | None:
    """Return the section on what a running study does now; None if it is not running."""
    if data.state != "running":
        return None
    blocks: list[Block] = []
    for scene in data.scenes:
        if len(data.scenes) > 1:
            blocks.append(Heading(scene.scenario.title))
        blocks.append(Text(_progress(data, scene)))
        running = scene.with_state("running")
        if running:
            thresholds = thresholds_of(data, scene)
            blocks.append(_table(data, scene, running, thresholds))
            if any(_own(scene, row).epochs for row in running):
                blocks.append(_plot(data, scene, running, thresholds))
    return PageSection("now", "Running now", tuple(blocks))


def _progress(data: ReportData, scene: Scene) -> str:
    ended = [row for row in scene.rows if row.state != "running"]
    states: dict[str, int] = {}
    for row in ended:
        how = how_it_ended(row.state)
        states[how] = states.get(how, 0) + 1
    planned = data.space.searcher.trials
    of = f" of {planned}" if planned else ""
    kinds = f" ({', '.join(f'{n} {how}' for how, n in states.items())})" if states else ""
    running = len(scene.rows) - len(ended)
    parts = [f"{len(ended)}{of} trials ended{kinds}; {running} running."]
    best = scene.best
    if best is not None:
        parts.append(f"The best so far is {trial(best.number)} with {percent(best.score)} %.")
    folder = data.folder.root / "confirmations" / scene.scenario.name
    trained, tested = (len(list(folder.glob(f"*/{name}"))) for name in (RESULT, TEST))
    begun = len(list(folder.glob("*/")))
    if begun:
        parts.append(
            f"{count(begun, 'confirmation has', 'confirmations have')} begun; {trained} trained "
            f"to the end, tests of {tested} have begun."
        )
    return " ".join(parts)


def _own(scene: Scene, row: TrialRow) -> TrialCurve:
    """Return the curve of the training that goes on: the trial's own, else its newest copy."""
    curves = [one for one in scene.curves.get(row.number, ()) if one.trained]
    own = [one for one in curves if not one.name]
    told = TrialCurve("", tuple(row.scores), tuple(row.scores.values()), 0.0,
                      max(row.scores, default=0))  # fmt: skip
    return (own or curves[-1:] or [told])[0]


def _table(
    data: ReportData,
    scene: Scene,
    running: list[TrialRow],
    thresholds: dict[str, dict[int, float]],
) -> Block:
    rows = []
    for row in running:
        curve = _own(scene, row)
        total = int(curve.name.removeprefix("copy-")) if curve.name.startswith("copy-") else (
            data.space.max_epochs
        )  # fmt: skip
        epoch = f"{curve.trained} of {total}"
        if curve.name:
            epoch += f" ({curve.name.replace('copy-', 'copy of ')})"
        ahead = [e for e in data.rungs.judged if e > curve.trained] if not curve.name else []
        must = NONE
        if ahead:
            least = thresholds[row.name].get(ahead[0])
            must = "any score" if least is None else f"{percent(least)} at epoch {ahead[0]}"
        pace = f"{curve.seconds / curve.trained:.2g}" if curve.seconds else NONE
        score = percent(curve.scores[-1]) if curve.scores else NONE
        rows.append(
            [trial(row.number), epoch, score, must, pace, settings(row.params, without=())]
        )
    return table(
        "Trials that train now. The threshold is the score in % below which the trial would stop "
        "at its next rung, by the scores of the others so far.",
        ["trial", "epoch", "score, %", "threshold, %", "s per epoch", "settings"], rows,
        words={0, 5}, trials=[row.name for row in running],
    )  # fmt: skip


def _plot(
    data: ReportData,
    scene: Scene,
    running: list[TrialRow],
    thresholds: dict[str, dict[int, float]],
) -> Block:
    fig = empty_plot(height=360)
    rungs = (*data.rungs.copies, *data.rungs.judged)
    best = scene.best
    if best is not None:
        _line(fig, best, _own(scene, best), f"best so far, {trial(best.number)}", INK, 1.4)
    colours = [colour for colour in LINE_COLOURS if colour not in (INK, SKY)]
    for place, row in enumerate(running):
        colour = colours[place % len(colours)]
        _line(fig, row, _own(scene, row), trial(row.number), colour, 2.4)
    least = thresholds[running[0].name]
    if least:
        x: list[float | None] = []
        y: list[float | None] = []
        for epoch, score in least.items():
            x += [epoch - _TICK, epoch + _TICK, None]
            y += [in_percent(score), in_percent(score), None]
        fig.add_scatter(
            x=x, y=y, mode="lines", name="threshold of a rung", line={"color": INK, "width": 4},
            hovertemplate="threshold: %{y:.1f} %<extra></extra>",
        )  # fmt: skip
    pictures.mark_rungs(fig, rungs)
    fig.update_xaxes(title={"text": "epoch", "standoff": 6}, range=[0, data.space.max_epochs])
    fig.update_yaxes(title="score, %")
    fig.update_layout(legend={"orientation": "h", "y": -0.19, "yanchor": "top", "x": 0},
                      showlegend=True)  # fmt: skip
    return Plot(
        fig,
        f"Score ({data.metric}) of the running trials over their epochs, against the best trial "
        "so far and the thresholds of the rungs.",
    )


def _line(
    fig: go.Figure, row: TrialRow, curve: TrialCurve, name: str, colour: str, width: float
) -> None:
    fig.add_scatter(
        x=curve.epochs, y=[in_percent(score) for score in curve.scores], mode="lines+markers",
        name=escape(name), line={"color": colour, "width": width}, marker={"size": 6},
        customdata=[row.name] * len(curve.epochs),
        hovertemplate=f"{trial(row.number)}: %{{y:.1f}} % at epoch %{{x}}<extra></extra>",
    )  # fmt: skip


__all__ = ["now", "thresholds_of"]
