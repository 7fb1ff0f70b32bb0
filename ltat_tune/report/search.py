"""Build the sections on the search: which parameters matter, where good values lie."""

from __future__ import annotations

from collections.abc import Sequence

from ltat_tune.report import search_plots
from ltat_tune.report.blocks import Block, Heading, PageSection, Plot, Table, Text, table
from ltat_tune.report.data import ReportData, Scene
from ltat_tune.report.words import (
    NONE,
    count,
    how_it_ended,
    label,
    percent,
    settings,
    short,
    trial,
    value,
)
from ltat_tune.results.importance import ImportanceEstimate
from ltat_tune.results.wording import p_value, race_rows
from ltat_tune.storage.trials import TrialRow


def importance(data: ReportData) -> PageSection:
    """Return the section on the importance of parameters, with its uncertainty."""
    blocks: list[Block] = [Text(
        "This shows how much each parameter contributes to the differences between trials. fANOVA "
        "measures this for the parameters that all trials have. PED-ANOVA measures which "
        "parameters decide whether a trial is among the best, including parameters that only some "
        "trials have. "
        "Whiskers span the 5th to 95th percentile over resampled trials. Shares say what matters "
        "more, not whether it matters, so each parameter has a p: a permutation test whether the "
        "score rises, falls or peaks over its range, or differs between its values. p is "
        "corrected for the number of parameters, and a parameter must explain what the clearer "
        "ones do not. If no parameter matters, the chance that any has p of at most 0.05 is 5 % "
        "for each scenario. That is exact where proposals do not depend on scores, and nearly so "
        "for tpe.", "quiet",
    )]  # fmt: skip
    for scene in data.scenes:
        blocks += _titled(data, scene)
        estimates = scene.importances
        if not estimates.values:
            blocks.append(Text(f"No estimate yet: {estimates.why_not}."))
            continue
        basis = (
            f"the final scores of {estimates.trials} complete trials" if estimates.epochs is None
            else f"the scores of {estimates.trials} trials at {_rung(data, estimates.epochs)}, "
            "which more trials reached than the end"
        )  # fmt: skip
        clear = [f"{label(one.path)} ({p_value(one.p)})" for one in estimates.values
                 if one.is_clear]  # fmt: skip
        summary = (
            f"More than chance: {', '.join(clear)}." if clear
            else "No parameter stands out from chance with so few trials."
        )  # fmt: skip
        blocks.append(Text(f"{summary} Computed from {basis}."))
        blocks.append(Plot(
            search_plots.importance_plot(estimates),
            f"Importance of each tuned parameter, {scene.scenario.title}; the table below has "
            "the same numbers.",
        ))  # fmt: skip
        edges = {e.path: f"{e.side} edge of its range" for e in scene.results.edges}
        blocks.append(table(
            "Shares in %, with the 90 % interval over resampled trials in brackets.",
            ["parameter", "fANOVA", "PED-ANOVA", "trials with it", "p", "more than chance",
             "winner lies on"],
            [[label(one.path), _estimate(one.fanova), _estimate(one.ped_anova), str(one.active),
              p_value(one.p).removeprefix("p = ").removeprefix("p "),
              "yes" if one.is_clear else "no", edges.get(one.path, "")]
             for one in estimates.values],
        ))  # fmt: skip
    return PageSection("importance", "Which parameters matter", tuple(blocks))


def _titled(data: ReportData, scene: Scene) -> list[Block]:
    return [Heading(scene.scenario.title)] if len(data.scenes) > 1 else []


def _rung(data: ReportData, epochs: int) -> str:
    return f"copies of {epochs} epochs" if epochs in data.rungs.copies else f"epoch {epochs}"


def _estimate(estimate: ImportanceEstimate | None) -> str:
    if estimate is None:
        return NONE
    return f"{percent(estimate.share, 0)} ({percent(estimate.low, 0)}–{percent(estimate.high, 0)})"


def race(data: ReportData) -> PageSection:
    """Return the section on how much each method, loss or other choice was tried."""
    blocks: list[Block] = []
    for scene in data.scenes:
        if choices := scene.results.choices:
            blocks += _titled(data, scene)
            blocks.append(table(
                "What the search gave each choice. A whole training is a trial that trained to "
                "its end; searcher.at_least says how many each choice is owed.",
                ["choice", "trials", "whole trainings", "epochs", "best score, %",
                 "chance to be best, %"],
                race_rows(choices),
            ))  # fmt: skip
    if not blocks:
        blocks.append(Text("No method, loss or other choice was searched."))
    else:
        blocks.append(Text(
            "The chance to be best is that of the choice's best configuration to be truly the "
            "best, among the choices of the same parameter. It counts the noise of a score over "
            "validation images, and over seeds where confirmations show it. A choice with fewer "
            "whole trainings than another is given the missing ones, like those that it had.",
            "quiet",
        ))  # fmt: skip
    return PageSection("race", "How much each choice was tried", tuple(blocks))


_PAGE_PX = 900  # the page's width on a screen of 1280, beside its contents


