"""The command `export`, which writes the winners of a study as files."""

from __future__ import annotations

from pathlib import Path

import click

from ltat_tune.cli import options, words
from ltat_tune.cli.complete import STUDY


@click.command(
    short_help="Write the best configurations, models and cards.",
    epilog="\b\nExamples:\n  ltat-tune export quickstart\n"
    "  ltat-tune export quickstart --scenario imbalance_ratio_50 --weights --onnx\n"
    "  ltat-tune export quickstart --register digits",
)
@click.argument("name", metavar="STUDY", shell_complete=STUDY)
@options.out
@words.scenario
@click.option("--top", type=click.IntRange(min=1), default=1, show_default=True,
              help="How many of the confirmed configurations to export.")  # fmt: skip
@click.option("--to", "target", type=options.A_FOLDER, default=Path("exports"),
              show_default=True, help="Folder to write into.")  # fmt: skip
@click.option("--weights", is_flag=True, help="Also write the weights as safetensors.")
@words.renamed_option("--checkpoint", "--weights", is_flag=True)
@click.option(
    "--onnx", is_flag=True, help="Also write an ONNX file and check it with onnxruntime."
)
@click.option("--register", metavar="MODEL",
              help="Also add a version to this registered MLflow model, with the alias champion. "
              "With several scenarios, each gets its own model, MODEL-<scenario>.")  # fmt: skip
@options.quiet
def export_command(
    name: str,
    out: Path,
    scenarios: tuple[str, ...],
    top: int,
    target: Path,
    weights: bool,
    onnx: bool,
    register: str | None,
    quiet: bool,
) -> None:
    """Write the best configurations of STUDY, each with a model card.

    `ltat-tune train` trains an exported configuration again, to the recorded digits. Every file
    with weights is loaded again and checked: it must answer as the study's checkpoint does, on
    clean and on attacked images.
    """
    from dataclasses import replace

    from ltat_tune.engine.study import StudyRun
    from ltat_tune.export.winners import export_study as write
    from ltat_tune.export.write import ExportForms, write_more

    forms = ExportForms(weights, onnx, register)
    forms.check()
    study = StudyRun.open(options.find_study(out, name).root, check_machine=False)
    words.check_scenarios(scenarios, [one.name for one in study.space.scenarios], name)
    winners = write(study.folder, study.space, target, scenarios=scenarios, top=top)
    several = len({winner.scenario.name for winner in winners}) > 1
    for winner in winners:
        of_this = register if winner.place == 1 else None
        if of_this and several:
            of_this = f"{register}-{winner.scenario.name}"
        written = write_more(study.folder, winner, replace(forms, register=of_this))
        for path in written.paths:
            click.echo(path)
        if not quiet:
            for check, result in written.checks.items():
                click.echo(f"{check}: {result}", err=True)
