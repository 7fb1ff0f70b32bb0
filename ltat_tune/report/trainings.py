"""Build the section on learning curves, early stopping, and how well the rungs judged."""

from __future__ import annotations

from ltat_tune.presentation.units import percent
from ltat_tune.report import pictures
from ltat_tune.report.blocks import Block, Heading, PageSection, Plot, Table, Text
from ltat_tune.report.data import ReportData, Scene, deleted
from ltat_tune.report.words import NONE, count, how_it_ended, trial

_KINDS = {"copy": "copies of {} epochs", "probe": "probes at epoch {}", "prefix": "epoch {}"}


def curves_section(data: ReportData) -> PageSection:
    """Return the section on learning curves, with rungs, and on why trials stopped early."""
    rungs = (*data.rungs.copies, *data.rungs.judged)
    blocks: list[Block] = [Text(note[0].upper() + note[1:] + ".", "quiet")
                           for note in data.rungs.notes]  # fmt: skip
    for scene in data.scenes:
        if len(data.scenes) > 1:
            blocks.append(Heading(scene.scenario.title))
        if not any(scene.curves.values()) and not any(row.scores for row in scene.rows):
            blocks.append(Text("No trial has been validated yet."))
            continue
        fig, drawn = pictures.learning_curves_plot(scene, rungs)
        left = len(scene.rows) - drawn
        more = (
            f" Lines of {drawn} trials are drawn, the best of each way to end. {left} more are "
            "not drawn, but their crosses are." if left else ""
        )  # fmt: skip
        blocks.append(Plot(
            fig,
            f"Score ({data.metric}) over the epochs, one line for each trial. Dotted lines are "
            "copies, which are short but complete trainings. A cross marks where a trial ended "
            f"before its last epoch.{more}",
            numbers=_stops(scene),
        ))  # fmt: skip
        if lost := deleted(scene, data.rungs):
            blocks.append(Text(
                f"The weights of {count(len(lost), 'trial')} were deleted (ltat-tune gc or rm "
                "--keep-best), and their curves with them. Scores at rungs are drawn instead. To "
                "train a trial again, run ltat-tune train with its config.yaml.", "quiet",
            ))  # fmt: skip
        blocks.append(_quality(data, scene))
    return PageSection("curves", "Learning curves and early stopping", tuple(blocks))


def _stops(scene: Scene) -> Table:
    rows = []
    for row in scene.rows:
        scores = ", ".join(f"{e}: {percent(s)}" for e, s in row.scores.items())
        rows.append([
            trial(row.number), how_it_ended(row.state), str(row.epochs), scores or NONE, row.cause
        ])  # fmt: skip
    return Table(
        "Scores in % by epoch, and why a trial was stopped early, failed or lost its rank.",
        ("trial", "how it ended", "epochs trained", "scores", "reason"),
        tuple(map(tuple, rows)), numeric=frozenset({2}), folded=True,
        trials=tuple(row.name for row in scene.rows),
    )  # fmt: skip


def _quality(data: ReportData, scene: Scene) -> Block:
    """Return a table on how well each rung predicted the end."""
    rungs = scene.results.rungs
    if not rungs:
        return Text("No trial was stopped early: this study has no rungs.", "quiet")
    rows = []
    for rung in rungs:
        correlation = rung.correlation
        text = NONE if correlation is None else f"{correlation:.2f}"
        rows.append([
            _KINDS[rung.kind].format(rung.epochs), text, str(rung.trials),
            _meaning(correlation, rung.trials),
        ])  # fmt: skip
    passed = count(len(scene.with_state("complete")), "trial")
    return Table(
        "How well each rung predicted the end: Spearman's rank correlation between the scores at "
        f"the rung and at the end, over the trials that have both ({passed} reached the end). "
        "The rung let these trials pass; over all trials the correlation would be higher.",
        ("rung", "rank correlation", "trials", "in words"),
        tuple(map(tuple, rows)), numeric=frozenset({1, 2}),
    )  # fmt: skip


def _meaning(correlation: float | None, trials: int) -> str:
    if correlation is None:
        return "too few trials to tell"
    if trials < 8:
        return "few trials, so only a hint"
    if correlation >= 0.7:
        return "predicts the end well"
    return "predicts the end somewhat" if correlation >= 0.3 else "hardly predicts the end"
