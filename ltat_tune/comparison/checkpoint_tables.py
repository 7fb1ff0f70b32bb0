"""Write checkpoints beside a study's winners as a table for the terminal or another form."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ltat_tune.comparison.checkpoints import CheckpointBlock, CheckpointRow
from ltat_tune.comparison.tables import heading
from ltat_tune.presentation.text_tables import csv_text, latex_part, markdown_part
from ltat_tune.results.wording import SPREAD, mean_std, p_value

_INTERVAL = (
    "in brackets: the 95 % interval of the winner's lead over its seeds and the images, image "
    "by image"
)


def checkpoint_text(blocks: Sequence[CheckpointBlock]) -> RenderableType:
    """Return the blocks one below the other, for a terminal."""
    parts: list[RenderableType] = []
    for block in blocks:
        table = Table(box=None, pad_edge=False, header_style="dim")
        head, *rows = _cells(block)
        table.add_column(head[0], overflow="fold")
        for name in head[1:]:
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(*row)
        parts += [Text(), Text(block.title, style="bold"), table]
        parts += [Text(line, style="dim") for line in _below(block)]
    return Group(*parts)


def checkpoint_table(blocks: Sequence[CheckpointBlock], form: str) -> str:
    """Return the blocks as `csv`, `markdown` or `latex`."""
    if form == "csv":
        return csv_text([row for block in blocks for row in _flat(block)])
    part = markdown_part if form == "markdown" else latex_part
    cells = [[[text.replace("\n", " ") for text in row] for row in _cells(b)] for b in blocks]
    return "".join(
        part(block.title, each, _below(block)) for block, each in zip(blocks, cells, strict=True)
    )


def _cells(block: CheckpointBlock) -> list[list[str]]:
    metrics = list(block.scores)
    winner = [mean_std(block.scores[metric]) for metric in metrics]
    return [
        ["", *map(heading, metrics), "winner ahead\nby, points", "p"],
        [f"{block.winner}\n{block.network}", *winner, "", ""],
        *(
            [f"{row.name}\n{row.network}", *(f"{100 * row.scores[m]:.1f}" for m in metrics),
             *_ahead(block, row)]
            for row in block.rows
        ),
    ]  # fmt: skip


def _ahead(block: CheckpointBlock, row: CheckpointRow) -> tuple[str, str]:
    lead = row.lead
    if lead is None:
        first = next(iter(block.scores))
        gain = statistics.fmean(block.scores[first]) - row.scores[first]
        return f"{100 * gain:+.1f}", ""
    ends = "" if lead.low is None or lead.high is None else (
        f"\n({100 * lead.low:+.1f} to {100 * lead.high:+.1f})"
    )  # fmt: skip
    p = "" if row.adjusted is None else p_value(row.adjusted).removeprefix("p ").lstrip("= ")
    return f"{100 * lead.gain:+.1f}{ends}", p


def _below(block: CheckpointBlock) -> list[str]:
    lines = [SPREAD] if any(len(values) > 1 for values in block.scores.values()) else []
    tested = [row for row in block.rows if row.lead is not None and row.lead.low is not None]
    lines += [_INTERVAL] if tested else []
    lines += (
        [f"p corrected by Holm's method for {len(tested)} checkpoints"]
        if (len(tested) > 1)
        else []
    )
    return [*lines, *block.notes]


def _flat(block: CheckpointBlock) -> list[dict[str, Any]]:
    winner: dict[str, Any] = {
        "problem": block.title, "row": block.winner, "network": block.network,
        **{metric: statistics.fmean(values) for metric, values in block.scores.items()},
        "winner_ahead": None, "low": None, "high": None, "p_corrected": None,
    }  # fmt: skip
    return [
        winner,
        *(
            {
                **winner, "row": row.name, "network": row.network, **row.scores,
                "winner_ahead": row.lead and row.lead.gain, "low": row.lead and row.lead.low,
                "high": row.lead and row.lead.high, "p_corrected": row.adjusted,
            }
            for row in block.rows
        ),
    ]  # fmt: skip
