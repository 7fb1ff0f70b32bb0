"""What a page is made of: sections of text, tables and plots. No HTML here; page.py makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Text:
    """A paragraph; `loud` ones are warnings, `quiet` ones small print, `code` keeps its lines."""

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
        caption: what is shown, with its unit.
        head: titles of the columns.
        rows: cells; the first of each row names it.
        numeric: columns, from 0, that are set flush right.
        strong: rows, from 0, that stand out.
        folded: behind its caption until it is asked for.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    strong: frozenset[int] = frozenset()
    folded: bool = False


@dataclass(frozen=True)
class Plot:
    """A figure, what it shows in a sentence, and its numbers.

    Attributes:
        figure: plotly's.
        caption: below it, and what a screen reader says of it.
        numbers: the same as a table, folded; None where a table stands beside it anyway.
        least_width_px: below which the figure is scrolled rather than squeezed.
    """

    figure: Figure
    caption: str
    numbers: Table | None = None
    least_width_px: int = 420


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
    strong: Sequence[int] = (),
    folded: bool = False,
) -> Table:
    """A table whose first `text` columns are words and whose others are numbers."""
    return Table(
        caption, tuple(head), tuple(tuple(row) for row in rows),
        numeric=frozenset(range(text, len(head))), strong=frozenset(strong), folded=folded,
    )  # fmt: skip
