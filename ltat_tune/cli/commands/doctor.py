"""The command `doctor`, which checks whether studies can run on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from ltat_tune.cli import options
from ltat_tune.cli.complete import STUDY

_MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


@click.command(
    short_help="Check this machine, and say what to fix.",
    epilog="\b\nExamples:\n  ltat-tune doctor\n  ltat-tune doctor quickstart --mend\n"
    "  ltat-tune doctor --tracking-uri http://127.0.0.1:5000 --format json",
)
@click.argument("study", metavar="[STUDY]", required=False, shell_complete=STUDY)
@click.option("--mend", is_flag=True, help="Mend what is wrong with STUDY, as far as it can be.")
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
    ctx: click.Context,
    study: str | None,
    mend: bool,
    out: Path,
    tracking_uri: str | None,
    no_ray: bool,
    form: str,
) -> None:
    """Check Python, torch, GPU, Ray, disk, MLflow and data, and say what to fix.

    With STUDY, the command checks that study instead: whether ledger, results, checkpoints,
    exports, decoded images and MLflow's runs are whole and fit together. With --mend, what is
    damaged is set aside as NAME.damaged, and what can be made again is: the ledger from the
    trials' files, results from checkpoints, study.json and space.yaml from each other and from
    MLflow's runs, which --tracking-uri names if they are not the study's own.

    The command starts Ray once and stops it, writes a temporary file of 8 MiB, and downloads
    nothing. The exit status is 1 if a study cannot run here.
    """
    from ltat_tune.preflight.doctor import examine

    if study is not None:
        from ltat_tune.engine.doctor.study_doctor import examine_study

        folder = options.find_damaged_study(out, study)
        findings = examine_study(folder, mend=mend, uri=tracking_uri)
    elif mend:
        raise click.UsageError("--mend needs the name of a study")
    else:
        findings = examine(out, tracking_uri, ray=not no_ray)
    if form != "table":
        options.print_rows([vars(finding) for finding in findings], form)
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
