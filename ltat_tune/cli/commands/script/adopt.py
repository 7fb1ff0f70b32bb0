"""The command `adopt`, which writes a space file for a training script."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click


@click.command(
    short_help="Write a space file that runs your own training script.",
    epilog="\b\nExample:\n  ltat-tune adopt train.py\n  ltat-tune run train.yaml --dry-run",
)
@click.argument(
    "script", metavar="SCRIPT", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path),
    help="File to write  [default: beside SCRIPT, with its name].",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def adopt(script: Path, out: Path | None, overwrite: bool) -> None:
    """Read the argparse definitions of SCRIPT, without running it, and write a space file.

    The file has the command, the parameters with types and defaults, and lines marked CHECK for
    what no definition tells.
    """
    from ltat_tune.errors import SpaceError
    from ltat_tune.files import write_text
    from ltat_tune.space.script.adopt import read_arguments, space_file

    file = out or script.with_suffix(".yaml")
    if file.exists() and not overwrite:
        raise SpaceError(
            f"{file} already exists; write another file with --out FILE, or replace it with "
            "--overwrite"
        )
    adopted = read_arguments(script)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", file.stem).lstrip("-_.")[:100] or "study"
    text = space_file(script, adopted, name=name)
    if file.parent.absolute() != script.parent.absolute():
        folder = json.dumps(str(script.parent.absolute()), ensure_ascii=False)
        text = text.replace("script:\n", f"script:\n  folder: {folder}\n", 1)
    write_text(file, text)
    click.echo(
        f"wrote {file}: {len(adopted.words)} options in the command, "
        f"{len(adopted.parameters)} parameters of the script's own"
    )
    for sentence in adopted.unsure:
        click.echo(f"note: {sentence}", err=True)
    click.echo("\nnext: fill in the lines marked CHECK, then")
    click.echo(f"  ltat-tune run {file} --dry-run")
