"""The commands `show` and `logs`, which show one trial."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from ltat_tune.cli import options
from ltat_tune.cli.complete import TRIAL

_POLL_S = 1.0
_scenario = click.option(
    "--scenario", metavar="NAME", help="The trial's scenario, if the study has several."
)


def _named(words: tuple[str, ...], scenario: str | None) -> tuple[str, ...]:
    """Return the words of a trial with its scenario."""
    parts = [part for word in words for part in word.split("/") if part]
    return tuple(words) if scenario is None or len(parts) != 2 else (parts[0], scenario, parts[1])


@click.command(
    short_help="Show one trial: parameters, scores, curve, files.",
    epilog="\b\nExamples:\n  ltat-tune show quickstart/imbalance_ratio_50/t0003\n"
    "  ltat-tune show quickstart imbalance_ratio_50 3 --all",
)
@click.argument("words", nargs=-1, required=True, metavar="TRIAL", shell_complete=TRIAL)
@options.out
@_scenario
@click.option("--all", "every", is_flag=True, help="Also show defaults and every class.")
@options.format_
def show_command(
    words: tuple[str, ...], out: Path, scenario: str | None, every: bool, form: str
) -> None:
    """Show one trial: parameters, scores by rung, curve, classes, files and useful commands.

    TRIAL is STUDY/SCENARIO/tNNNN, or STUDY/tNNNN if the study has one scenario or --scenario names
    it.
    """
    from ltat_tune.results.trial_view import find_trial, trial_data, view_trial

    view = view_trial(*find_trial(_named(words, scenario), out))
    if form == "json":
        click.echo(json.dumps(trial_data(view), indent=2, ensure_ascii=False))
        return
    if form == "csv":
        options.print_rows(options.flat_rows(trial_data(view)), form)
        return
    from rich.console import Console

    from ltat_tune.results.trial_text import files_and_commands, trial_tables

    console = Console(highlight=False)
    console.print(trial_tables(view, every=every))
    width = console.width if console.is_terminal else 1000
    console.print(files_and_commands(view, width), soft_wrap=True)


@click.command(
    short_help="Show what happened to one trial.",
    epilog="\b\nExamples:\n  ltat-tune logs quickstart/imbalance_ratio_50/t0003\n"
    "  ltat-tune logs quickstart/imbalance_ratio_50/t0011 --follow",
)
@click.argument("words", nargs=-1, required=True, metavar="TRIAL", shell_complete=TRIAL)
@options.out
@_scenario
@click.option("--follow", "-f", is_flag=True, help="Show new lines until the trial ends.")
@options.format_
def logs(words: tuple[str, ...], out: Path, scenario: str | None, follow: bool, form: str) -> None:
    """Show what happened to one trial: its scores, its end, the traceback of a failure."""
    from ltat_tune.results.trial_view import events, find_trial

    shown, alive = 0, follow
    while True:
        folder, row = find_trial(_named(words, scenario), out)
        lines = events(folder, row)
        for line in lines[shown:] if form == "table" else ():
            click.echo(line)
        shown = max(shown, len(lines))
        if row.state != "running" or not alive:
            break
        alive = folder.is_running()  # if not, read its last lines once more
        if alive:
            time.sleep(_POLL_S)
    if form != "table":
        options.print_rows([{"event": line} for line in lines], form)
    elif "\n" in row.reason.strip():
        click.echo(f"\n{row.reason.strip()}")
