"""`compare`: studies, their winners and groups of their trials side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltat_tune.cli import options
from ltat_tune.cli.complete import BY, STUDY

if TYPE_CHECKING:
    from ltat_tune.results.model import StudyResults


_FORMS = ("table", "json", "csv", "latex", "markdown")
_KINDS = ("subset", "split", "eps", "smoke", "all")


@click.command(
    epilog="\b\nExamples:\n"
    "  ltat-tune compare quickstart\n"
    "  ltat-tune compare quickstart --by loss --metric test/pgd20_acc --metric test/clean_acc\n"
    "  ltat-tune compare srat reat --by method --published --format latex"
)
@click.argument("names", nargs=-1, required=True, metavar="STUDY...", shell_complete=STUDY)
@options.out
@click.option(
    "--by", multiple=True, metavar="WORD", shell_complete=BY,
    help="A row for each value of method, loss, model, scenario, study or any parameter's path: "
    "its best configuration; may be repeated.",
)  # fmt: skip
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME",
    help="What is shown, the first ranks; may be repeated  [default: the objective].",
)  # fmt: skip
@click.option("--published", is_flag=True, help="The papers' rows for the same problem beside it.")
@click.option(
    "--allow-different", "allowed", multiple=True, type=click.Choice(_KINDS),
    help="Compare although images, attack strength or smoke runs make it unfair; may be repeated.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(_FORMS), default="table", show_default=True,
    help="How results are printed.",
)  # fmt: skip
def compare_command(
    names: tuple[str, ...],
    out: Path,
    by: tuple[str, ...],
    metrics: tuple[str, ...],
    published: bool,
    allowed: tuple[str, ...],
    form: str,
) -> None:
    """Show what one study found, or put studies side by side.

    One STUDY alone: winners, baselines and best trials. Several, or with --by, --metric or
    --published: mean and standard error over seeds, n, the epoch kept of all epochs, epochs that
    the search spent, and p against the first row. Studies may still run.
    """
    from ltat_tune.comparison.entries import review

    studies = [review(options.find_study(out, name)) for name in names]
    asked = by or metrics or published or allowed
    if len(studies) == 1 and not asked and form in ("table", "json"):
        _one(studies[0].results, form, options.unfinished(studies[0]))
        return
    from ltat_tune.comparison import tables as views
    from ltat_tune.comparison.compare import put_together

    found = put_together(studies, by=by, metrics=metrics, allowed=allowed)
    beside = None
    if published:
        from ltat_tune.comparison.published import beside_published

        beside = beside_published(found)
    if form == "table":
        from rich.console import Console

        console = Console(highlight=False)
        console.print(views.comparison_text(found))
        if beside is not None:
            from ltat_tune.comparison.published_tables import render_published

            console.print(render_published(beside))
        return
    if form == "json":
        data = views.as_json(found)
        if beside is not None:
            data["published"] = [entry.as_data() for entry in beside]
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
        return
    texts = {"csv": views.as_csv, "latex": views.as_latex, "markdown": views.as_markdown}
    click.echo(texts[form](found), nl=False)
    if beside is not None:
        from ltat_tune.comparison import published_tables as others

        more = {"csv": others.published_csv, "latex": others.published_latex,
                "markdown": others.published_markdown}  # fmt: skip
        click.echo("\n" + more[form](beside), nl=False)


def _one(results: StudyResults, form: str, warning: str) -> None:
    options.print_results(results, form)
    if form == "table":
        from rich.console import Console

        from ltat_tune.results.summary import best_trials

        Console(highlight=False).print(best_trials(results))
    if warning:
        click.echo(f"note: {warning}", err=True)