def where_good_values_lie(data: ReportData) -> PageSection:
    """Return the section with parallel coordinates, slices and a contour plot."""
    blocks: list[Block] = []
    for scene in data.scenes:
        ended = [row for row in scene.rows if row.state != "running"]
        judged = [row for row in ended if row.score is not None or row.scores]
        blocks += _titled(data, scene)
        if not judged:
            blocks.append(Text("No trial has been judged yet."))
            continue
        winner = scene.winner.result.number if scene.winner else None
        tuned = data.space.tuned
        names = ", ".join(f"{short(path)} is {path}" for path in tuned if short(path) != path)
        blocks.append(Plot(
            search_plots.parallel_coordinates(ended, tuned, winner=winner),
            f"Each line is a trial, from its parameters to its score ({data.metric}). Drag along "
            "an axis to keep only the lines that pass there; drag a title to move its axis. Grey "
            "lines are trials without a final score: stopped early, failed or diverged. "
            f"{'The thick line is the winner. ' if winner is not None else ''}– means that the "
            f"trial does not have the parameter. Here {names}. The section All trials "
            "lists the same trials in a table.",
            least_width_px=min(110 * (len(tuned) + 1), _PAGE_PX),
        ))  # fmt: skip
        blocks.append(Plot(
            search_plots.slices(ended, tuned, winner=winner),
            "Score over each parameter alone. Ranges are drawn as they were searched, "
            "logarithmic where the search was. A trial that was stopped early stands at the "
            "score of its last rung, which is not comparable with a final score.",
            least_width_px=min(3, len(tuned)) * 270,
        ))  # fmt: skip
        blocks.append(_contour(data, scene))
    return PageSection("search", "Where good values lie", tuple(blocks))


def _contour(data: ReportData, scene: Scene) -> Block:
    rows = scene.study.get_trials(deepcopy=False) if scene.study is not None else []
    drawn = search_plots.contour(rows, [one.path for one in scene.importances.values])
    if drawn is None:
        return Text(
            "No contour plot: it needs two parameters that are ranges, and five trials with both.",
            "quiet",
        )
    fig, (one, other) = drawn
    epochs = scene.importances.epochs
    at = "at their ends" if epochs is None else f"at {_rung(data, epochs)}"
    return Plot(
        fig,
        f"Score over {label(one)} and {label(other)}, the two most important ranges. Dots are "
        f"trials; between them the score is interpolated. Trials are scored {at}.",
        numbers=_pair_table(scene.rows, one, other),
    )


def _pair_table(rows: Sequence[TrialRow], one: str, other: str) -> Table:
    shown = [row for row in rows if one in row.params and other in row.params and row.scores]
    return table(
        "Trials of the contour plot.", ["trial", label(one), label(other), "last score, %"],
        [[trial(row.number), value(one, row.params[one]), value(other, row.params[other]),
          percent(row.score if row.score is not None else row.scores[max(row.scores)])]
         for row in shown], folded=True, trials=[row.name for row in shown],
    )  # fmt: skip


def trials_tables(
    data: ReportData, scene: Scene, *, most: int = 500, shown: int = 50
) -> list[Table]:
    """Return tables of every trial with its parameters, best first.

    With many trials, a second and folded table holds all but the best.

    Args:
        data: the study.
        scene: the scenario.
        most: largest number of rows in total.
        shown: number of rows that are not folded.
    """
    order = sorted(
        scene.rows, key=lambda r: (r.score is None, bool(r.doubt), -(r.score or 0.0), r.number)
    )
    paths = list(data.space.tuned)
    names = [row.name for row in order[:most]]
    rows = [
        [trial(row.number), _ended(row), percent(row.score), _last_rung(row), str(row.epochs),
         *_values(row, paths)]
        for row in order[:most]
    ]  # fmt: skip
    few = len(paths) <= _MOST_COLUMNS
    head = ["trial", "how it ended", "score", "at its last rung", "epochs",
            *([short(path) for path in paths] if few else ["settings"])]  # fmt: skip
    words = {len(head) - 1}
    if few:
        domains = [data.space.tuned[path] for path in paths]
        words = {5 + place for place, one in enumerate(domains) if one.kind == "categorical"}
    title = f"{count(len(order), 'trial')} of {scene.scenario.title}"
    if len(rows) <= shown:
        return [table(f"{title}; scores in %.", head, rows, text=2, words=words, trials=names)]
    left = f"; {len(order) - most} more are not listed" if len(order) > most else ""
    return [
        table(f"The best {shown} of {title}; scores in %.", head, rows[:shown], text=2,
              words=words, trials=names[:shown]),
        table(f"The next {len(rows) - shown} of them{left}.", head, rows[shown:], text=2,
              words=words, folded=True, trials=names[shown:]),
    ]  # fmt: skip


_MOST_COLUMNS = 8  # parameters with a column each; more are one column, so that none is hidden


def _values(row: TrialRow, paths: Sequence[str]) -> list[str]:
    if len(paths) > _MOST_COLUMNS:
        return [settings(row.params, without=()) or NONE]
    return [value(p, row.params[p]) if p in row.params else NONE for p in paths]


def _ended(row: TrialRow) -> str:
    return how_it_ended(row.state) + (", without a rank: too good to be true" if row.doubt else "")


def _last_rung(row: TrialRow) -> str:
    if not row.scores:
        return NONE
    epoch = max(row.scores)
    return f"{percent(row.scores[epoch])} (epoch {epoch})"
