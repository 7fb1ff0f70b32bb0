"""Prints the human-readable tables of `ltat-tune params` and `ltat-tune ls`."""

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
    "class_state": "; acts from method.start_fraction on",
    "awp": "; acts from method.awp_start_fraction on",
}


def print_parameters(parameters: Iterable[Parameter]) -> None:
    """Print two lines for each parameter: name, default and range, then meaning and source."""
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
    """Print each choice with a description, then its source, then the parameters that act."""
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
    """Print each space file's path, question and cost."""
    console = Console(highlight=False)
    for file in files:
        console.print(Text(file.file, style="bold"), soft_wrap=True)
        for detail in (file.question, file.cost.partition(" (")[0]):
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
