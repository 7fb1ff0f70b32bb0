"""`ltat-tune params` and `ltat-tune ls methods` (losses, datasets, ...) for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from ltat_tune.config.catalogue import Choice
from ltat_tune.config.parameters import PARAMETERS, Parameter
from ltat_tune.config.scalars import pixels
from ltat_tune.space.listing import SpaceFile
from ltat_tune.space.reference import SPACE_KEYS, shown_default

LATE = {
    "start": "",
    "deferral": "; acts from the deferral on",
    "clean_stage": "; acts from the end of the clean stage on",
    "awp": "; acts from method.awp_start_fraction on",
}


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
        late = LATE[parameter.acts_from]
        others = "".join(
            f"; {_shown(value, parameter)} by default with {path} {' or '.join(values)}"
            for path, values, value in parameter.instead
        )
        source = f" ({parameter.source})" if parameter.source else ""
        meaning = Text(f"{parameter.meaning}{unit}{late}{others}{source}", style="dim")
        console.print(Padding(meaning, (0, 0, 0, 6)))


def print_catalogue(entries: Iterable[Choice]) -> None:
    """Prints a line a choice and what it is, then whose it is, then the parameters that act."""
    console = Console(highlight=False)
    chosen_by = ""
    for entry in entries:
        if entry.chosen_by != chosen_by:
            chosen_by = entry.chosen_by
            console.print(Text(f"\n{chosen_by}", style="bold"))
        name = f"{entry.name} ({entry.symbol})" if entry.symbol else entry.name
        line = Text(f"  {name:30} ", style="bold")
        line.append(entry.what, style="not bold")
        console.print(line, soft_wrap=True)
        acting = ", ".join(PARAMETERS[path].label for path in entry.parameters)
        for detail in (entry.source, acting):
            if detail:
                console.print(Padding(Text(detail, style="dim"), (0, 0, 0, 6)))


def print_spaces(files: Iterable[SpaceFile]) -> None:
    """Prints a space file's path, what it asks, and what it costs without how that was counted."""
    console = Console(highlight=False)
    for found in files:
        console.print(Text(found.file, style="bold"), soft_wrap=True)
        for detail in (found.question, found.cost.partition(" (")[0]):
            if detail:
                console.print(Padding(Text(detail, style="dim"), (0, 0, 0, 6)))


def _default(parameter: Parameter) -> str:
    if parameter.path in SPACE_KEYS:
        return shown_default(parameter)
    return _shown(parameter.default, parameter)


def _shown(value: Any, parameter: Parameter) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return pixels(value) if "pixels" in parameter.unit else f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(f"{v:g}" for v in value)
    return str(value)
