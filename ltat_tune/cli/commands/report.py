"""The commands `report` and `leaderboard`, which write one study, or all, as one HTML file."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from ltat_tune.cli import options
from ltat_tune.cli.complete import STUDY

_EVERY_S = 60


@click.command(
    short_help="Write a study's results as one HTML file.",
    epilog="\b\nExamples:\n  ltat-tune report quickstart --open\n"
    "  ltat-tune report quickstart --watch --to /tmp/quickstart.html",
)
@click.argument("study", metavar="STUDY", shell_complete=STUDY)
@options.out
@click.option("--to", "target", type=click.Path(dir_okay=False, path_type=Path),
              help="The file to write  [default: report.html in the study's folder].")  # fmt: skip
@click.option("--open", "opened", is_flag=True, help="Open the file in the browser.")
@click.option("--watch", is_flag=True,
              help="Write the file again every minute until the study is finished.")  # fmt: skip
@click.option("--every", type=click.IntRange(min=1), metavar="SECONDS",
              help="Write the file again at this interval; implies --watch.")  # fmt: skip
@options.quiet
def report(
    study: str,
    out: Path,
    target: Path | None,
    opened: bool,
    watch: bool,
    every: int | None,
    quiet: bool,
) -> None:
    """Write the results of STUDY as one HTML file: verdict, winners, plots, costs, protocol.

    STUDY is the name of a study or its folder. It may be running, unfinished or failed; the
    report says so. The file needs no network and no other files.
    """
    from ltat_tune.report.data import Reader
    from ltat_tune.report.write import write_report

    folder = options.find_study(out, study)
    path = target or folder.root / "report.html"
    reader = Reader(folder)
    every_s = (every or _EVERY_S) if watch or every else None
    while True:
        data = write_report(reader, path, refresh_s=every_s)
        if opened:
            click.launch(path.resolve().as_uri())
            opened = False
        if every_s is None or data.state == "finished":
            break
        if not quiet:
            click.echo(
                f"{data.at:%H:%M:%S} {path}: {data.state}; next update in {every_s} s", err=True
            )
        time.sleep(every_s)
    if every_s is not None:
        write_report(reader, path)  # the last one: the browser need not reload it
    click.echo(path)


@click.command(
    short_help="Rank the winners of several studies.",
    epilog="\b\nExamples:\n  ltat-tune leaderboard\n  ltat-tune leaderboard first second --open\n"
    "  ltat-tune leaderboard /data/studies --format json",
)
@click.argument("studies", metavar="[STUDY]...", nargs=-1)
@options.out
@click.option("--to", "target", type=click.Path(dir_okay=False, path_type=Path),
              help="The page to write  [default: leaderboard.html in --out].")  # fmt: skip
@click.option("--open", "opened", is_flag=True, help="Open the page in the browser.")
@options.format_
def leaderboard(
    studies: tuple[str, ...], out: Path, target: Path | None, opened: bool, form: str
) -> None:
    """Rank the winners of studies by their test accuracy, problem by problem, on one page.

    STUDY is the name of a study, its folder, or a folder of studies; without it, all studies in
    the folder of --out. Each row has the winner, its test accuracies with 95 % intervals, its lead
    over the baseline, the verdict on gradient masking, the cost, and the command that exports it.
    Another format than table writes no page, unless --to names one.
    """
    from ltat_tune.comparison.leaderboard import (
        find_studies,
        leaderboard_rows,
        leaderboard_text,
        standings,
    )

    rows = standings(find_studies(studies, out))
    if form == "json":
        click.echo(json.dumps(leaderboard_rows(rows), indent=2, ensure_ascii=False))
    elif form == "csv":
        from ltat_tune.presentation.text_tables import csv_text

        click.echo(csv_text(leaderboard_rows(rows)), nl=False)
    else:
        from rich.console import Console

        Console(highlight=False).print(leaderboard_text(rows))
    if form != "table" and target is None and not opened:
        return
    from ltat_tune.report.write import write_leaderboard

    path = target or out / "leaderboard.html"
    write_leaderboard(rows, path)
    if opened:
        click.launch(path.resolve().as_uri())
    if form == "table":
        click.echo(path)
