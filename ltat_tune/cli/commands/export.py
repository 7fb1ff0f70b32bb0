"""The commands `export` and `soup`, which write models of a study as files."""

from __future__ import annotations

import json
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


@click.command(
    short_help="Average trials that share a start.",
    epilog="\b\nExamples:\n  ltat-tune soup srat\n"
    "  ltat-tune soup srat --scenario imbalance_ratio_50 --test\n"
    "  ltat-tune evaluate studies/srat/soups/imbalance_ratio_50.safetensors",
)
@click.argument("name", metavar="STUDY", shell_complete=STUDY)
@options.out
@words.scenario
@click.option(
    "--test", is_flag=True,
    help="Also attack the test images, beside the winner and the best trial alone.",
)  # fmt: skip
@options.device
@options.format_
@options.quiet
def soup(
    name: str,
    out: Path,
    scenarios: tuple[str, ...],
    test: bool,
    device: str,
    form: str,
    quiet: bool,
) -> None:
    """Average the weights of trials of STUDY that share a stem or the same model.init.

    Start with the best trial; add the next best if the validation score of the average rises. The
    BatchNorm statistics of each average are estimated anew. Nothing is trained. The best soup of
    each scenario is written into the study's folder soups/, with its configuration beside it.

    A soup is of one training seed, and the validation images chose it. If the study has confirmed
    all trials of a soup (confirm.top), --test also averages them anew for each fresh seed, which
    confirms the soup.
    """
    from ltat_tune.comparison.entries import review
    from ltat_tune.export.soup import tables as views
    from ltat_tune.export.soup.fresh import confirm_soup
    from ltat_tune.export.soup.make import make_soups
    from ltat_tune.export.soup.tested import check_winners, soups_on_test

    study = review(options.find_study(out, name))
    words.check_scenarios(scenarios, [one.name for one in study.results.scenarios], name)
    if scenarios:
        study = study.of_scenarios(scenarios)
    if test:
        check_winners(study)

    def progress(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    made = make_soups(study, device=device, on_average=progress)
    blocks = soups_on_test(study, made, device=device) if test else []
    confirmed = [confirm_soup(study, one, device=device) for one in made] if test else []
    fresh = [one for one in confirmed if one is not None]
    from ltat_tune.comparison.checkpoint_tables import checkpoint_table, checkpoint_text
    from ltat_tune.comparison.checkpoints import checkpoint_data

    if form == "csv" and test:
        click.echo(checkpoint_table(blocks, form), nl=False)
        return
    if form == "csv":
        options.print_rows(views.soup_rows(made), form)
        return
    if form == "json":
        tested = {"test": checkpoint_data(blocks), "fresh_seeds": views.fresh_data(fresh)}
        data = {"soups": views.soups_data(made), **(tested if test else {})}
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(views.soups_text(made))
    if test:
        console.print(checkpoint_text(blocks))
        console.print(views.fresh_text(fresh, study.folder.resume_command))
