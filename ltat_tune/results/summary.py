"""Show results as tables for a terminal."""

from __future__ import annotations

import io

from rich.console import Console, Group, RenderableType
from rich.text import Text

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.scalars import pixels
from ltat_tune.presentation.names import NORM_NAMES, images_in_words
from ltat_tune.presentation.rich_table import PlainTable
from ltat_tune.presentation.units import percent
from ltat_tune.results.model import (
    ConfirmedResult,
    ScenarioResults,
    StudyResults,
    robust_attack,
)
from ltat_tune.results.verdict import SMOKE, sentences
from ltat_tune.results.wording import CHANCE, SPREAD, masking_line, mean_std, race_rows, trial_ends
from ltat_tune.space.space import settings_text, text_of


def print_summary(results: StudyResults) -> RenderableType:
    """Return a block for each scenario, with winner, baseline and effort; then the verdict."""
    blocks: list[RenderableType] = []
    for scenario in results.scenarios:
        blocks += [Text(), _scenario(results, scenario)]
    lines = sentences(results)
    return Group(*blocks, *([Text()] if lines else []), *map(Text, lines))


def as_text(results: StudyResults, width: int = 100) -> str:
    """Return the summary as plain text, for files."""
    console = Console(
        file=io.StringIO(), width=width, no_color=True, highlight=False, force_jupyter=False
    )  # Jupyter would show it below the cell
    console.print(print_summary(results))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _scenario(results: StudyResults, scenario: ScenarioResults) -> RenderableType:
    parts: list[RenderableType] = [Text(scenario.title, style="bold")]
    if results.selected_on_test:
        parts.append(Text("selected_on_test: validation images are the test images", style="red"))
    if results.smoke:
        parts.append(Text(SMOKE, style="red"))
    winner, rival = scenario.winner, scenario.rival
    if winner is not None:
        parts.append(_scores(results, winner, rival))
        if len(winner.seeds) > 1:
            parts.append(Text(SPREAD, style="dim"))
        parts += [Text(), _parameters(winner, rival)]
        parts.append(_protocol(scenario, winner))
        parts += _masking(results, scenario)
        parts += _beside(scenario)
    elif scenario.best_trials:
        best = scenario.best_trials[0]
        parts.append(Text(f"best trial t{best.number:04d}: {percent(best.score)} % "
                          f"{results.objective}, not confirmed"))  # fmt: skip
    elif not scenario.infeasible:
        parts.append(Text("no trial is complete", style="red"))
    if scenario.infeasible:
        parts.append(Text(scenario.infeasible, style="red"))
    if scenario.front:
        numbers = ", ".join(f"t{number:04d}" for number in scenario.front)
        parts.append(Text(f"Pareto front of the objectives: {numbers}", style="dim"))
    parts += [*_race(scenario), _effort(scenario)]
    if scenario.outlook is not None:
        parts.append(Text(scenario.outlook.sentence, style="dim"))
    if scenario.exhausted:
        parts.append(Text(scenario.exhausted, style="dim"))
    parts += [Text(f"failed: {cause}", style="red") for cause in scenario.failures]
    parts += [Text(sentence, style="yellow") for sentence in scenario.doubted]
    return Group(*parts)


def _scores(
    results: StudyResults, winner: ConfirmedResult, rival: ConfirmedResult | None
) -> PlainTable:
    table = PlainTable()
    table.add_column("accuracy, %")
    columns = {"winner": winner}
    if rival is not None:
        columns["baseline"] = rival
    for title, column in columns.items():
        table.add_column(f"{title} t{column.number:04d}", justify="right")
    rows = {f"{results.objective}  (chosen by, so optimistic)": ("val", results.objective)}
    robust = robust_attack(results.confirm.attacks)
    images = winner.test_images
    every = max(images.values(), default=0)
    for attack in results.confirm.attacks:
        part = f"  (on {images[attack]} images)" if images.get(attack, every) < every else ""
        rows[f"test/{attack}_acc{part}"] = ("test", f"test/{attack}_acc")
    if robust is not None:
        for group in ("balanced", "worst", "tail"):
            name = f"test/{robust}_{group}_acc"
            rows[name + ("  (worst class)" if group == "worst" else "")] = ("test", name)
    for title, (split, metric) in rows.items():
        cells = [mean_std(column.scores(split, metric)) for column in columns.values()]
        table.add_row(title, *cells)
    return table


