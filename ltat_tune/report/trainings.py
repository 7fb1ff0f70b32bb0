"""How trials trained, where they were judged, and whether the rungs judged well."""

from __future__ import annotations

from ltat_tune.report import pictures
from ltat_tune.report.blocks import Block, Heading, PageSection, Plot, Table, Text
from ltat_tune.report.data import ReportData, Scene, deleted
from ltat_tune.report.words import NONE, count, trial

_KINDS = {"copy": "copies of {} epochs", "probe": "probes at epoch {}", "prefix": "epoch {}"}


def curves_section(data: ReportData) -> PageSection:
    """Learning curves with the rungs, and who was stopped where."""
    rungs = (*data.rungs.copies, *data.rungs.judged)
    blocks: list[Block] = [Text(note[0].upper() + note[1:] + ".", "quiet")
                           for note in data.rungs.notes]  # fmt: skip
    for scene in data.scenes:
        if len(data.scenes) > 1:
            blocks.append(Heading(scene.scenario.title))
        if not any(scene.curves.values()) and not any(row.scores for row in scene.rows):
            blocks.append(Text("No trial was validated yet."))
            continue
        fig, drawn = pictures.learning_curves_plot(scene, rungs)
        left = len(scene.rows) - drawn
        more = (
            f" Lines of {drawn} trials, the best of each way to end; {left} more are not drawn, "
            "their crosses are." if left else ""
        )  # fmt: skip
        blocks.append(Plot(
            fig,
            f"Score ({data.metric}) over the epochs, a line a trial; dotted lines are short "
            f"complete copies, a cross is where a trial ended before its last epoch.{more}",
            numbers=_stops(scene),
        ))  # fmt: skip
        if lost := deleted(scene, data.rungs):
            blocks.append(Text(
                f"Weights of {count(len(lost), 'trial')} were deleted (ltat-tune gc or rm "
                "--keep-best), and their curves with them; scores at rungs are drawn instead. "
                "ltat-tune train with a trial's config.yaml trains it again.", "quiet",
            ))  # fmt: skip
        blocks.append(_quality(data, scene))
    return PageSection("curves", "Learning curves and early stopping", tuple(blocks))


def _stops(scene: Scene) -> Table:
    rows = []
    for row in scene.rows:
        told = ", ".join(f"{e}: {100 * s:.1f}" for e, s in row.scores.items())
        why = row.cause if row.state != "complete" else ""
        rows.append([trial(row.number), row.state, str(row.epochs), told or NONE, why])
    return Table(
        "Scores in % by epoch, and why a trial was stopped.",
        ("trial", "state", "epochs trained", "scores", "reason"),
        tuple(map(tuple, rows)), numeric=frozenset({2}), folded=True,
    )  # fmt: skip


def _quality(data: ReportData, scene: Scene) -> Block:
    """How well each rung predicted the end."""
    rungs = scene.results.rungs
    if not rungs:
        return Text("Nothing was stopped early: this study has no rungs.", "quiet")
    rows = []
    for rung in rungs:
        known = rung.correlation
        told = NONE if known is None else f"{known:.2f}"
        rows.append([
            _KINDS[rung.kind].format(rung.epochs), told, str(rung.trials),
            _meaning(known, rung.trials),
        ])  # fmt: skip
    passed = count(len(scene.with_state("complete")), "trial")
    return Table(
        "How well each rung predicted the end: Spearman's rank correlation of the scores at the "
        f"rung with those at the end, over the trials that have both ({passed} came to the end). "
        "They are those that the rung let pass: over all trials it would be higher.",
        ("rung", "rank correlation", "trials", "in words"),
        tuple(map(tuple, rows)), numeric=frozenset({1, 2}),
    )  # fmt: skip


def _meaning(correlation: float | None, trials: int) -> str:
    if correlation is None:
        return "too few trials to tell"
    if trials < 8:
        return "few trials: take it as a hint"
    if correlation >= 0.7:
        return "predicts the end well"
    return "predicts the end somewhat" if correlation >= 0.3 else "hardly predicts the end"
