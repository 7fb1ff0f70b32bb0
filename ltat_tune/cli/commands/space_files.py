"""The commands `init` and `schema`, which write a first space file and a JSON schema."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from ltat_tune.cli import options, words
from ltat_tune.cli.complete import DATA, METHOD_NAMES

_QUESTIONS = {
    "data": "Data set, or a folder or file of images",
    "methods": "Methods, comma-separated",
    "ratios": "Imbalance ratios, comma-separated",
    "budget": "Budget, such as 6h (empty: none)",
}


@click.command(
    short_help="Print a JSON schema of space files, for editors.",
    epilog="\b\nExample:\n  ltat-tune schema > space.schema.json\n\n\b\n"
    "To use the schema, begin a space file with this line:\n"
    "  # yaml-language-server: $schema=space.schema.json",
)
@options.plugins
def schema(plugins: tuple[str, ...]) -> None:
    """Print a JSON schema, with which an editor completes and checks space files.

    The schema covers every key, every parameter and its range. A study checks more rules before
    it starts.
    """
    options.load_given_plugins(plugins)
    from ltat_tune.space.json_schema import space_schema

    click.echo(json.dumps(space_schema(), indent=1, ensure_ascii=False))


@click.command(
    short_help="Write a first space file.",
    epilog="\b\nExamples:\n  ltat-tune init\n"
    "  ltat-tune init --data digits --methods pgd_at,srat --ratios 10,50 --budget 1h\n"
    "  ltat-tune init --data ~/images --methods pgd_at,trades --out mine.yaml",
)
@click.option(
    "--data",
    metavar="NAME",
    shell_complete=DATA,
    help="Data set, a folder with train/ and test/, or an .npz or CSV file.",
)
@words.listed_text("--methods", metavar="NAME", complete=METHOD_NAMES, help="Methods to compare.")
@words.listed_text("--ratios", metavar="RATIO", help="Imbalance ratios; each has its own search.")
@click.option("--budget", metavar="6h|40gpuh|500epochs", help="Limit of the study.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path),
    help="File to write  [default: <data>.yaml in this folder].",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def init(
    data: str | None,
    methods: str | None,
    ratios: str | None,
    budget: str | None,
    out: Path | None,
    overwrite: bool,
) -> None:
    """Write a commented space file that is checked and ready to run.

    On a terminal, init asks for every value that no option gives. Elsewhere, init uses defaults
    and prints them.
    """
    from ltat_tune.space.template import FirstQuestion, file_for, write_template

    written = {"data": data, "methods": methods, "ratios": ratios, "budget": budget}
    answers, problems = _answers(written)
    file = out or (file_for(answers["data"]) if "data" in answers else None)
    if file is not None and file.exists() and not overwrite:
        problems.append(
            f"{file} already exists; write another file with --out FILE, or replace it with "
            "--overwrite"
        )
    if problems or file is None:
        from ltat_tune.errors import SpaceError

        raise SpaceError(problems)
    _write(file, write_template(FirstQuestion(**answers), file))
    click.echo(f"wrote {file}\n\nnext:\n  ltat-tune run {file} --dry-run   # check it\n"
               f"  ltat-tune run {file}")  # fmt: skip


def is_terminal() -> bool:
    """Return whether stdin and stderr are a terminal, so that init can ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _answers(written: dict[str, str | None]) -> tuple[dict[str, Any], list[str]]:
    """Return the answers by name, from options, questions and defaults; and every problem."""
    from ltat_tune.space.template import READERS, usual_answers

    asks = is_terminal()
    answers: dict[str, Any] = {}
    problems: list[str] = []
    for name, text in written.items():
        usual = {"data": "digits", **usual_answers(answers.get("data", ""))}[name]
        if text is None and asks:
            answers[name] = _ask(name, usual)
            continue
        if text is None and usual:
            click.echo(f"note: --{name} was not given; using {usual}", err=True)
        try:
            answers[name] = READERS[name](usual if text is None else text)
        except ValueError as error:
            problems.append(f"--{name} {error}")
    return answers, problems


def _ask(name: str, usual: str) -> Any:
    from ltat_tune.space.template import READERS

    def read(text: str) -> Any:
        try:
            return READERS[name](text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return click.prompt(
        _QUESTIONS[name], default=usual, value_proc=read, err=True, show_default=bool(usual)
    )


def _write(file: Path, text: str) -> None:
    """Check a space file as a study would, then write it.

    Raises:
        SpaceError: the answers do not go together, or the file cannot be written.
    """
    import tempfile

    from ltat_tune.errors import SpaceError
    from ltat_tune.files import write_text
    from ltat_tune.preflight.load import load_space

    with tempfile.TemporaryDirectory(prefix="ltat-tune-") as folder:
        draft = Path(folder) / file.name
        draft.write_text(text, encoding="utf-8")
        try:
            load_space(draft, check_machine=False)
        except SpaceError as error:
            problems = [problem.replace(str(draft), str(file)) for problem in error.problems]
            raise SpaceError(problems) from None
    try:
        write_text(file, text)
    except OSError as error:
        raise SpaceError(f"{file}: cannot be written: {error.strerror}") from None
