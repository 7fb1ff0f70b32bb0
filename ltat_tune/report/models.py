"""What the winners can do: the trade-off with clean accuracy, classes, predictions, masking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from ltat_tune.report import pictures
from ltat_tune.report.blocks import Block, Heading, PageSection, Plot, Text, table
from ltat_tune.report.data import Confirmed, ReportData, Scene, sentinel, shown_names
from ltat_tune.report.plot_style import BLUE, VERMILLION
from ltat_tune.report.words import attack_name, count, metric_name, trial
from ltat_tune.results.pareto import pareto_front
from ltat_tune.space.objective import group_of
from ltat_tune.storage.trained_run import Run
from ltat_tune.storage.training_files import MaskingReport, read_complete

_CHECKED = {True: "speaks for masking", False: "as it should be"}


@dataclass(frozen=True)
class TradeOff:
    """Two measures of every complete trial of a scenario.

    Attributes:
        figure: with the front, and the confirmed configurations.
        points: number, first and second measure in %.
        front: numbers of those that no other beats in both.
        measures: the two metrics.
    """

    figure: go.Figure
    points: Sequence[tuple[int, float, float]]
    front: Sequence[int]
    measures: tuple[str, str]


def trade_off_of(data: ReportData, scene: Scene) -> TradeOff | None:
    """The other objective, else clean accuracy, against the objective; None of fewer than two."""
    first, second = _measures(data)
    points = _points(scene, first, second)
    if len(points) < 2:
        return None
    places = pareto_front([(x, y) for _, x, y in points], equals=True)
    front = [points[place][0] for place in places]
    confirmed = []
    done = [one for one in scene.confirmed if {first, second} <= set(one.result.val)]
    for one, name in zip(done, shown_names([one.config for one in done]), strict=True):
        pair = [[100 * v for v in one.result.val[metric]] for metric in (first, second)]
        title = f"{name} ({trial(one.result.number)}), confirmed"
        confirmed.append((title, pair[0], pair[1], one is scene.winner))
    titles = f"{metric_name(first)}, %", f"{metric_name(second)}, %"
    figure = pictures.trade_off_plot(points, front, confirmed, titles)
    return TradeOff(figure, points, front, (first, second))


def trade_off_section(data: ReportData) -> PageSection:
    """Clean against robust accuracy, or the first two objectives where there are several."""
    blocks: list[Block] = []
    for scene in data.scenes:
        if len(data.scenes) > 1:
            blocks.append(Heading(scene.scenario.title))
        found = trade_off_of(data, scene)
        if found is None:
            blocks.append(Text("Fewer than two trials were trained to their end, so there is "
                               "nothing to trade off."))  # fmt: skip
            continue
        first, second = found.measures
        told = ", ".join(trial(number) for number in found.front)
        blocks.append(Plot(
            found.figure,
            "Validation images. A dot is a complete trial (one seed), the ringed line the front "
            f"of those that no other beats in both: {told}. Larger marks are confirmed "
            "configurations, mean and standard deviation over their seeds.",
            numbers=table(
                "Complete trials, %.", ["trial", metric_name(first), metric_name(second), "front"],
                [[trial(n), f"{x:.1f}", f"{y:.1f}", "yes" if n in found.front else ""]
                 for n, x, y in sorted(found.points, key=lambda p: -p[2])], folded=True,
            ),
        ))  # fmt: skip
    return PageSection("trade-off", "Trade-off", tuple(blocks))


def _measures(data: ReportData) -> tuple[str, str]:
    """What is set against what: the other objective, if there is one, else clean accuracy."""
    metric = data.metric
    if data.space.objective.also:
        return data.space.objective.also[0], metric
    group = group_of(metric)
    return f"val/clean_{group}_acc" if group else "val/clean_acc", metric


def _points(scene: Scene, first: str, second: str) -> list[tuple[int, float, float]]:
    found = []
    for row in scene.with_state("complete"):
        trained = read_complete(row.folder)
        metrics = trained.metrics if trained else {}
        if first in metrics and second in metrics:
            found.append((row.number, 100 * metrics[first], 100 * metrics[second]))
    return found


def classes(data: ReportData) -> PageSection:
    """Recall by class and the distribution of adversarial predictions, of the winners."""
    blocks: list[Block] = []
    for scene in data.scenes:
        winner = scene.winner
        if winner is None or not winner.runs:
            continue
        if len(data.scenes) > 1:
            blocks.append(Heading(scene.scenario.title))
        blocks += _recalls(data, scene, winner)
        blocks += _predictions(winner.runs[0])
    if not blocks:
        blocks.append(Text("No winner is confirmed, so there is no model to look into."))
    return PageSection("classes", "Winners, class by class", tuple(blocks))


def _recalls(data: ReportData, scene: Scene, winner: Confirmed) -> list[Block]:
    models = [("winner", winner.runs, VERMILLION)]
    if scene.baseline is not None and scene.baseline is not winner and scene.baseline.runs:
        models.append(("baseline", scene.baseline.runs, BLUE))
    robust = next((a for a in data.results.confirm.attacks if a != "clean"), None)
    wanted = [("test", a) for a in ("clean", robust) if a]
    wanted += [("val", a) for a in ("clean", data.space.objective.attack)]
    every = [run for _, runs, _ in models for run in runs]
    there = [f"{split}/{attack}" for split, attack in wanted
             if all(f"{split}/{attack}" in run.per_class for run in every)]  # fmt: skip
    measures = list(dict.fromkeys(m for m in there if m.startswith("test/"))) or there
    if not measures:
        return []
    fig, rows = pictures.per_class(models, measures)
    split = "test" if measures[0].startswith("test/") else "validation"
    head = ["class", "training images"]
    head += [
        f"{who}, {attack_name(m.partition('/')[2])}" for who, _, _ in models for m in measures
    ]
    return [Plot(
        fig,
        f"Recall of each class on the {split} images, mean over the seeds, most frequent class "
        "first: dotted without an attack, solid under it.",
        numbers=table("Recall by class, %.", head, rows, folded=True),
    )]  # fmt: skip


def _predictions(run: Run) -> list[Block]:
    if not run.predicted:
        return []
    total = sum(run.samples_per_class)

    def shares(run: Run) -> list[list[float]]:
        return [[100 * n / max(1, sum(epoch)) for n in epoch] for epoch in run.predicted]

    order = sorted(range(len(run.samples_per_class)), key=lambda c: -run.samples_per_class[c])
    last = shares(run)[-1]
    blocks: list[Block] = [Plot(
        pictures.predictions(run, shares),
        f"Which classes the winner's training put its {total} adversarial images into, epoch by "
        "epoch (seed of the first confirmation). Rare classes that stay dark are never predicted.",
        numbers=table(
            "Shares of the training images, %.",
            ["class", "by its label", "predicted in the last epoch"],
            [[run.class_names[c], f"{100 * run.samples_per_class[c] / total:.1f}",
              f"{last[c]:.1f}"] for c in order], folded=True,
        ),
    )]  # fmt: skip
    return blocks


def masking_section(data: ReportData) -> PageSection:
    """What the sentinel says of each winner, check by check."""
    blocks: list[Block] = [Text(
        "A robust accuracy counts only if the attack could see the gradient. The sentinel looks "
        "for signs that it could not, on the first seed's weights, after everything was chosen.",
        "quiet",
    )]  # fmt: skip
    for scene in data.scenes:
        if len(data.scenes) > 1:
            blocks.append(Heading(scene.scenario.title))
        report = sentinel(scene)
        if report is None:
            asked = data.results.confirm.sentinel
            why = "not yet" if asked and scene.results.eps > 0 else "it was not asked for"
            blocks.append(Text(f"Not looked for: {why}."))
            continue
        headline = report.headline[0].upper() + report.headline[1:].rstrip(".")
        images = f"{report.right} of {count(report.images, 'image')} attacked"
        blocks.append(Text(f"{headline} ({images}).", "plain" if report.is_clear else "loud"))
        blocks.append(_checks(report))
        blocks += [Text(f"Left out: {why}", "quiet") for why in report.left_out]
    return PageSection("masking", "Gradient masking", tuple(blocks))


def _checks(report: MaskingReport) -> Block:
    rows = [
        [check.title, _CHECKED[check.triggered], check.severity if check.triggered else "",
         check.sentence]
        for check in report.checks
    ]  # fmt: skip
    return table("The sentinel's checks.", ["check", "found", "weight", "in words"], rows, text=4)
