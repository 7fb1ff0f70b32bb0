"""`compare`: what reads a finished study."""

from __future__ import annotations

from pathlib import Path

import click

from ltat_tune.cli import options


@click.command(epilog="\b\nExample:\n  ltat-tune compare quickstart --format json")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@options.out
@options.format_
def compare(names: tuple[str, ...], out: Path, form: str) -> None:
    """Show the results of finished studies: winners, baselines, best trials."""
    from ltat_tune.errors import StudyError
    from ltat_tune.study.folder import StudyFolder

    results = []
    for name in names:
        folder = StudyFolder.open(out / name)
        found = folder.read_results()
        if found is None:
            raise StudyError(f"{name} has no results yet; finish it: {folder.resume_command}")
        results.append(found)
    options.print_results(results, form, named=len(names) > 1)
    if form == "table":
        from rich.console import Console

        from ltat_tune.study.summary import best_trials

        for found in results:
            if len(names) > 1:
                Console().rule(found["study"], align="left")
            Console(highlight=False).print(best_trials(found))
