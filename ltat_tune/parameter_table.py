"""`ltat-tune params` for people."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from ltat_tune.parameters import Parameter


def print_parameters(parameters: Iterable[Parameter]) -> None:
    """Prints two lines a parameter: name, default, range; then what it means and who says so."""
    console = Console(highlight=False)
    section = ""
    for parameter in parameters:
        if parameter.path.partition(".")[0] != section:
            section = parameter.path.partition(".")[0]
            console.print(Text(f"\n{section}", style="bold"))
        line = Text(f"  {parameter.label:32} ")
        line.append(f"{_default(parameter):18} ", style="bold")
        line.append(parameter.range, style="dim")
        console.print(line, soft_wrap=True)
        unit = f" [{parameter.unit}]" if parameter.unit else ""
        late = "; acts from the deferral on" if parameter.acts_from == "deferral" else ""
        source = f" ({parameter.source})" if parameter.source else ""
        meaning = Text(f"{parameter.meaning}{unit}{late}{source}", style="dim")
        console.print(Padding(meaning, (0, 0, 0, 6)))


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
