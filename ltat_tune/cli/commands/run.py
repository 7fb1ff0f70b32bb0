"""The commands `ltat-tune --space FILE` and `resume`, which run a study."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltat_tune._version import __version__
from ltat_tune.backend.stop_signals import STOPPING, leave_terminal
from ltat_tune.cli import options
from ltat_tune.cli.commands.plan import show_first_trials
from ltat_tune.cli.complete import SETTING, SPACE, STUDY
from ltat_tune.errors import LtatError

if TYPE_CHECKING:
    from ltat_tune.engine.study import StudyEnd, StudyRun


_EXAMPLES = """\b
Examples:
  ltat-tune --space search_spaces/quickstart.yaml
  ltat-tune --space search_spaces/quickstart.yaml --trials 24 --set name=longer
  ltat-tune --space search_spaces/image_folder.yaml --set data.root=~/images
  ltat-tune --space search_spaces/quickstart.yaml --smoke
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


class _Group(click.Group):
    """A group that turns the package's errors into a message and an exit status."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run a command. What its terminal cannot show, or take, is decided here for all."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a question mark, not a traceback
        return super().main(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            done = super().invoke(ctx)
            with contextlib.suppress(ValueError):  # closed
                sys.stdout.flush()  # an error of the last lines is met here, not at exit
            return done
        except OSError as error:
            if ctx.params.get("debug") or not _is_of_output(error):
                raise
            _drop_output()
            with contextlib.suppress(OSError):
                click.echo(f"error: cannot write the output: {error.strerror}", err=True)
            ctx.exit(1)
        except LtatError as error:
            if ctx.params.get("debug"):
                raise
            lines = str(error).splitlines()
            count = sum(
                not line.startswith(" ") for line in lines
            )  # indented lines belong to the one above
            many = f"{count} problems, nothing was started:\n" if count > 1 else ""
            shown = [_printable(line) for line in lines[:_MOST_LINES]]
            if len(lines) > _MOST_LINES:
                shown.append(f"... and {len(lines) - _MOST_LINES:,} more lines")
            click.echo(f"error: {many}" + "\n".join(shown), err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("\ninterrupted; run the same command again", err=True)
            ctx.exit(130)


_MOST_LINES, _MOST_CHARACTERS = 60, 2000


def _printable(line: str) -> str:
    """Return a line of a message without what would steer a terminal, and not too long."""
    plain = options.printable(line)
    cut = len(plain) > _MOST_CHARACTERS
    return plain[:_MOST_CHARACTERS] + ("..." if cut else "")


_PRINTERS = ("click.utils", "rich.console", __name__)


def _is_of_output(error: OSError) -> bool:
    """Return whether an error came up while something was printed; click ends EPIPE itself."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    printer = None if place is None else place.tb_frame.f_globals.get("__name__")
    return error.errno != errno.EPIPE and printer in _PRINTERS


def _drop_output() -> None:
    """Let nothing be written at the interpreter's exit, which would fail again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    cls=_Group,
    invoke_without_command=True,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--space", type=click.Path(path_type=Path), help="Space file of the study to run.",
    shell_complete=SPACE,
)  # fmt: skip
@options.out
@click.option("--trials", type=int, help="Number of trials per scenario (sets searcher.trials).")
@click.option("--seed", type=int, help="Seed of the proposals (sets searcher.seed).")
@click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", shell_complete=SETTING,
    help="Replace a value of the space file; may be repeated.",
)  # fmt: skip
@click.option(
    "--tracking-uri", envvar="MLFLOW_TRACKING_URI", show_envvar=True,
    help="MLflow server or store  [default: a SQLite file in the study's folder].",
)  # fmt: skip
@_address
@_in_process
@_budget
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check everything and print the first trials, but start nothing.",
)
@click.option("--overwrite", is_flag=True, help="Delete a study of this name first.")
@click.option("--allow-inert", is_flag=True, help="Run even if a tuned parameter has no effect.")
@click.option(
    "--smoke", is_flag=True,
    help="Test in seconds that the file runs: 2 trials, 2 epochs, few images.",
)  # fmt: skip
@options.quiet
@options.format_
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
    address: str | None,
    in_process: bool,
    budget: str | None,
    dry_run: bool,
    overwrite: bool,
    allow_inert: bool,
    smoke: bool,
    quiet: bool,
    form: str,
    debug: bool,
) -> None:
    """Find the method and hyperparameters that are most robust on long-tailed images.

    ltat-tune runs the study of a space file. Optuna proposes configurations, Ray Tune trains them
    side by side, and ASHA stops weak trials early by robust validation accuracy. MLflow records
    everything. The winners are confirmed with several seeds before any test image is used.
    """
    if ctx.invoked_subcommand is not None:
        if space is not None:
            raise click.UsageError("--space runs a study by itself; remove the command")
        return
    if space is None:
        click.echo(ctx.get_help())
        return
    _refuse_both(address, in_process)
    from ltat_tune.engine.study import StudyRun
    from ltat_tune.preflight.load import load_space

    more = [f"searcher.trials={trials}"] if trials is not None else []
    more += [f"searcher.seed={seed}"] if seed is not None else []
    more += [f"budget={budget}"] if budget is not None else []
    checked = load_space(
        space, overrides=(*overrides, *more), allow_inert=allow_inert, smoke=smoke,
        cluster=address is not None,
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
        out / name, trials=trials, budget=budget, tracking_uri=tracking_uri,
        cluster=address is not None,
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
    _end_by_signals()
    try:
        console = Console(stderr=True, highlight=False)
        end = study.run(console, quiet=quiet, address=address, in_process=in_process)
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C early or twice; on SIGTERM Ray exits
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)  # the process is ending
        click.echo(f"\ninterrupted\nresume with: {again}", err=True)
        ctx.exit(130)
    _show_end(study, end, form, again)
    if end.interrupted:
        ctx.exit(130)
    if end.reason is not None:
        ctx.exit(1)


def _end_by_signals() -> None:
    """Make SIGTERM and SIGHUP end the command as Ctrl-C does, without words of the interpreter."""

    def gone(number: int, frame: Any) -> None:
        leave_terminal()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup wants it
        signal.signal(signal.SIGHUP, gone)
    usual = sys.unraisablehook

    def quiet(raised: Any) -> None:
        if not isinstance(raised.exc_value, KeyboardInterrupt):
            usual(raised)

    sys.unraisablehook = quiet  # a second Ctrl-C may come while something is being deleted


def _show_end(study: StudyRun, end: StudyEnd, form: str, again: str) -> None:
    name, root = study.folder.root.name, study.folder.root
    out = study.folder.out_option
    if end.reason is not None:
        click.echo(f"{end.reason}\nresume with: {again}", err=True)
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
    for command, why in commands:
        click.echo(f"  {command}   # {why}")
    click.echo(f"everything lies in {root}")
