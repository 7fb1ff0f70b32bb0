"""`doctor`: whether studies can run here, and what to mend."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ltat_tune.cli import options

_MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


@click.command(
    short_help="Check this machine, and say what to mend.",
    epilog="\b\nExamples:\n  ltat-tune doctor\n"
    "  ltat-tune doctor --tracking-uri http://127.0.0.1:5000 --format json",
)
@options.out
@click.option(
    "--tracking-uri", envvar="MLFLOW_TRACKING_URI", show_envvar=True,
    help="MLflow server or store to ask  [default: the studies' own files].",
)  # fmt: skip
@click.option("--no-ray", is_flag=True, help="Do not start Ray, which takes most of the time.")
@options.format_
@click.pass_context
def doctor(
    ctx: click.Context, out: Path, tracking_uri: str | None, no_ray: bool, form: str
) -> None:
    """Check Python, torch, GPU, Ray, disk, MLflow and data; say what to mend.

    Starts Ray once and stops it, writes 8 MiB for a moment, downloads nothing. Exit status 1 if
    a study would not run.
    """
    from ltat_tune.preflight.doctor import examine

    found = examine(out, tracking_uri, ray=not no_ray)
    if form == "json":
        click.echo(json.dumps([vars(finding) for finding in found], indent=2))
    else:
        for finding in found:
            mark, colour = _MARKS[finding.level]
            click.echo(f"{click.style(mark, fg=colour)}  {finding.name:14} {finding.text}")
            if finding.remedy:
                click.echo(f"{'':21}{click.style(finding.remedy, dim=True)}")
    bad = [finding for finding in found if finding.level == "fail"]
    if form == "table":
        warned = sum(finding.level == "warn" for finding in found)
        told = f"{len(bad)} to mend, {warned} to look at" if bad or warned else "all is well"
        click.echo(f"\n{told}")
    if bad:
        ctx.exit(1)
