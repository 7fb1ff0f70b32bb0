"""Options that several commands share, and functions that print their results."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltat_tune.cli import words

if TYPE_CHECKING:
    from ltat_tune.comparison.entries import Reviewed
    from ltat_tune.results.model import StudyResults
    from ltat_tune.storage.folder import StudyFolder


A_FOLDER = click.Path(file_okay=False, path_type=Path)
out = click.option(
    "--out",
    type=A_FOLDER,
    default=Path("studies"),
    show_default=True,
    help="Folder that holds the studies.",
)
quiet = click.option(
    "--quiet", "-q", is_flag=True, help="Show no progress, only results and errors."
)
format_ = click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv"]), default="table",
    show_default=True, help="Format of the results.",
)  # fmt: skip
device = click.option(
    "--device", default="auto", show_default=True,
    help="Device: cpu, cuda, cuda:1 ...; auto is the first GPU, else the CPU.",
)  # fmt: skip
plugins = words.listed(
    "--plugins", metavar="MODULE", help="Load these modules of yours, whose code then runs."
)


def load_given_plugins(names: Sequence[str]) -> None:
    """Load the named plugins, which are searched in the working folder first."""
    if names:
        from ltat_tune.config.plugin_loader import load_plugins

        load_plugins(list(names), beside=Path())


def find_study(out: Path, name: str) -> StudyFolder:
    """Return the study of this name in `out`, or the study in the folder `name`.

    Raises:
        StudyError: there is none.
    """
    from ltat_tune.storage.folder import StudyFolder

    path = Path(name).expanduser()
    return StudyFolder.open(path if os.path.exists(path / "study.json") else out / name)


def find_damaged_study(out: Path, name: str) -> StudyFolder:
    """Return the study as `find_study` does, also one that lost its own facts or its space file.

    Raises:
        StudyError: there is none.
    """
    from ltat_tune.storage.folder import StudyFolder

    path = Path(name).expanduser()
    for root in (path, out / name):
        if os.path.isdir(root) and StudyFolder(root).is_one():
            return StudyFolder(root)
    return find_study(out, name)


def unfinished(study: Reviewed) -> str:
    """Return a warning that a study is not finished, with the remedy; empty if it is."""
    if study.finished:
        return ""
    folder = study.folder
    return (
        f"{folder.root.name} is not finished, so these results are preliminary; "
        f"finish it with `{folder.resume_command}`"
    )


def print_rows(rows: Sequence[Mapping[str, Any]], form: str) -> None:
    """Print rows on stdout as JSON, or as CSV with a column for each key of any row.

    A list or a dict in a cell of CSV is JSON; an empty cell is None or a key that the row lacks.
    """
    if form == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    from ltat_tune.presentation.text_tables import csv_text

    columns = list(dict.fromkeys(key for row in rows for key in row))
    plain = [{key: _cell(row.get(key)) for key in columns} for row in rows]
    click.echo(csv_text(plain), nl=False)


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else value


def flat_rows(data: Mapping[str, Any], prefix: str = "") -> list[dict[str, Any]]:
    """Return nested data as rows with a name and a value, named by dotted path."""
    rows: list[dict[str, Any]] = []
    for name, value in data.items():
        if isinstance(value, Mapping) and value:
            rows += flat_rows(value, f"{prefix}{name}.")
        else:
            rows.append({"name": f"{prefix}{name}", "value": value})
    return rows


def print_results(results: StudyResults, form: str) -> None:
    """Print winners, baselines and verdicts of a study on stdout, or all of it as JSON."""
    if form == "json":
        click.echo(json.dumps(results.as_data(), indent=2, sort_keys=True))
        return
    from rich.console import Console

    from ltat_tune.results.summary import print_summary

    Console(highlight=False).print(print_summary(results))


def print_compared(folder: StudyFolder) -> None:
    """Print the confirmed configurations of a study as CSV, as `compare` does."""
    from ltat_tune.comparison.compare import put_together
    from ltat_tune.comparison.entries import review
    from ltat_tune.comparison.tables import as_csv

    study = review(folder)
    smoke = ("smoke",) if study.results.smoke else ()
    click.echo(as_csv(put_together([study], by=(), metrics=(), allowed=smoke)), nl=False)


def print_commands(commands: Sequence[tuple[str, str]]) -> None:
    """Print commands to paste, each with its purpose."""
    from ltat_tune.presentation.text_tables import command_lines

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000
    click.echo("\n".join(command_lines(commands, width)))


def printable(text: str) -> str:
    """Return a text without what would steer a terminal, such as escape codes in a name."""
    return "".join(c if c.isprintable() or c in "\t\n" else repr(c)[1:-1] for c in text)


def print_table(rows: Sequence[Mapping[str, str]]) -> None:
    """Print rows with the same keys on stdout, with the keys as titles."""
    from rich.console import Console

    from ltat_tune.presentation.rich_table import PlainTable

    table = PlainTable()
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*map(printable, row.values()))
    Console(highlight=False).print(table)
