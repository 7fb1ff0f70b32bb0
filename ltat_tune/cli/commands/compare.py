"""The command `compare`, which shows studies, winners and groups of trials side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltat_tune.cli import options, words
from ltat_tune.cli.checkpoint_options import described_checkpoint, of_checkpoint
from ltat_tune.cli.complete import BY, STUDY

if TYPE_CHECKING:
    from ltat_tune.comparison.entries import Reviewed
    from ltat_tune.config.foreign.description import CheckpointDescription
    from ltat_tune.results.model import StudyResults


_FORMS = ("table", "json", "csv", "latex", "markdown")
_KINDS = ("subset", "split", "eps", "smoke", "all")


@click.command(
    epilog="\b\nExamples:\n"
    "  ltat-tune compare quickstart\n"
    "  ltat-tune compare quickstart --by loss --metric test/pgd20_acc,test/clean_acc\n"
    "  ltat-tune compare quickstart --by method --against trades\n"
    "  ltat-tune compare srat reat --by method --published --format latex\n"
    "  ltat-tune compare quickstart --checkpoint theirs.pt --model torchvision/resnet18"
)
@click.argument("names", nargs=-1, required=True, metavar="STUDY...", shell_complete=STUDY)
@options.out
@words.scenario
@words.listed(
    "--by", metavar="WORD", complete=BY,
    help="Show the best configuration for each value of method, loss, model, reweight, data, "
    "scenario, study or any parameter's path.",
)  # fmt: skip
@words.listed(
    "--metric", "metrics", metavar="NAME",
    help="Metrics to show; the first one ranks  [default: the objective].",
)  # fmt: skip
@click.option(
    "--against", default="", metavar="ROW",
    help="The row that the others are tested against: a value of --by, a trial such as t0003, or "
    "baseline  [default: the baseline's row, else the first].",
)  # fmt: skip
@click.option("--published", is_flag=True, help="Also show the papers' rows for the same problem.")
@words.listed(
    "--allow-different", "allowed", metavar="KIND", choices=_KINDS,
    help=f"Compare even if these differences make it unfair: {', '.join(_KINDS)}.",
)  # fmt: skip
@words.listed(
    "--checkpoint", "checkpoints", metavar="CHECKPOINT",
    help="Files of weights to measure on the test images beside the winner, under the same "
    "attacks.",
)  # fmt: skip
@of_checkpoint
@options.device
@click.option(
    "--to", "folder", type=options.A_FOLDER, default=Path("evaluations"), show_default=True,
    help="Folder that keeps what --checkpoint has measured.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(_FORMS), default="table", show_default=True,
    help="Format of the results.",
)  # fmt: skip
def compare_command(
    names: tuple[str, ...],
    out: Path,
    scenarios: tuple[str, ...],
    by: tuple[str, ...],
    metrics: tuple[str, ...],
    against: str,
    published: bool,
    allowed: tuple[str, ...],
    checkpoints: tuple[str, ...],
    config: Path | None,
    model: str | None,
    mean: str | None,
    std: str | None,
    device: str,
    folder: Path,
    form: str,
) -> None:
    """Show the results of one study, or compare studies side by side.

    For one STUDY alone, print winners, baselines and best trials. For several, or with --by,
    --metric, --against or --published, print for each row the mean and standard error over seeds,
    n, the epoch kept of all epochs, the epochs that the search spent, and p against the row of
    --against. A value of --by that was not measured has a row that says why. Studies may still be
    running.
    """
    from ltat_tune.comparison.entries import review

    studies = [review(options.find_study(out, name)) for name in names]
    if scenarios:
        every = [one.name for study in studies for one in study.results.scenarios]
        words.check_scenarios(scenarios, list(dict.fromkeys(every)), " ".join(names))
        studies = [study.of_scenarios(scenarios) for study in studies]
    if checkpoints:
        if len(studies) > 1 or by or published or allowed or against:
            raise click.UsageError("--checkpoint takes one STUDY, and --metric alone besides")
        described, own = described_checkpoint(model, config, mean, std)
        _beside(studies[0], checkpoints, described, own, metrics, device, folder, form)
        return
    compares = by or metrics or published or allowed or against
    if len(studies) == 1 and not compares and form in ("table", "json"):
        _one(studies[0].results, form, options.unfinished(studies[0]))
        return
    from ltat_tune.comparison import tables as views
    from ltat_tune.comparison.compare import put_together

    comparison = put_together(studies, by=by, metrics=metrics, allowed=allowed, against=against)
    beside = None
    if published:
        from ltat_tune.comparison.published import beside_published

        beside = beside_published(comparison)
    if form == "table":
        from rich.console import Console

        console = Console(highlight=False)
        console.print(views.comparison_text(comparison))
        if beside is not None:
            from ltat_tune.comparison.published_tables import render_published

            console.print(render_published(beside))
        return
    if form == "json":
        data = views.as_json(comparison)
        if beside is not None:
            data["published"] = [entry.as_data() for entry in beside]
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
        return
    texts = {"csv": views.as_csv, "latex": views.as_latex, "markdown": views.as_markdown}
    click.echo(texts[form](comparison), nl=False)
    if beside is not None:
        from ltat_tune.comparison import published_tables as others

        more = {"csv": others.published_csv, "latex": others.published_latex,
                "markdown": others.published_markdown}  # fmt: skip
        click.echo("\n" + more[form](beside), nl=False)


def _beside(
    study: Reviewed,
    files: tuple[str, ...],
    described: CheckpointDescription | None,
    config: Path | None,
    metrics: tuple[str, ...],
    device: str,
    folder: Path,
    form: str,
) -> None:
    from ltat_tune.comparison import checkpoint_tables as views
    from ltat_tune.comparison.checkpoints import (
        CheckpointRequest,
        beside_winners,
        checkpoint_data,
    )

    request = CheckpointRequest(files, described, config, metrics, device, folder)
    blocks = beside_winners(study, request)
    if form == "json":
        click.echo(json.dumps(checkpoint_data(blocks), indent=2, ensure_ascii=False))
    elif form == "table":
        from rich.console import Console

        Console(highlight=False).print(views.checkpoint_text(blocks))
    else:
        click.echo(views.checkpoint_table(blocks, form), nl=False)


def _one(results: StudyResults, form: str, warning: str) -> None:
    options.print_results(results, form)
    if form == "table":
        from rich.console import Console

        from ltat_tune.results.summary import best_trials

        Console(highlight=False).print(best_trials(results))
    if warning:
        click.echo(f"note: {warning}", err=True)
