"""The command line. Results on stdout, progress and messages on stderr.

Exit status: 0 done, 1 the work failed, 2 bad input (nothing started), 130 interrupted (resumable).
Heavy imports stay inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltat_tune import __version__
from ltat_tune.errors import LtatError

if TYPE_CHECKING:
    from ltat_tune.study.study import Study, StudyEnd

_EXAMPLES = """\b
Examples:
  ltat-tune --space search_spaces/quickstart.yaml
  ltat-tune --space search_spaces/quickstart.yaml --trials 24 --set name=longer
  ltat-tune --space search_spaces/image_folder.yaml --set data.root=~/images
  ltat-tune resume quickstart
"""

_FOLDER = click.Path(file_okay=False, path_type=Path)
_out = click.option(
    "--out",
    type=_FOLDER,
    default=Path("studies"),
    show_default=True,
    help="Folder that holds the studies.",
)
_quiet = click.option("--quiet", "-q", is_flag=True, help="No progress, only results and errors.")
_format = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True,
    help="How results are printed.",
)  # fmt: skip


class _Group(click.Group):
    """Turns the package's errors into one message and a status; tracebacks only with --debug."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LtatError as error:
            if ctx.params.get("debug"):
                raise
            lines = str(error).splitlines()
            many = f"{len(lines)} problems, nothing was started:\n" if len(lines) > 1 else ""
            click.echo(f"error: {many}" + "\n".join(lines), err=True)
            ctx.exit(2)


