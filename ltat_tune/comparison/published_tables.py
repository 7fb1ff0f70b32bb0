"""Write the papers' rows below ours, as a table, CSV, LaTeX or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ltat_tune.comparison.published import Beside, metric
from ltat_tune.comparison.tables import ON_TEST, heading, mean_text, printed_row
from ltat_tune.presentation.rich_table import PlainTable
from ltat_tune.presentation.text_tables import csv_text, latex_part, markdown_part
from ltat_tune.results.wording import SPREAD

_LEGEND = f"{SPREAD} In the papers' rows it is as printed."


def render_published(published: Sequence[Beside]) -> RenderableType:
    """Return a table for each block, our rows first, and how the protocols differ."""
    parts: list[RenderableType] = []
    for beside in published:
        parts += [Text(), Text(_title(beside), style="bold")]
        if beside.columns:
            table = PlainTable()
            head, *rows = cells(beside)
            table.add_column(head[0])
            table.add_column(head[1])
            for column in beside.columns:
                table.add_column(heading(metric(column)), justify="right")
            for row in rows:
                table.add_row(*row, style="bold" if row[0] == "here" else "")
            parts += [table, Text(_LEGEND, style="dim")]
        parts += [Text(line, style="dim") for line in beside.differences]
        parts += [Text(f"warning: {line}", style="yellow") for line in beside.warnings]
    return Group(*parts)


def cells(beside: Beside) -> list[list[str]]:
    """Return the heading and the rows: source, method, numbers in percent."""
    rows = [["source", "method", *map(metric, beside.columns)]]
    for entry in beside.block.entries:
        rows.append(
            ["here", printed_row(entry), *[mean_text(entry, metric(c)) for c in beside.columns]]
        )
    for row in beside.rows:
        what = f"{row.method}, {row.loss}"
        rows.append([row.source, what, *[_printed(row.scores.get(c)) for c in beside.columns]])
    return rows


def _printed(score: tuple[float, float | None] | None) -> str:
    if score is None:
        return "-"
    mean, spread = score
    return f"{mean:.2f}" + ("" if spread is None else f" ± {spread:.2f}")


def published_csv(published: Sequence[Beside]) -> str:
    """Return the papers' rows, each with the problem that it matches, in fractions like ours."""
    rows: list[dict[str, Any]] = []
    for beside in published:
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
    return csv_text(rows)


def published_markdown(published: Sequence[Beside]) -> str:
    """Return a Markdown table for each block."""
    return "".join(
        markdown_part(
            _title(beside), _printed_cells(beside),
            [*([_LEGEND] if beside.columns else []), *_lines(beside)], words=2,
        )
        for beside in published
    )  # fmt: skip


def published_latex(published: Sequence[Beside]) -> str:
    """Return a `tabular` with booktabs for each block; differences become comments."""
    return "".join(
        latex_part(
            _title(beside), _printed_cells(beside), _lines(beside),
            mark="" if beside.block.honest else ON_TEST, legend=[_LEGEND],
        )
        for beside in published
    )  # fmt: skip


def _lines(beside: Beside) -> list[str]:
    return [*beside.differences, *(f"warning: {line}" for line in beside.warnings)]


def _title(beside: Beside) -> str:
    return f"{beside.block.marked_title}: published"


def _printed_cells(beside: Beside) -> list[list[str]]:
    return cells(beside) if beside.columns else []
