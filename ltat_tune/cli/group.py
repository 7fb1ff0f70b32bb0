"""The group of all commands: errors as one message, an exit status, and the nearest name."""

from __future__ import annotations

import ast
import contextlib
import errno
import inspect
import io
import os
import sys
import textwrap
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

import click

from ltat_tune.cli import options
from ltat_tune.cli.clean_stream import clean_output
from ltat_tune.errors import LtatError


class CommandGroup(click.Group):
    """A group that turns the package's errors into a message and an exit status."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run a command. What its terminal cannot show, or take, is decided here for all."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a question mark, not a traceback
        _hush_interrupts()
        if sys.flags.optimize > 1:
            for command in (self, *self.commands.values()):
                command.help = command.help or _help_in_source(command.callback)
        with clean_output():
            return super().main(*arguments, **options)

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the words before a command. A mistake in them is told in the usual spelling."""
        with _one_spelling():
            return super().make_context(*arguments, **options)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the words name, or say what they name instead."""
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            raise click.UsageError(_no_command(ctx, args[0], self.list_commands(ctx)), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _one_spelling():
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


def _help_in_source(callback: Any) -> str | None:
    """Return the docstring of a command, which PYTHONOPTIMIZE=2 has removed, from its source."""
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(callback)))
        (function,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):  # without source, without help
        return None
    return ast.get_docstring(function) if isinstance(function, ast.FunctionDef) else None


def _hush_interrupts() -> None:
    """Say nothing of a Ctrl-C that comes while something is imported, deleted or at its exit."""
    usual = sys.unraisablehook
    if usual.__module__ == __name__:
        return

    def hushed(raised: Any) -> None:
        if not isinstance(raised.exc_value, KeyboardInterrupt):
            usual(raised)

    sys.unraisablehook = hushed


_MOST_LINES, _MOST_CHARACTERS = 60, 2000


def _printable(line: str) -> str:
    """Return a line of a message without what would steer a terminal, and not too long."""
    plain = options.printable(line)
    cut = len(plain) > _MOST_CHARACTERS
    return plain[:_MOST_CHARACTERS] + ("..." if cut else "")


_PRINTERS = ("click.utils", "rich.console", "ltat_tune.cli.clean_stream", __name__)


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


class _Mistake(click.ClickException):
    """A mistake in the words of a command: one line that begins as every other error does."""

    exit_code = 2

    def __init__(self, mistake: click.UsageError) -> None:
        text = mistake.format_message().removesuffix(".")
        if text[1:2].islower():
            text = text[0].lower() + text[1:]
        path = mistake.ctx.command_path if mistake.ctx is not None else "ltat-tune"
        super().__init__(text if "`" in text else f"{text} (see `{path} --help`)")

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the mistake on stderr."""
        click.echo("\n".join(map(_printable, f"error: {self.message}".splitlines())), err=True)


@contextlib.contextmanager
def _one_spelling() -> Iterator[None]:
    """Turn click's way of printing a mistake into the package's own."""
    try:
        yield
    except click.UsageError as mistake:
        raise _Mistake(mistake) from mistake


def _no_command(ctx: click.Context, word: str, commands: list[str]) -> str:
    """Return what to type instead of a first word that is no command."""
    out: Path = ctx.params.get("out") or Path("studies")
    if os.path.exists(out / word / "study.json"):
        return f"{word} is a study; see it with `ltat-tune report {word}`, or continue it with " \
               f"`ltat-tune resume {word}`"  # fmt: skip
    files = {p.stem: p for folder in (Path("search_spaces"), Path(word).parent)
             for p in sorted(folder.glob("*.y*ml"))}  # fmt: skip
    close = get_close_matches(Path(word).stem, files, n=1)
    if os.path.isfile(word):
        return f"{word} is a file; run the study of a space file with `ltat-tune run {word}`"
    if Path(word).suffix in (".yaml", ".yml"):
        meant = f"did you mean `ltat-tune run {files[close[0]]}`?" if close else (
            "`ltat-tune ls spaces` lists the space files"
        )  # fmt: skip
        return f"no file {word}; {meant}"
    near = [] if word in files else get_close_matches(word, commands, n=1)
    if near or close:
        meant = near[0] if near else f"run {files[close[0]]}"
        return f"no command {word}; did you mean `ltat-tune {meant}`?"
    return f"no command {word}; choose from: {', '.join(commands)}"
