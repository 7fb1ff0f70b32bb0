"""The parts of a page: sections of text, tables and plots. page.py turns them into HTML."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Literal

from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Text:
    """A paragraph: `loud` is a warning, `quiet` is small print, `code` keeps its lines."""

    text: str
    kind: Literal["plain", "loud", "quiet", "code"] = "plain"


@dataclass(frozen=True)
class Heading:
    """A title inside a section."""

    text: str


@dataclass(frozen=True)
class Listing:
    """Sentences, one below the other."""

    items: tuple[str, ...]
    is_large: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text.

    Attributes:
        caption: the content, with its unit.
        head: titles of the columns.
        rows: cells; the first cell of each row names the row.
        numeric: indices of the columns that are set flush right.
        strong: indices of the rows that are highlighted.
        folded: whether the table is hidden behind its caption until a reader opens it.
        trials: the name of each row's trial, such as `imbalance_ratio_50/t0003`; a row then opens
            its trial. Empty if the rows are not trials.
        links: where the first cell of each row leads; empty for nowhere.
        sortable: whether a column's title sorts the rows; of tables of trials it always does.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    strong: frozenset[int] = frozenset()
    folded: bool = False
    trials: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    sortable: bool = False


@dataclass(frozen=True)
class Plot:
    """A figure with its caption and its numbers.

    Attributes:
        figure: the plotly figure.
        caption: the text below it, which screen readers also read.
        numbers: the same data as a folded table; None if a table stands beside it anyway.
        least_width_px: the smallest width; on narrower pages the figure scrolls.
    """

    figure: Figure
    caption: str
    numbers: Table | None = None
    least_width_px: int = 300


Block = Text | Heading | Listing | Table | Plot


@dataclass(frozen=True)
class PageSection:
    """A chapter of the page; `key` is its anchor."""

    key: str
    title: str
    blocks: tuple[Block, ...]


def table(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: int = 1,
    words: Set[int] = frozenset(),
    strong: Sequence[int] = (),
    folded: bool = False,
    trials: Sequence[str] = (),
) -> Table:
    """Return a table whose first `text` columns, and `words`, are words; others are numbers."""
    return Table(
        caption, tuple(head), tuple(tuple(row) for row in rows),
        numeric=frozenset(range(text, len(head))) - words, strong=frozenset(strong),
        folded=folded, trials=tuple(trials),
    )  # fmt: skip


def without_empty_columns(table: Table) -> Table:
    """Return a table without the columns in which no row says anything."""
    kept = [
        place
        for place in range(len(table.head))
        if place == 0 or not table.rows or any(row[place].strip() for row in table.rows)
    ]
    return replace(
        table,
        head=tuple(table.head[place] for place in kept),
        rows=tuple(tuple(row[place] for place in kept) for row in table.rows),
        numeric=frozenset(new for new, place in enumerate(kept) if place in table.numeric),
    )
