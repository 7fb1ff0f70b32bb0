"""Write soups as tables for the terminal, and as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ltat_tune.export.soup.fresh import FreshSoup
from ltat_tune.export.soup.make import ScenarioSoups, Soup
from ltat_tune.presentation.rich_table import PlainTable
from ltat_tune.presentation.units import percent
from ltat_tune.results.wording import mean_std, points

WORTH = (
    "A soup is of one training seed. The validation images chose its trials and the soup itself, "
    "so its score there is optimistic. Only trainings of all its trials with fresh seeds would "
    "confirm it."
)


def soups_text(made: Sequence[ScenarioSoups]) -> RenderableType:
    """Return the soups of every scenario, what was left out, and what the numbers are worth."""
    parts: list[RenderableType] = []
    for one in made:
        parts += [Text(one.title, style="bold"), Text(f"{one.metric}, %", style="dim")]
        for soup in one.soups:
            parts += [Text(f"{len(soup.trials)} trials share {soup.start}"), _table(soup)]
            parts.append(Text(_sentence(soup)))
        if not one.soups:
            parts.append(Text("no two trials share a start"))
        if one.left_out:
            reasons: dict[str, list[str]] = {}
            for name, reason in one.left_out.items():
                reasons.setdefault(reason, []).append(name)
            told = (f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
            parts.append(Text(f"in no group: {'; '.join(told)}", style="dim"))
        if one.path is not None:
            parts.append(Text(f"written: {one.path}"))
        alone = max((soup.best_alone for soup in one.soups), default=0.0)
        if one.best is not None and alone >= one.best.score:
            parts.append(
                Text(f"no better than {one.best_trial.name} alone, which has {percent(alone)} %")
            )
        parts.append(Text())
    return Group(*parts, Text(WORTH, style="dim"))


def fresh_text(fresh: Sequence[FreshSoup], resume: str) -> RenderableType:
    """Return what the soups reach with fresh seeds, or how to train their members with them.

    Args:
        fresh: one for each soup.
        resume: the command that continues the study.
    """
    parts: list[RenderableType] = [Text()]
    for one in fresh:
        if not one.seeds:
            parts.append(Text(
                f"{one.scenario}: to confirm the soup, run `{resume} --confirm {one.top}` and "
                "then this command again. It averages the same trials, trained anew with each "
                "fresh seed."
            ))  # fmt: skip
            continue
        seeds = ", ".join(map(str, one.seeds))
        text = (
            f"{one.scenario}: the same trials, trained and averaged anew with the fresh seeds "
            f"{seeds}, reach {mean_std(one.scores)} % {one.metric}"
        )
        if one.lead is not None:
            text += f"; the soup is ahead of the winner by {points(one.lead.gain)}"
        if one.lead is not None and one.lead.low is not None and one.lead.high is not None:
            ends = " to ".join(percent(end, sign="+") for end in (one.lead.low, one.lead.high))
            text += f" (95 % interval {ends})"
        parts.append(Text(text))
    return Group(*parts)


def fresh_data(fresh: Sequence[FreshSoup]) -> list[dict[str, Any]]:
    """Return the soups of fresh seeds for `--format json`, accuracies as fractions."""
    return [
        {**vars(one), "lead": None if one.lead is None else dict(vars(one.lead))} for one in fresh
    ]


def _table(soup: Soup) -> PlainTable:
    table = PlainTable()
    for name in ("trial", "alone", "average with it", ""):
        table.add_column(name, justify="left" if name in ("trial", "") else "right")
    for trial, one in zip(soup.trials, soup.tried, strict=True):
        first = one.place == 0
        together = "" if first else percent(one.score)
        does = "the start" if first else "added" if one.added else "left out"
        table.add_row(trial.name, percent(one.score if first else trial.score), together, does)
    return table


def _sentence(soup: Soup) -> str:
    best = soup.trials[0].name
    if len(soup.members) == 1:
        return f"no average beats {best} alone"
    names = " + ".join(one.name for one in soup.members)
    gain = percent(soup.score - soup.best_alone, sign="+")
    return f"soup of {names}: {percent(soup.score)} %, {gain} points against {best} alone"


def soups_data(made: Sequence[ScenarioSoups]) -> list[dict[str, Any]]:
    """Return the soups for `--format json`, scores as fractions."""
    return [
        {
            "scenario": one.scenario, "metric": one.metric,
            "file": None if one.path is None else str(one.path),
            "groups": [
                {"start": soup.start, "members": [each.name for each in soup.members],
                 "score": soup.score, "best_alone": soup.best_alone, "trials": _rows(soup)}
                for soup in one.soups
            ],
            "left_out": dict(one.left_out), "note": WORTH,
        }
        for one in made
    ]  # fmt: skip


def soup_rows(made: Sequence[ScenarioSoups]) -> list[dict[str, Any]]:
    """Return a row for each trial that was tried, for `--format csv`."""
    return [
        {"scenario": one.scenario, "start": soup.start, "metric": one.metric, **row}
        for one in made
        for soup in one.soups
        for row in _rows(soup)
    ]


def _rows(soup: Soup) -> list[dict[str, Any]]:
    return [
        {"trial": trial.name, "alone": trial.score, "average_with_it": one.score,
         "added": one.added}
        for trial, one in zip(soup.trials, soup.tried, strict=True)
    ]  # fmt: skip