def _parameters(winner: ConfirmedResult, rival: ConfirmedResult | None) -> PlainTable:
    table = PlainTable()
    table.add_column("tuned parameter")
    table.add_column("winner", justify="right")
    columns = [winner.params]
    if rival is not None:
        table.add_column("baseline", justify="right")
        columns.append(rival.params)
    for path in dict.fromkeys(path for params in columns for path in params):
        cells = [text_of(params[path]) if path in params else "" for params in columns]
        table.add_row(PARAMETERS[path].label, *cells)
    return table


def _protocol(scenario: ScenarioResults, winner: ConfirmedResult) -> Text:
    images = ", ".join(f"{a} on {n}" for a, n in winner.test_images.items())
    return Text(
        f"seeds {text_of(winner.seeds)}; {NORM_NAMES[scenario.norm]} eps "
        f"{pixels(scenario.eps)}; test images: {images or 'none'}\n"
        f"{images_in_words(winner.samples_per_class, winner.classes)}",
        style="dim",
    )


def _beside(scenario: ScenarioResults) -> list[RenderableType]:
    """Return the ranges that may have been too narrow."""
    return [
        Text(
            f"a wider range than that of {edge.path} {text_of(edge.value)}, on its {edge.side} "
            f"edge: {edge.yaml}", style="dim",
        )
        for edge in scenario.edges
    ]  # fmt: skip


def _race(scenario: ScenarioResults) -> list[RenderableType]:
    """Return a table of what the search gave each choice; nothing if there is no race."""
    if not scenario.choices:
        return []
    table = PlainTable()
    table.add_column("the race")
    for title in ("trials", "whole", "epochs", "best, %", "chance, %"):
        table.add_column(title, justify="right")
    for row in race_rows(scenario.choices):
        table.add_row(*row)
    known = any(one.chance is not None for one in scenario.choices)
    return [Text(), table, *([Text(CHANCE, style="dim")] if known else [])]


def _masking(results: StudyResults, scenario: ScenarioResults) -> list[RenderableType]:
    """Return the sentinel's verdict on the winner; nothing if it was not requested."""
    report = scenario.sentinel
    if report is not None:
        style = "dim" if report.is_clear else "red"
        return [Text(f"gradient masking: {masking_line(report)}", style=style)]
    pending = results.confirm.sentinel and scenario.eps > 0
    return [Text("gradient masking: not checked yet", style="red")] if pending else []


_RUNGS = {"copy": "copies of {} epochs", "probe": "probes at epoch {}", "prefix": "epoch {}"}


def _effort(scenario: ScenarioResults) -> Text:
    saved, planned = scenario.epochs.saved, scenario.epochs.planned
    share = 100 * abs(saved) / planned if planned else 0.0
    effect = f"{saved} of {planned} epochs saved ({share:.0f} %)"
    if saved < 0:
        effect = f"{-saved} epochs more than the {planned} of full trainings ({share:.0f} %)"
    text = f"{trial_ends(scenario.trials)}\n{effect}"
    for rung in scenario.rungs:
        if rung.correlation is not None:
            name = _RUNGS[rung.kind].format(rung.epochs)
            text += (
                f"\n{name}: rank correlation {rung.correlation:.2f} with the end, over "
                f"the {rung.trials} trials that reached both"
            )
    return Text(text, style="dim")


def best_trials(results: StudyResults) -> RenderableType:
    """Return a table of each scenario's best complete trials, by their validation score."""
    parts: list[RenderableType] = []
    for scenario in results.scenarios:
        table = PlainTable()
        for title in ("trial", "score, %", "parameters"):
            table.add_column(title)
        for trial in scenario.best_trials:
            shown = settings_text(trial.params)
            table.add_row(f"t{trial.number:04d}", percent(trial.score), shown)
        title = f"{scenario.title}: best complete trials ({results.objective}, one seed)"
        parts += [Text(), Text(title, style="bold"), table]
    return Group(*parts)
