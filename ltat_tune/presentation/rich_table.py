"""The tables of the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table


class PlainTable(Table):
    """A table without lines, whose names wrap on a narrow terminal and are never cut.

    Args:
        **options: those of `rich.table.Table`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"box": None, "pad_edge": False, "header_style": "dim", **options})

    def add_column(self, header: Any = "", *arguments: Any, **options: Any) -> None:
        """Add a column as `Table.add_column` does."""
        super().add_column(header, *arguments, **{"overflow": "fold", **options})
