"""The command `prepare`, which downloads and checks a data set before a study needs it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from ltat_tune.cli import options


@click.command(
    short_help="Download a data set, or read every image of a folder.",
    epilog="\b\nExamples:\n  ltat-tune prepare cifar10\n"
    "  ltat-tune prepare image_folder --root ~/images --set data.image_size=32\n"
    "  ltat-tune prepare npz --root ~/pathmnist.npz",
)
@click.argument("dataset", metavar="DATASET")
@click.option("--root", help="Folder or file of the data set (sets data.root).")
@click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE",
    help="Set another data.* parameter; may be repeated.",
)  # fmt: skip
@options.quiet
def prepare_command(
    dataset: str, root: str | None, overrides: tuple[str, ...], quiet: bool
) -> None:
    """Download DATASET if it is missing, and read each of its images once.

    If images are missing or cannot be read, the command lists them for every split and exits with
    status 2.
    """
    from ltat_tune.config.trial_config import TrialConfig
    from ltat_tune.data.cache import prepare_cache as check
    from ltat_tune.data.sources import ensure_available, open_source
    from ltat_tune.errors import DataError, SpaceError
    from ltat_tune.space.overrides import apply_overrides

    document: dict[str, dict[str, object]] = {}
    paths, problems = apply_overrides(document, overrides)
    others = sorted(path for path in paths if not path.startswith("data."))
    if problems := [*problems, *(f"--set {path}: prepare reads data.* only" for path in others)]:
        raise SpaceError(problems)
    values = {**document.get("fixed", {}), "data.name": dataset}
    if root is not None:
        values["data.root"] = root
    config = TrialConfig.from_flat(values).data
    ensure_available(config)
    try:
        with tempfile.TemporaryDirectory(prefix="ltat-tune-") as folder:
            notes = check(config, Path(folder))
    except OSError as error:
        where = tempfile.gettempdir()
        if error.filename is not None and not str(error.filename).startswith(where):
            raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error
        raise DataError(
            f"cannot decode into {where} ({error.strerror}); make room, or set TMPDIR"
        ) from error
    if not quiet:
        for note in notes:
            click.echo(f"note: {note}", err=True)
    source = open_source(config)
    counts = source.train_counts()
    click.echo(
        f"{dataset}: every image of {len(source.classes)} classes can be read; "
        f"{sum(counts)} training images, {min(counts)} to {max(counts)} a class"
    )
