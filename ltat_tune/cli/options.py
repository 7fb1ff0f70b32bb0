"""Options that several commands share, and how their results are printed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ltat_tune.comparison.entries import Reviewed
    from ltat_tune.results.model import StudyResults
    from ltat_tune.storage.folder import StudyFolder


FOLDER = click.Path(file_okay=False, path_type=Path)
out = click.option(
    "--out",
    type=FOLDER,
    default=Path("studies"),
    show_default=True,
    help="Folder that holds the studies.",
)
quiet = click.option("--quiet", "-q", is_flag=True, help="No progress, only results and errors.")
format_ = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True,
    help="How results are printed.",
)  # fmt: skip
plugins = click.option(
    "--plugins", multiple=True, metavar="MODULE",
    help="With what this module of yours adds, whose code runs; may be repeated.",
)  # fmt: skip


def load_given_plugins(names: Sequence[str]) -> None:
    """Runs the plugins that were named, looked for in the folder of the command."""
    if names:
        from ltat_tune.config.plugin_loader import load_plugins

        load_plugins(list(names), beside=Path())


def find_study(out: Path, name: str) -> StudyFolder:
    """The study of this name in `out`, or in the folder that the name is the path of.

    Raises:
        StudyError: there is none.
    """
    from ltat_tune.storage.folder import StudyFolder

    path = Path(name).expanduser()
    return StudyFolder.open(path if (path / "study.json").exists() else out / name)


def unfinished(study: Reviewed) -> str:
    """That the results of a study are not its last, and how to get them; or nothing."""
    if study.finished:
        return ""
    folder = study.folder
    return f"{folder.root.name} is not finished, this is so far; {folder.resume_command}"


def print_results(results: StudyResults, form: str) -> None:
    """Print winners, baselines and verdicts of a study on stdout, or all of it as JSON."""
    if form == "json":
        click.echo(json.dumps(results.as_data(), indent=2, sort_keys=True))
        return
    from rich.console import Console

    from ltat_tune.results.summary import print_summary
    from ltat_tune.results.verdict import sentences

    console = Console(highlight=False)
    console.print(print_summary(results))
    lines = sentences(results)
    if lines:
        console.print()
    for line in lines:
        console.print(line, soft_wrap=True)


def print_table(rows: Sequence[Mapping[str, str]]) -> None:
    """Rows with the same keys on stdout, the keys as titles."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*row.values())
    Console(highlight=False).print(table)
