"""The commands `rm` and `gc`, which delete files after asking."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltat_tune.cli import options
from ltat_tune.cli.complete import STUDY

if TYPE_CHECKING:
    from ltat_tune.storage.cleanup import Waste
    from ltat_tune.storage.folder import StudyFolder


_yes = click.option("--yes", "-y", is_flag=True, help="Delete without asking.")


@click.command(
    short_help="Delete a study, or all of it but the best.",
    epilog="\b\nExamples:\n  ltat-tune rm quickstart --keep-best\n  ltat-tune rm quickstart --yes",
)
@click.argument("name", metavar="STUDY", shell_complete=STUDY)
@options.out
@click.option(
    "--keep-best", is_flag=True,
    help="Keep best/, the winners' checkpoints, results, summary and the record of all trials.",
)  # fmt: skip
@_yes
def rm(name: str, out: Path, keep_best: bool, yes: bool) -> None:
    """Delete a study, after asking. A running study is refused. Other studies stay as they are."""
    from rich.filesize import decimal

    from ltat_tune.results.model import read_results
    from ltat_tune.storage import cleanup

    folder = _to_remove(out, name, keep_best)
    _refuse_running(folder)
    results = read_results(folder) if keep_best else None
    winners = None
    if results is not None:
        winners = {(one.name, one.winner_recipe) for one in results.scenarios}
    items = cleanup.all_but_best(folder, winners) if keep_best else []
    size = sum(item.size for item in items) if keep_best else cleanup.size_of(folder.root)
    what = "everything but the best" if keep_best else "the whole study"
    if keep_best:
        _list(folder.root, items)
    click.echo(f"{folder.root}: {what}, {decimal(size)}", err=True)
    if left := _shared_store(folder):
        click.echo(left, err=True)
    _ask("delete it?", yes)
    if keep_best:
        with folder.locked():
            cleanup.delete(items)
    else:
        cleanup.remove(folder)
    click.echo(f"freed {decimal(size)}")


@click.command(
    short_help="Delete files that are no longer needed.",
    epilog="\b\nExamples:\n  ltat-tune gc --dry-run\n  ltat-tune gc quickstart srat --yes",
)
@click.argument("names", nargs=-1, metavar="[STUDY]...", shell_complete=STUDY)
@options.out
@click.option("--dry-run", is_flag=True, help="List the files, but delete nothing.")
@_yes
@options.format_
def gc(names: tuple[str, ...], out: Path, dry_run: bool, yes: bool, form: str) -> None:
    """Delete files that are no longer needed, after listing them and asking.

    Without STUDY, the command covers all studies. From finished studies it deletes the weights of
    trials that were stopped early or failed, stems, and decoded images, which are made again when
    needed. From all studies that are not running, it deletes files that a dead process left half
    written. Results, winners, confirmations and complete trials stay, so resume, figures and
    evaluate work as before.
    """
    from rich.filesize import decimal

    from ltat_tune.errors import StudyError
    from ltat_tune.storage import cleanup
    from ltat_tune.storage.folder import StudyFolder, list_studies

    if form != "table" and not dry_run:
        raise click.UsageError("--format is for the list of --dry-run")
    folders = [options.find_study(out, name) for name in names]
    for name in () if names else list_studies(out):
        try:
            folders.append(StudyFolder.open(out / name))
        except StudyError as error:
            click.echo(f"{name} is left alone: {error}", err=True)
    studies: list[tuple[StudyFolder, list[Waste]]] = []
    for folder in folders:
        if folder.is_running():
            click.echo(f"{folder.root.name} is running and left alone", err=True)
        else:
            studies.append((folder, cleanup.waste(folder)))
    left_over = [] if names else cleanup.left_over_studies(out)
    if form != "table":
        lists = [*((folder.root.name, items) for folder, items in studies), (out.name, left_over)]
        rows = [{"where": where, "path": str(item.path), "size": item.size, "why": item.why}
                for where, items in lists for item in items]  # fmt: skip
        options.print_rows(rows, form)
        return
    for folder, items in studies:
        _list(folder.root, items)
    _list(out, left_over)
    size = sum(item.size for _, items in studies for item in items) + sum(
        i.size for i in left_over
    )
    if not any(items for _, items in studies) and not left_over:
        click.echo("nothing to delete")
        return
    click.echo(f"{decimal(size)} in all", err=True)
    if dry_run:
        return
    _ask("delete this?", yes)
    freed = cleanup.delete(left_over)
    for folder, items in studies:
        with folder.locked():
            freed += cleanup.delete(items)
    click.echo(f"freed {decimal(freed)}")


def _to_remove(out: Path, name: str, keep_best: bool) -> StudyFolder:
    """Return the study to delete; a broken one can be deleted too, but only as a whole."""
    from ltat_tune.errors import StudyError
    from ltat_tune.storage.folder import StudyFolder

    try:
        return options.find_study(out, name)
    except StudyError as error:
        broken = StudyFolder(out / name)
        if keep_best or not broken.facts.is_file():
            raise
        click.echo(f"note: {error}", err=True)
        return broken


def _refuse_running(folder: StudyFolder) -> None:
    if folder.is_running():
        with folder.locked():  # raises, and says by whom
            pass


def _ask(question: str, yes: bool) -> None:
    if not yes:
        click.confirm(question, abort=True, err=True)


def _list(root: Path, items: Sequence[Waste]) -> None:
    """List what would be deleted, by its purpose."""
    from rich.filesize import decimal

    kinds: dict[str, list[Waste]] = defaultdict(list)
    for item in items:
        kinds[item.why].append(item)
    for why, some in kinds.items():
        count = f"{len(some)} files or folders, " if len(some) > 1 else ""
        first = some[0].path.relative_to(root)
        example = f" ({first}{', ...' if len(some) > 1 else ''})"
        size = decimal(sum(item.size for item in some))
        click.echo(f"{root.name}: {why}: {count}{size}{example}")


def _shared_store(folder: StudyFolder) -> str:
    """Return a warning that runs stay in a shared store; empty if the store is the study's own."""
    from ltat_tune.errors import StudyError
    from ltat_tune.storage.cleanup import own_store
    from ltat_tune.storage.identity import store_of
    from ltat_tune.tracking.store import public_uri

    try:
        store = store_of(folder)
    except StudyError:
        return ""
    if folder.read_facts().get("tracking_uri") is None or own_store(folder):
        return ""
    return (
        f"its runs stay in {public_uri(store.uri)}, experiment {store.experiment}, which others "
        "may use; delete them there: mlflow experiments delete"
    )
