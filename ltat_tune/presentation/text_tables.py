"""Tables as CSV, LaTeX and Markdown; commands to paste.

pandas has these too, but writes no `±` in LaTeX, needs `tabulate` for Markdown, and makes a
fraction of a whole number that stands beside an empty cell.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

Cells = Sequence[Sequence[str]]  # the heading, then rows
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "<": "$<$",
}  # fmt: skip


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of the same keys as CSV with a header line; nothing for no rows."""
    if not rows:
        return ""
    file = io.StringIO()
    columns = list(rows[0])
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_no_formula(name) for name in columns])
    writer.writerows([_no_formula(row[name]) for name in columns] for row in rows)
    return file.getvalue()


def _no_formula(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula: text gets an apostrophe in front."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") and len(value) > 1:
        return f"'{value}"
    return value


def command_lines(commands: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Return commands to paste, each with its purpose behind it, or above it if that is too long.

    A comment above a command leaves the command whole in a narrow terminal.
    """
    lines = []
    for command, why in commands:
        line = f"  {command}   # {why}"
        lines += [line] if len(line) <= width else [f"  # {why}", f"  {command}"]
    return lines


def markdown_table(cells: Cells, *, words: int = 1) -> str:
    """Return a table as GitHub shows it; columns after the first `words` are set flush right."""
    head, *rows = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def markdown_part(title: str, cells: Cells, notes: Sequence[str], *, words: int = 1) -> str:
    """Return a title, a table unless it has no cells, and a line a note."""
    table = f"{markdown_table(cells, words=words)}\n\n" if cells else ""
    return f"### {title}\n\n{table}" + "".join(f"{note}  \n" for note in notes) + "\n"


def latex_part(
    title: str, cells: Cells, notes: Sequence[str], *, mark: str = "", legend: Sequence[str] = ()
) -> str:
    """Return a `tabular` with booktabs unless it has no cells; title and notes are comments.

    Args:
        title: what the table shows.
        cells: heading and rows.
        notes: in a line each.
        mark: stands above the heading, so that it is in the paper and not only in its source.
        legend: lines that stand below the rows, for the same reason.
    """
    lines = [f"% {title}"]
    if cells:
        head, *rows = [[_escaped(cell) for cell in row] for row in cells]
        marked = [rf"\multicolumn{{{len(head)}}}{{l}}{{\textbf{{{mark}}}}} \\"] if mark else []
        lines += [
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule", *marked,
            " & ".join(head) + r" \\", r"\midrule",
            *[" & ".join(row) + r" \\" for row in rows],
            r"\bottomrule",
            *[rf"\multicolumn{{{len(head)}}}{{l}}{{\footnotesize {_escaped(line)}}} \\"
              for line in legend],
            r"\end{tabular}",
        ]  # fmt: skip
    return "\n".join([*lines, *[f"% {note}" for note in notes]]) + "\n"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
