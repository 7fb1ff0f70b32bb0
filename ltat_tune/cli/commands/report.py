"""The command `report`, which writes a study as one HTML file."""

from __future__ import annotations

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
