"""The commands `ls`, `params` and `version`."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from ltat_tune.cli import options
from ltat_tune.cli.complete import TERM


@click.command(
    short_help="List parameters, and the keys of a space file.",
    epilog="\b\nExamples:\n  ltat-tune params\n  ltat-tune params reweight\n"
    "  ltat-tune params lambda\n  ltat-tune params searcher",
)
@click.argument("pattern", default="", metavar="[SECTION|WORD]", shell_complete=TERM)
@options.plugins
@options.format_
def params(pattern: str, plugins: tuple[str, ...], form: str) -> None:
    """List every training parameter: path, symbol, range, default, meaning, source.

    SECTION lists one section of the parameters, such as loss, or of the space file itself, such
    as searcher, confirm or budget. WORD searches both. A Greek letter and its name find the same
    parameters.
    """
    options.load_given_plugins(plugins)
    from ltat_tune.config.parameters import PARAMETERS, find_parameters
    from ltat_tune.space.reference import SPACE_KEYS, keys_of, space_sections

    every = [*PARAMETERS.values(), *SPACE_KEYS.values()]
    word = pattern.strip().lower()
    section = keys_of(word) or [p for p in PARAMETERS.values() if p.path.startswith(f"{word}.")]
    matching = find_parameters(word, every)
    chosen = (section or matching) if word else list(PARAMETERS.values())
    if not chosen:
        raise click.UsageError(f"no parameter matches {pattern!r}")
    if form != "table":
        fields = "path symbol kind default range unit meaning source acts_from".split()
        rows = [
            {
                **{name: getattr(p, name) for name in fields},
                "default_with": [
                    {"path": path, "values": values, "default": default}
                    for path, values, default in p.instead
                ],
            }
            for p in chosen
        ]
        options.print_rows(rows, form)
        return
    from ltat_tune.cli.parameter_table import print_parameters

    print_parameters(chosen)
    others = [p.path for p in matching if p not in chosen]
    if not word:
        names = ", ".join(space_sections())
        click.echo(f"\nThe space file's own sections: {names}; see `ltat-tune params SECTION`.")
    elif others:
        click.echo(f"\nAlso about {word}: {', '.join(others)}")


_KINDS = ("studies", "methods", "losses", "datasets", "models", "attacks", "spaces")


@click.command(
    short_help="List studies, methods, losses, data sets or space files.",
    epilog="\b\nExamples:\n  ltat-tune ls\n  ltat-tune ls methods\n  ltat-tune ls spaces",
)
@click.argument("kind", metavar="[KIND]", type=click.Choice(_KINDS), default="studies")
@options.out
@options.plugins
@options.format_
def ls(kind: str, out: Path, plugins: tuple[str, ...], form: str) -> None:
    """List the studies in a folder, or the names that a space file can use.

    KIND is one of studies (the default), methods, losses, datasets, models, attacks, spaces.
    """
    options.load_given_plugins(plugins)
    rows: list[dict[str, Any]]
    show: Callable[[], None]
    if kind == "studies":
        from ltat_tune.comparison.study_list import for_people, overview

        rows, none = overview(out), f"no studies in {out}; start one: ltat-tune run {_FIRST}"
        show = partial(options.print_table, [for_people(row) for row in rows])
    elif kind == "spaces":
        from ltat_tune.cli.parameter_table import print_spaces
        from ltat_tune.space.listing import find_spaces

        files = find_spaces(Path())
        rows, show = [vars(file) for file in files], partial(print_spaces, files)
        none = "no search_spaces/*.yaml here; write a space file with `ltat-tune init`"
    else:
        from ltat_tune.cli.parameter_table import print_catalogue
        from ltat_tune.config.catalogue import CATALOGUE
        from ltat_tune.config.parameters import PARAMETERS

        entries, none = CATALOGUE[kind], ""
        rows = [entry.as_data(PARAMETERS) for entry in entries]
        show = partial(print_catalogue, entries)
    if form != "table":
        options.print_rows(rows, form)
    elif rows:
        show()
    else:
        click.echo(none)


_FIRST = "search_spaces/quickstart.yaml"


@click.command(
    short_help="Show the versions that a result depends on.",
    epilog="\b\nExample:\n  ltat-tune version --format json",
)
@options.format_
def version(form: str) -> None:
    """Show the versions of this package and of the libraries that it computes with."""
    from ltat_tune.provenance import commit, machine, versions

    facts = {**versions(), "commit": commit() or "not a checkout", "machine": machine()}
    if form == "json":
        click.echo(json.dumps(facts, indent=2))
    elif form == "csv":
        options.print_rows(options.flat_rows(facts), form)
    else:
        for name, value in facts.items():
            click.echo(f"{name:14} {value}")
