"""Write the leaderboard of several studies as one HTML file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ltat_tune.comparison.leaderboard import READING, Standing, by_problem, metric_title
from ltat_tune.report.blocks import Block, Heading, PageSection, Table, Text
from ltat_tune.report.page import Cover, render_page
from ltat_tune.report.words import NONE, count


def leaderboard_page(rows: Sequence[Standing], target: Path) -> str:
    """Return the whole HTML file.

    Args:
        rows: the winners, as `standings` returns them.
        target: the page's file, from which it links to reports beside the studies.
    """
    blocks: list[Block] = [Text(READING, "quiet")]
    groups = by_problem(rows)
    for title, group in groups.items():
        if title:
            blocks += [Heading(title), _table(group, target)]
            blocks += [Text(f"{row.study.name}: {row.finding}", "quiet") for row in group
                       if row.finding]  # fmt: skip
    sections = [PageSection("leaderboard", "Winners by problem", tuple(blocks))]
    sections.append(PageSection("take", "How to get each winner", (_commands(rows),)))
    if waiting := groups.get("", []):
        lines = [[row.study.name, "; ".join(row.notes), row.command] for row in waiting]
        sections.append(PageSection("waiting", "Studies without results", (Table(
            "Studies that are running, not finished, or unreadable.",
            ("study", "state", "to finish it"), tuple(map(tuple, lines)),
        ),)))  # fmt: skip
    now = datetime.now().astimezone()
    studies = len({row.study for row in rows})
    problems = len([title for title in groups if title])
    cover = Cover(
        "Leaderboard", "ltat-tune leaderboard",
        (count(studies, "study", "studies"), count(problems, "problem"),
         f"as of {now:%Y-%m-%d %H:%M}"), now,
    )  # fmt: skip
    return render_page(cover, sections, [])


def _table(group: Sequence[Standing], target: Path) -> Table:
    metrics = list(dict.fromkeys(metric for row in group for metric in row.scores))
    several = len({(row.study, row.scenario) for row in group}) > len({row.study for row in group})
    head = ("study", "winner", "n", *(f"test {metric_title(metric)}, %" for metric in metrics),
            "ahead of its baseline, points", "gradient masking", "cost", "note")  # fmt: skip
    lines, links = [], []
    for row in group:
        scores = [row.scores[m].text if m in row.scores else NONE for m in metrics]
        lines.append((
            f"{row.study.name} {row.scenario}" if several else row.study.name,
            f"{row.trial} {row.winner}".strip() or NONE, str(row.seeds or NONE), *scores,
            row.lead, row.sentinel, row.cost, "; ".join(row.notes),
        ))  # fmt: skip
        report = row.study / "report.html"
        links.append(
            Path(os.path.relpath(report.resolve(), target.resolve().parent)).as_posix()
            if report.exists() else ""
        )  # fmt: skip
    best = [0] if len(group) > 1 and group[0].score is not None and group[0].is_honest else []
    return Table(
        "Winners, best first.", head, tuple(lines),
        numeric=frozenset(range(2, 4 + len(metrics))), strong=frozenset(best),
        links=tuple(links), sortable=True,
    )  # fmt: skip


def _commands(rows: Sequence[Standing]) -> Block:
    commands = [row.command for row in rows if row.command and row.winner]
    if not commands:
        return Text("No study has a winner yet.")
    return Text("\n".join(commands), "code")