@click.group(
    cls=_Group,
    invoke_without_command=True,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--space", type=click.Path(path_type=Path), help="Space file of the study to run.")
@_out
@click.option("--trials", type=int, help="Trials per scenario (sets searcher.trials).")
@click.option("--seed", type=int, help="Seed of the proposals (sets searcher.seed).")
@click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE",
    help="Replace a value of the space file; may be repeated.",
)  # fmt: skip
@click.option(
    "--tracking-uri", envvar="MLFLOW_TRACKING_URI", show_envvar=True,
    help="MLflow server or store  [default: SQLite beside the study].",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Delete a study of this name first.")
@click.option("--allow-inert", is_flag=True, help="Run although a tuned parameter has no effect.")
@_quiet
@_format
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(__version__, prog_name="ltat-tune")
@click.pass_context
def main(
    ctx: click.Context,
    space: Path | None,
    out: Path,
    trials: int | None,
    seed: int | None,
    overrides: tuple[str, ...],
    tracking_uri: str | None,
    overwrite: bool,
    allow_inert: bool,
    quiet: bool,
    form: str,
    debug: bool,
) -> None:
    """Find the method and hyperparameters that are most robust on long-tailed images.

    Runs the study of a space file: Ray Tune trains trials side by side, Optuna proposes
    configurations, ASHA stops weak ones early on validation robust accuracy, MLflow keeps
    everything, and the winners are confirmed over seeds before the test images are looked at.
    """
    if ctx.invoked_subcommand is not None:
        if space is not None:
            raise click.UsageError("--space runs a study by itself; leave the command away")
        return
    if space is None:
        click.echo(ctx.get_help())
        return
    from ltat_tune.study.space_file import load_space
    from ltat_tune.study.study import Study

    more = [f"searcher.trials={trials}"] if trials is not None else []
    more += [f"searcher.seed={seed}"] if seed is not None else []
    checked = load_space(space, overrides=(*overrides, *more), allow_inert=allow_inert)
    study = Study.create(
        checked, out, source=str(space), tracking_uri=tracking_uri, overwrite=overwrite
    )
    _run(ctx, study, quiet, form)


@main.command(epilog="\b\nExample:\n  ltat-tune resume quickstart --trials 24")
@click.argument("name")
@_out
@click.option("--trials", type=int, help="Extend the search to this many trials per scenario.")
@_quiet
@_format
@click.pass_context
def resume(
    ctx: click.Context, name: str, out: Path, trials: int | None, quiet: bool, form: str
) -> None:
    """Go on with study NAME where it stopped, or extend it."""
    from ltat_tune.study.study import Study

    _run(ctx, Study.open(out / name, trials=trials), quiet, form)


def _run(ctx: click.Context, study: Study, quiet: bool, form: str) -> None:
    from rich.console import Console

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        end = study.run(Console(stderr=True, highlight=False), quiet=quiet)
    except (KeyboardInterrupt, SystemExit):  # too early, or twice; on SIGTERM Ray exits
        click.echo(f"\ninterrupted\nresume with: {_resume(study)}", err=True)
        ctx.exit(130)
    _show_end(study, end, form)
    if end.interrupted:
        ctx.exit(130)
    if end.reason is not None:
        ctx.exit(1)


def _show_end(study: Study, end: StudyEnd, form: str) -> None:
    name, root = study.folder.root.name, study.folder.root
    out = _out_option(root)
    if end.reason is not None:
        click.echo(f"{end.reason}\nresume with: {_resume(study)}", err=True)
        return
    _print_results([end.results], form)
    if form == "json":
        return
    click.echo("\nnext:")
    best = sorted(study.folder.best.glob("*.yaml"))
    commands = [
        (study.open_mlflow(), "every trial in the browser"),
        (f"ltat-tune compare {name}{out}", "these tables, and the best trials"),
        (f"ltat-tune export {name}{out}", "the best configurations as files"),
        *[(f"ltat-tune train {best[0]}", "train one again, to the same digits")][: len(best)],
        (f"{_resume(study)} --trials {2 * study.space.searcher.trials}", "search on"),
    ]
    for command, why in commands:
        click.echo(f"  {command}   # {why}")
    click.echo(f"everything lies in {root}")


def _out_option(root: Path) -> str:
    return "" if root.parent == Path("studies") else f" --out {root.parent}"


def _resume(study: Study) -> str:
    root = study.folder.root
    return f"ltat-tune resume {root.name}{_out_option(root)}"


def _print_results(results: list[dict[str, Any]], form: str) -> None:
    if form == "json":
        click.echo(json.dumps(results[0] if len(results) == 1 else results, indent=2))
        return
    from rich.console import Console

    from ltat_tune.study.summary import render, verdict

    console = Console(highlight=False)
    for found in results:
        console.print(render(found))
        sentences = verdict(found)
        if sentences:
            console.print()
        for sentence in sentences:
            console.print(sentence, soft_wrap=True)


@main.command(epilog="\b\nExample:\n  ltat-tune compare quickstart --format json")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_out
@_format
def compare(names: tuple[str, ...], out: Path, form: str) -> None:
    """Show the results of finished studies: winners, baselines, best trials."""
    from ltat_tune.errors import StudyError
    from ltat_tune.study.folder import StudyFolder

    results = []
    for name in names:
        found = StudyFolder.open(out / name).read_results()
        if found is None:
            raise StudyError(f"{name} has no results yet; finish it: ltat-tune resume {name}")
        results.append(found)
    _print_results(results, form)
    if form == "table":
        from rich.console import Console

        from ltat_tune.study.summary import best_trials

        for found in results:
            Console(highlight=False).print(best_trials(found))


@main.command(
    epilog="\b\nExample:\n  ltat-tune export quickstart --scenario imbalance_ratio_50 --top 2"
)
@click.argument("name")
@_out
@click.option("--scenario", help="Only this scenario  [default: all].")
@click.option("--top", type=click.IntRange(min=1), default=1, show_default=True,
              help="How many of the confirmed configurations.")  # fmt: skip
@click.option("--to", "target", type=_FOLDER, default=Path("exports"), show_default=True,
              help="Folder to write into.")  # fmt: skip
def export(name: str, out: Path, scenario: str | None, top: int, target: Path) -> None:
    """Write the best configurations of study NAME as files for `ltat-tune train`."""
    from ltat_tune.study.export import export as write
    from ltat_tune.study.study import Study

    study = Study.open(out / name, check_machine=False)
    for path in write(study.folder, study.space, target, scenario=scenario, top=top):
        click.echo(path)


@main.command(
    epilog="\b\nExample:\n"
    "  ltat-tune train studies/quickstart/best/best-imbalance_ratio_50.yaml --test"
)
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--test", is_flag=True, help="Also attack the test images, as recorded in the file.")
@click.option("--seed", type=click.IntRange(min=0), help="Another training seed than the file's.")
@click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads  [default: as recorded, else 1]."
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 ...")
@click.option("--checkpoint", type=click.Path(dir_okay=False, path_type=Path),
              help="Keep the training's state in this file, and go on from it.")  # fmt: skip
@_quiet
@_format
@click.pass_context
def train(
    ctx: click.Context,
    config: Path,
    test: bool,
    seed: int | None,
    threads: int | None,
    device: str,
    checkpoint: Path | None,
    quiet: bool,
    form: str,
) -> None:
    """Train one configuration file and say whether it gave the recorded digits."""
    from ltat_tune.training.alone import train_file

    ctx.exit(
        train_file(
            config, test=test, seed=seed, threads=threads, device=device,
            checkpoint=checkpoint, quiet=quiet, form=form,
        )
    )  # fmt: skip


@main.command(epilog="\b\nExamples:\n  ltat-tune params\n  ltat-tune params reweight")
@click.argument("pattern", default="")
@_format
def params(pattern: str, form: str) -> None:
    """List every parameter: path, symbol, range, default, meaning, source."""
    from ltat_tune.parameters import PARAMETERS

    part, every = pattern.lower(), PARAMETERS.values()
    chosen = [p for p in every if part in f"{p.path} {p.symbol} {p.meaning}".lower()]
    if not chosen:
        raise click.UsageError(f"no parameter matches {pattern!r}")
    if form == "json":
        fields = "path symbol kind default range unit meaning source acts_from".split()
        click.echo(json.dumps([{f: getattr(p, f) for f in fields} for p in chosen], indent=2))
        return
    from ltat_tune.parameter_table import print_parameters

    print_parameters(chosen)


@main.command()
@_out
@_format
def ls(out: Path, form: str) -> None:
    """List the studies in a folder."""
    from ltat_tune.study.folder import StudyFolder, list_studies

    rows = [StudyFolder(out / name).overview() for name in list_studies(out)]
    if form == "json":
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo(
            f"no studies in {out}; start one: ltat-tune --space search_spaces/quickstart.yaml"
        )
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in rows[0]:
            table.add_column(name)
        for row in rows:
            table.add_row(*map(str, row.values()))
        Console(highlight=False).print(table)


@main.command()
@_format
def version(form: str) -> None:
    """Show the versions of this package and of what it computes with."""
    from ltat_tune.versions import commit, machine, versions

    found = {**versions(), "commit": commit() or "not a checkout", "machine": machine()}
    if form == "json":
        click.echo(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            click.echo(f"{name:14} {value}")


if __name__ == "__main__":
    main()
