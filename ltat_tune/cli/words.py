"""Options of one grammar: lists, renamed options, the scenarios of a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import click

from ltat_tune.errors import StudyError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def listed(
    *names: str,
    metavar: str,
    help: str,
    choices: Sequence[str] = (),
    default: str = "",
    complete: Any = None,
) -> Decorator:
    """Return an option for a list: comma-separated, and it may be repeated.

    The command gets a tuple of different words, in the order in which they were given.

    Args:
        names: of the option, and of its argument if that differs.
        metavar: what one word is.
        help: a sentence.
        choices: the words that are allowed; empty: the command checks them.
        default: a list as it would be written.
        complete: completes a word in the shell.
    """

    def split(ctx: click.Context, option: click.Parameter, texts: Sequence[str]) -> Any:
        words = [part.strip() for text in texts for part in text.split(",")]
        words = [word for word in dict.fromkeys(words) if word]
        for word in words:
            if choices and word not in choices:
                raise click.BadParameter(_unknown(word, choices), ctx, option)
        return tuple(words)

    return _list_option(names, metavar, help, default, complete, split)


def listed_text(*names: str, metavar: str, help: str, complete: Any = None) -> Decorator:
    """Return an option for a list that the command reads itself: one text, or None.

    What was given more than once is joined by commas.
    """

    def join(ctx: click.Context, option: click.Parameter, texts: Sequence[str]) -> str | None:
        return ",".join(texts) if texts else None

    return _list_option(names, metavar, help, "", complete, join)


def _list_option(
    names: Sequence[str], metavar: str, help: str, default: str, complete: Any, callback: Any
) -> Decorator:
    shown = f"{help.removesuffix('.')}  [default: {default}]." if default else help
    return click.option(
        *names, multiple=True, metavar=f"{metavar},...", help=shown, callback=callback,
        default=(default,) if default else (), shell_complete=complete,
    )  # fmt: skip


def _unknown(word: str, choices: Sequence[str]) -> str:
    close = get_close_matches(word, choices, n=1)
    meant = f"did you mean {close[0]}? Choose" if close else "choose"
    return f"unknown {word!r}; {meant} from: {', '.join(choices)}"


def renamed_option(old: str, new: str, **attributes: Any) -> Decorator:
    """Return a hidden option that still works under its old name, and says the new one.

    Args:
        old: the old spelling, `--images`.
        new: the option that it is now.
        attributes: of `click.option`, such as `is_flag`.
    """

    class Renamed(click.Option):
        def handle_parse_result(
            self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
        ) -> tuple[Any, list[str]]:
            assert isinstance(opts, dict) and self.name is not None
            if self.name in opts:
                given = opts.pop(self.name)
                opts.setdefault(new.removeprefix("--").replace("-", "_"), given)
                if not ctx.resilient_parsing:
                    click.echo(f"note: {old} is now {new}", err=True)
            return None, args

    name = "old_" + old.removeprefix("--").replace("-", "_")
    return click.option(
        old, name, cls=Renamed, hidden=True, expose_value=False, help=f"Now {new}.", **attributes
    )


scenario = listed(
    "--scenario", "scenarios", metavar="NAME", help="Only these scenarios  [default: all]."
)


def check_scenarios(given: Sequence[str], known: Sequence[str], where: str) -> None:
    """Check that all scenarios exist.

    Args:
        given: the words of --scenario.
        known: the scenarios that there are.
        where: the studies, in words.

    Raises:
        StudyError: there is no such scenario.
    """
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            meant = f"did you mean {close[0]}? Choose" if close else "choose"
            raise StudyError(
                f"no scenario {name} in {where}; {meant} from: {', '.join(known) or 'none'}"
            )
