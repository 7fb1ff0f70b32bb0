"""Build the sections on the models: trade-off, classes, predictions, gradient masking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from ltat_tune.presentation.units import in_percent, percent
from ltat_tune.report import pictures
from ltat_tune.report.blocks import Block, Heading, PageSection, Plot, Text, table
from ltat_tune.report.data import Confirmed, ReportData, Scene, sentinel, shown_names
from ltat_tune.report.plot_style import BLUE, VERMILLION
from ltat_tune.report.words import attack_name, count, metric_name, trial
from ltat_tune.results.pareto import pareto_front
from ltat_tune.space.objective import group_of
from ltat_tune.storage.trained_run import Run
from ltat_tune.storage.training_files import MaskingReport, read_complete

_CHECKED = {True: "sign of masking", False: "as expected"}


@dataclass(frozen=True)
class TradeOff:
    """Two measures of every complete trial of a scenario.

    Attributes:
        figure: the plot, with the Pareto front and the confirmed configurations.
        points: (trial number, first measure, second measure) in %.
        front: numbers of the trials on the Pareto front.
        measures: the two metrics.
    """

    figure: go.Figure
    points: Sequence[tuple[int, float, float]]
    front: Sequence[int]
    measures: tuple[str, str]


def trade_off_of(data: ReportData, scene: Scene) -> TradeOff | None:
    """Return the trade-off of a scenario; None with fewer than two complete trials."""
    first, second = _measures(data)
    points = _points(scene, first, second)
    if len(points) < 2:
        return None
    places = pareto_front([(x, y) for _, x, y in points], equals=True)
    front = [points[place][0] for place in places]
    confirmed = []
    done = [one for one in scene.confirmed if {first, second} <= set(one.result.val)]
    for one, name in zip(done, shown_names([one.config for one in done]), strict=True):
        pair = [[in_percent(v) for v in one.result.val[metric]] for metric in (first, second)]
        title = f"{name} ({trial(one.result.number)}), confirmed"
        confirmed.append((title, pair[0], pair[1], one is scene.winner))
    titles = f"{metric_name(first)}, %", f"{metric_name(second)}, %"
    figure = pictures.trade_off_plot(points, front, confirmed, titles)
    names = [f"{scene.scenario.name}/{trial(number)}" for number, _, _ in points]
    figure.update_traces(customdata=names, selector={"name": "trial"})
    return TradeOff(figure, points, front, (first, second))


def trade_off_section(data: ReportData) -> PageSection:
    """Return the section on clean against robust accuracy, or on two objectives."""
    blocks: list[Block] = []
    for scene in data.scenes:
        if len(data.scenes) > 1:
            blocks.append(Heading(scene.scenario.title))
        trade_off = trade_off_of(data, scene)
        if trade_off is None:
            blocks.append(Text("Fewer than two trials were trained to their end, so there is "
                               "no trade-off to show."))  # fmt: skip
            continue
        first, second = trade_off.measures
        names = ", ".join(trial(number) for number in trade_off.front)
        ranked = sorted(trade_off.points, key=lambda point: -point[2])
        blocks.append(Plot(
            trade_off.figure,
            "Accuracy on the validation images. Each dot is a complete trial (one seed). The line "
            f"with rings is the front of trials that no other beats in both: {names}. Larger "
            "marks are confirmed configurations, with mean and standard deviation over seeds.",
            numbers=table(
                "Complete trials, in %.",
                ["trial", metric_name(first), metric_name(second), "front"],
                [[trial(n), f"{x:.1f}", f"{y:.1f}", "yes" if n in trade_off.front else ""]
                 for n, x, y in ranked], folded=True,
                trials=[f"{scene.scenario.name}/{trial(n)}" for n, _, _ in ranked],
            ),
        ))  # fmt: skip
    return PageSection("trade-off", "Trade-off", tuple(blocks))


def _measures(data: ReportData) -> tuple[str, str]:
    """Return two metrics: the other objective, or else clean accuracy; and the objective."""
    metric = data.metric
    if data.space.objective.also:
        return data.space.objective.also[0], metric
    group = group_of(metric)
    return f"val/clean_{group}_acc" if group else "val/clean_acc", metric


def _points(scene: Scene, first: str, second: str) -> list[tuple[int, float, float]]:
    points, complete = [], scene.with_state("complete")
    for row in [row for row in complete if not row.doubt] or complete:
        trained = read_complete(row.folder)
        metrics = trained.credible if trained else {}
        if first in metrics and second in metrics:
            points.append((row.number, in_percent(metrics[first]), in_percent(metrics[second])))
    return points


def classes(data: ReportData) -> PageSection:
    """Return the section on the winners' recall by class and adversarial predictions."""
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
        blocks.append(Text("No winner is confirmed, so there is no model to show."))
    return PageSection("classes", "Winners, class by class", tuple(blocks))


def _recalls(data: ReportData, scene: Scene, winner: Confirmed) -> list[Block]:
    models = [("winner", winner.runs, VERMILLION)]
    if scene.baseline is not None and scene.baseline is not winner and scene.baseline.runs:
        models.append(("baseline", scene.baseline.runs, BLUE))
    robust = next((a for a in data.results.confirm.attacks if a != "clean"), None)
    candidates = [("test", a) for a in ("clean", robust) if a]
    candidates += [("val", a) for a in ("clean", data.space.objective.attack)]
    every = [run for _, runs, _ in models for run in runs]
    there = [f"{split}/{attack}" for split, attack in candidates
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
        "first. Dotted lines are without an attack, solid lines under attack.",
        numbers=table("Recall by class, in %.", head, rows, folded=True),
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
        f"Which classes the winner's training predicted for its {total} adversarial images, epoch "
        "by epoch (seed of the first confirmation). Rare classes that stay dark are never "
        "predicted.",
        numbers=table(
            "Shares of the training images, in %.",
            ["class", "by label", "predicted in the last epoch"],
            [[run.class_names[c], percent(run.samples_per_class[c] / total),
              f"{last[c]:.1f}"] for c in order], folded=True,
        ),
    )]  # fmt: skip
    return blocks


def masking_section(data: ReportData) -> PageSection:
    """Return the section with the sentinel's report on each winner, check by check."""
    blocks: list[Block] = [Text(
        "A robust accuracy is meaningful only if the attack could use the gradient. The sentinel "
        "looks for signs that it could not. It checks the weights of the first seed, after "
        "everything was chosen.",
        "quiet",
    )]  # fmt: skip
    for scene in data.scenes:
        if len(data.scenes) > 1:
            blocks.append(Heading(scene.scenario.title))
        report = sentinel(scene)
        if report is None:
            pending = data.results.confirm.sentinel and scene.results.eps > 0
            blocks.append(Text("Not checked yet." if pending else
                               "Not checked, because the study did not request it."))  # fmt: skip
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
    return table(
        "The sentinel's checks.", ["check", "result", "severity", "in words"], rows, text=4
    )
