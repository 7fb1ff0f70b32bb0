"""The papers' rows under ours, as a table, CSV, LaTeX or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ltat_tune.comparison.published import Beside, metric
from ltat_tune.comparison.tables import ON_TEST, heading, latex, mean_text, rows_as_csv


def published_text(found: Sequence[Beside]) -> RenderableType:
    """A table a block, ours first, and how the protocols differ."""
    parts: list[RenderableType] = []
    for beside in found:
        parts += [Text(), Text(f"{beside.block.marked_title}: published", style="bold")]
        if beside.columns:
            table = Table(box=None, pad_edge=False, header_style="dim")
            head, *rows = cells(beside)
            table.add_column(head[0])
            table.add_column(head[1])
            for column in beside.columns:
                table.add_column(heading(metric(column)), justify="right", no_wrap=True)
            for row in rows:
                table.add_row(*row, style="bold" if row[0] == "here" else "")
            parts.append(table)
        parts += [Text(line, style="dim") for line in beside.differences]
    return Group(*parts)


def cells(beside: Beside) -> list[list[str]]:
    """Heading and rows: where a row is from, what it is, its numbers in percent."""
    rows = [["source", "method", *map(metric, beside.columns)]]
    for entry in beside.block.entries:
        what = entry.label or f"{entry.name} {entry.role}"
        rows.append(["here", what, *[mean_text(entry, metric(c)) for c in beside.columns]])
    for row in beside.rows:
        what = f"{row.method}, {row.loss}"
        rows.append([row.source, what, *[_printed(row.scores.get(c)) for c in beside.columns]])
    return rows


def _printed(score: tuple[float, float | None] | None) -> str:
    if score is None:
        return "-"
    mean, spread = score
    return f"{mean:.2f}" + ("" if spread is None else f" ± {spread:.2f}")


def as_csv(found: Sequence[Beside]) -> str:
    """The printed rows with the problem that each was matched to; fractions as ours are."""
    rows: list[dict[str, Any]] = []
    for beside in found:
        for row in beside.rows:
            for column in beside.columns:
                if column in row.scores:
                    mean, spread = row.scores[column]
                    rows.append(
                        {
                            "problem": beside.block.title, "source": row.source,
                            "method": row.method, "loss": row.loss, "metric": metric(column),
                            "mean": round(mean / 100, 6),
                            "spread": None if spread is None else round(spread / 100, 6),
                        }
                    )  # fmt: skip
    return rows_as_csv(rows) if rows else ""


def as_markdown(found: Sequence[Beside]) -> str:
    """A table a block."""
    lines: list[str] = []
    for beside in found:
        lines += [f"### {beside.block.marked_title}: published", ""]
        if beside.columns:
            head, *rows = cells(beside)
            lines += [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
            lines += [f"| {' | '.join(row)} |" for row in rows] + [""]
        lines += [f"{line}  " for line in beside.differences] + [""]
    return "\n".join(lines)


def as_latex(found: Sequence[Beside]) -> str:
    """A `tabular` a block."""
    lines: list[str] = []
    for beside in found:
        lines += [f"% {beside.block.marked_title}: published"]
        mark = "" if beside.block.honest else ON_TEST
        lines += latex(cells(beside), mark=mark) if beside.columns else []
        lines += [f"% {line}" for line in beside.differences]
    return "\n".join(lines) + "\n"
