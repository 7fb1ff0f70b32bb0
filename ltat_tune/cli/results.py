"""`export`: the best configurations of a finished study as files."""

from __future__ import annotations

from pathlib import Path

import click

from ltat_tune.cli import options
from ltat_tune.cli.complete import STUDY


@click.command(
    short_help="Write the best configurations as files.",
    epilog="\b\nExample:\n  ltat-tune export quickstart --scenario imbalance_ratio_50 --top 2",
)
@click.argument("name", metavar="STUDY", shell_complete=STUDY)
@options.out
@click.option("--scenario", help="Only this scenario  [default: all].")
@click.option("--top", type=click.IntRange(min=1), default=1, show_default=True,
              help="How many of the confirmed configurations.")  # fmt: skip
@click.option("--to", "target", type=options.FOLDER, default=Path("exports"), show_default=True,
              help="Folder to write into.")  # fmt: skip
def export(name: str, out: Path, scenario: str | None, top: int, target: Path) -> None:
    """Write the best configurations of STUDY as files for `ltat-tune train`."""
    from ltat_tune.study.export import export as write
    from ltat_tune.study.study import Study

    study = Study.open(out / name, check_machine=False)
    for path in write(study.folder, study.space, target, scenario=scenario, top=top):
        click.echo(path)
