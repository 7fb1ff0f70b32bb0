"""The command `doctor`, which checks whether studies can run on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ltat_tune.cli import options

_MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


@click.command(
    short_help="Check this machine, and say what to fix.",
    epilog="\b\nExamples:\n  ltat-tune doctor\n"
    "  ltat-tune doctor --tracking-uri http://127.0.0.1:5000 --format json",
)
@options.out
@click.option(
    "--tracking-uri", envvar="MLFLOW_TRACKING_URI", show_envvar=True,
    help="MLflow server or store to check  [default: the studies' own files].",
)  # fmt: skip
@click.option(
    "--no-ray", is_flag=True, help="Skip the start of Ray, which takes most of the time."
)
@options.format_
@click.pass_context
def doctor(
    ctx: click.Context, out: Path, tracking_uri: str | None, no_ray: bool, form: str
) -> None:
    """Check Python, torch, GPU, Ray, disk, MLflow and data, and say what to fix.

    The command starts Ray once and stops it, writes a temporary file of 8 MiB, and downloads
    nothing. The exit status is 1 if a study cannot run here.
    """
    from ltat_tune.preflight.doctor import examine

    findings = examine(out, tracking_uri, ray=not no_ray)
    if form == "json":
        click.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            mark, colour = _MARKS[finding.level]
            click.echo(f"{click.style(mark, fg=colour)}  {finding.name:14} {finding.text}")
            if finding.remedy:
                click.echo(f"{'':21}{click.style(finding.remedy, dim=True)}")
    failures = [finding for finding in findings if finding.level == "fail"]
    if form == "table":
        warned = sum(finding.level == "warn" for finding in findings)
        counts = f"{len(failures)} to fix, {warned} to check"
        click.echo(f"\n{counts if failures or warned else 'no problems'}")
    if failures:
        ctx.exit(1)
