"""`ltat-tune params` for people."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from ltat_tune.parameters import Parameter


def print_parameters(parameters: Iterable[Parameter]) -> None:
    """Prints one table a section; two lines a parameter, so that it fits 80 columns."""
    console = Console(highlight=False)
    section = ""
    table = Table(box=None, pad_edge=False, show_header=False)
    for parameter in parameters:
        if parameter.path.partition(".")[0] != section:
            if section:
                console.print(table)
                console.print()
            section = parameter.path.partition(".")[0]
            table = Table(box=None, pad_edge=False, header_style="dim")
            for title in ("parameter", "default", "range"):
                table.add_column(title, overflow="fold")
            table.add_column("meaning (source)", ratio=1)
        unit = f" [{parameter.unit}]" if parameter.unit else ""
        source = f" ({parameter.source})" if parameter.source else ""
        late = " Acts from the deferral on." if parameter.acts_from == "deferral" else ""
        table.add_row(
            parameter.label, _default(parameter), parameter.range,
            f"{parameter.meaning}{unit}.{late}{source}".replace("[", "\\["),
        )  # fmt: skip
    console.print(table)


def _default(parameter: Parameter) -> str:
    value = parameter.default
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        pixels = value * 255
        if "pixels" in parameter.unit and abs(pixels - round(pixels)) < 1e-9:
            return f"{round(pixels)}/255"
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(f"{v:g}" for v in value)
    return str(value)
