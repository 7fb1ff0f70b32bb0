"""The commands `run` and `resume`, which run a study, and the group of all commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltat_tune._version import __version__
from ltat_tune.backend.stop_signals import end_by_signals, ignore_signals, unechoed_keys
from ltat_tune.cli import options, words
from ltat_tune.cli.commands.plan import show_first_trials
from ltat_tune.cli.complete import SETTING, SPACE, STUDY
from ltat_tune.cli.group import CommandGroup

if TYPE_CHECKING:
    from ltat_tune.engine.study import StudyEnd, StudyRun


_EXAMPLES = """\b
Examples:
  ltat-tune run search_spaces/quickstart.yaml
  ltat-tune run search_spaces/quickstart.yaml --trials 24 --set name=longer
  ltat-tune run search_spaces/image_folder.yaml --set data.root=~/images
  ltat-tune run search_spaces/quickstart.yaml --smoke
  ltat-tune resume quickstart

\b
For shell completion, add this line to ~/.bashrc (with zsh_source to ~/.zshrc):
  eval "$(_LTAT_TUNE_COMPLETE=bash_source ltat-tune)"
"""


_address = click.option(
    "--address", metavar="auto|HOST:PORT",
    help="Train on the nodes of this Ray cluster  [default: start Ray on this machine].",
)  # fmt: skip

_in_process = click.option(
    "--in-process", is_flag=True,
    help="Run one task after another in this process, without Ray. Breakpoints work.",
)  # fmt: skip

_budget = click.option(
    "--budget", metavar="6h|40gpuh|500epochs",
    help="Limit of the study; the search ends in time for the confirmations (sets budget).",
)  # fmt: skip


_CHANGES = {"trials": "searcher.trials", "search_seed": "searcher.seed", "budget": "budget"}
_OPTIONS = (
    options.out,
    click.option("--trials", type=int, help="Number of trials per scenario (searcher.trials)."),
    click.option("--search-seed", type=int, help="Seed of the proposals (searcher.seed)."),
    words.renamed_option("--seed", "--search-seed", type=int),
    click.option(
        "--set", "overrides", multiple=True, metavar="PATH=VALUE", shell_complete=SETTING,
        help="Replace a value of the space file; may be repeated.",
    ),
    click.option(
        "--tracking-uri", envvar="MLFLOW_TRACKING_URI", show_envvar=True,
        help="MLflow server or store  [default: a SQLite file in the study's folder].",
    ),
    _address,
    _in_process,
    _budget,
    click.option(
        "--dry-run", is_flag=True,
        help="Check everything and print the first trials, but start nothing.",
    ),
    click.option("--overwrite", is_flag=True, help="Delete a study of this name first."),
    click.option(
        "--allow-inert", is_flag=True, help="Run even if a tuned parameter has no effect."
    ),
    click.option(
        "--smoke", is_flag=True,
        help="Test in seconds that the file runs: 2 trials, 2 epochs, few images.",
    ),
    options.quiet,
    options.format_,
)  # fmt: skip


def _study_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a new study."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group(
    cls=CommandGroup,
    invoke_without_command=True,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--space", type=click.Path(path_type=Path), help="Run this space file, as `run SPACE` does.",
    shell_complete=SPACE,
)  # fmt: skip
@_study_options
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(__version__, prog_name="ltat-tune")
@click.pass_context
def main(ctx: click.Context, /, space: Path | None, debug: bool, **study: Any) -> None:
    """Find the method and hyperparameters that are most robust on long-tailed images.

    ltat-tune runs the study of a space file. Optuna proposes configurations, Ray Tune trains them
    side by side, and ASHA stops weak trials early by robust validation accuracy. MLflow records
    everything. The winners are confirmed with several seeds before any test image is used.
    """
    given = [p.opts[0] for p in ctx.command.params if p.name != "debug"
             and ctx.get_parameter_source(p.name or "") is click.core.ParameterSource.COMMANDLINE
             ]  # fmt: skip
    if ctx.invoked_subcommand is not None:
        if space is not None:
            raise click.UsageError("--space runs a study by itself; remove the command")
        if given:
            raise click.UsageError(
                f"{given[0]} stands before the command; write it after {ctx.invoked_subcommand}"
            )
        return
    if space is not None:
        _start(ctx, space, **study)
    elif given:
        raise click.UsageError(
            f"{given[0]} changes a study; name its space file: `ltat-tune run SPACE {given[0]}`"
        )
    else:
        click.echo(ctx.get_help())


def _debug_all(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    ctx.find_root().params["debug"] |= value


@click.command(
    short_help="Run the study of a space file.",
    epilog="\b\nExamples:\n  ltat-tune run search_spaces/quickstart.yaml\n"
    "  ltat-tune run search_spaces/quickstart.yaml --trials 24 --set name=longer --dry-run",
)
@click.argument("space", metavar="SPACE", type=click.Path(path_type=Path), shell_complete=SPACE)
@_study_options
@click.option("--debug", is_flag=True, expose_value=False, callback=_debug_all,
              help="Show tracebacks.")  # fmt: skip
@click.pass_context
def run(ctx: click.Context, /, space: Path, **study: Any) -> None:
    """Run the study of a space file: search, confirmations, tests.

    SPACE is a file such as search_spaces/quickstart.yaml. `ltat-tune --space SPACE` does the same.
    """
    _start(ctx, space, **study)


def _start(
    ctx: click.Context,
    space: Path,
    *,
    out: Path,
    overrides: tuple[str, ...],
    tracking_uri: str | None,
    address: str | None,
    in_process: bool,
    dry_run: bool,
    overwrite: bool,
    allow_inert: bool,
    smoke: bool,
    quiet: bool,
    form: str,
    **changes: str | int | None,
) -> None:
    _refuse_both(address, in_process)
    from ltat_tune.engine.study import StudyRun
    from ltat_tune.preflight.load import load_space

    given = {name: path for name, path in _CHANGES.items() if changes[name] is not None}
    more = [f"{path}={changes[name]}" for name, path in given.items()]
    checked = load_space(
        space, overrides=(*overrides, *more), allow_inert=allow_inert, smoke=smoke,
        cluster=address is not None,
        options={path: f"--{name.replace('_', '-')}" for name, path in given.items()},
    )  # fmt: skip
    if dry_run:
        show_first_trials(checked, form)
        return
    study = StudyRun.create(
        checked, out, source=str(space), tracking_uri=tracking_uri, overwrite=overwrite
    )
    if ctx.get_parameter_source("tracking_uri") is click.core.ParameterSource.ENVIRONMENT:
        study.uri_origin = "MLFLOW_TRACKING_URI"
    _run(ctx, study, quiet, form, address, in_process)


@click.command(epilog="\b\nExample:\n  ltat-tune resume quickstart --trials 24")
@click.argument("name", metavar="STUDY", shell_complete=STUDY)
@options.out
@click.option("--trials", type=int, help="Extend the search to this many trials per scenario.")
@click.option("--confirm", "top", type=int, help="Confirm this many trials per scenario.")
@click.option("--tracking-uri", help="Another MLflow store, as long as nothing was trained.")
@_address
@_in_process
@_budget
@options.quiet
@options.format_
@click.pass_context
def resume(
    ctx: click.Context,
    name: str,
    out: Path,
    trials: int | None,
    top: int | None,
    tracking_uri: str | None,
    address: str | None,
    in_process: bool,
    budget: str | None,
    quiet: bool,
    form: str,
) -> None:
    """Continue STUDY where it stopped, or extend it.

    No trial is lost, and no epoch saved in a checkpoint is trained again.
    """
    _refuse_both(address, in_process)
    from ltat_tune.engine.study import StudyRun

    study = StudyRun.open(
        options.find_study(out, name).root, trials=trials, top=top, budget=budget,
        tracking_uri=tracking_uri, cluster=address is not None,
    )  # fmt: skip
    _run(ctx, study, quiet, form, address, in_process)


def _refuse_both(address: str | None, in_process: bool) -> None:
    if address is not None and in_process:
        raise click.UsageError(
            "--address trains on a Ray cluster and --in-process uses no Ray; give only one of them"
        )


def _run(
    ctx: click.Context,
    study: StudyRun,
    quiet: bool,
    form: str,
    address: str | None,
    in_process: bool,
) -> None:
    from rich.console import Console

    again = study.folder.resume_command + (f" --address {address}" if address else "")
    again += " --in-process" if in_process else ""
    end_by_signals()
    try:
        console = Console(stderr=True, highlight=False)
        with unechoed_keys():
            end = study.run(console, quiet=quiet, address=address, in_process=in_process)
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C early or twice; on SIGTERM Ray exits
        ignore_signals()
        click.echo(f"\ninterrupted\nresume with: {again}", err=True)
        ctx.exit(130)
    _show_end(study, end, form, again)
    if end.interrupted:
        ignore_signals()
        ctx.exit(130)
    if end.reason is not None:
        ctx.exit(1)


def _show_end(study: StudyRun, end: StudyEnd, form: str, again: str) -> None:
    name, root = study.folder.root.name, study.folder.root
    out = study.folder.out_option
    if end.reason is not None:
        click.echo(f"{end.reason}\nresume with: {again}", err=True)
        return
    if form == "csv":
        options.print_compared(study.folder)
        return
    options.print_results(end.results, form)
    if form == "json":
        return
    click.echo("\nnext:")
    best = sorted(study.folder.best.glob("*.yaml"))
    commands = [
        (f"ltat-tune report {name}{out}", "all results on one page"),
        (f"ltat-tune ui {name}{out}", "every trial in the browser, in MLflow"),
        (f"ltat-tune compare {name}{out}", "these tables and the best trials"),
        (f"ltat-tune export {name}{out}", "the best configurations as files"),
        *[(f"ltat-tune train {file}", "train one again to the same digits") for file in best[:1]],
    ]
    if not study.space.searcher.enumerates and not study.space.smoke:
        more = f"{again} --trials {2 * study.space.searcher.trials}"
        commands.append((more, "extend the search"))
    options.print_commands(commands)
    click.echo(f"everything lies in {root}")
