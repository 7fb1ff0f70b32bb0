"""The command `ui`, which serves MLflow's pages or Optuna's dashboard for a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltat_tune.backend.stop_signals import end_by_signals
from ltat_tune.cli import options
from ltat_tune.cli.complete import STUDY

if TYPE_CHECKING:
    from ltat_tune.storage.folder import StudyFolder


_SERVERS = ("http://", "https://")


@click.command(
    short_help="Show a study in the browser.",
    epilog="\b\nExamples:\n  ltat-tune ui\n  ltat-tune ui quickstart --port 5000\n"
    "  ltat-tune ui quickstart --optuna",
)
@click.argument("name", metavar="[STUDY]", required=False, shell_complete=STUDY)
@options.out
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the pages  [default: a free one]."
)
@click.option("--browser/--no-browser", default=True, show_default=True,
              help="Open the page if the machine has a desktop.")  # fmt: skip
@click.option("--optuna", is_flag=True,
              help="Show Optuna's dashboard instead of MLflow; it changes nothing.")  # fmt: skip
@click.pass_context
def ui(
    ctx: click.Context, name: str | None, out: Path, port: int | None, browser: bool, optuna: bool
) -> None:
    """Show STUDY in the browser; without STUDY, show the newest one.

    The command serves the pages to this machine alone until Ctrl-C, also while the study runs. For
    a study on a tracking server, it shows the server's page. Without STUDY, it shows all studies
    if they share a tracking server.
    """
    folders = _all(out) if name is None else [options.find_study(out, name)]
    shared = _shared_server(folders) if len(folders) > 1 and not optuna else None
    if shared is not None:
        _show(f"{shared}/#/experiments", browser)
        return
    folder = max(folders, key=lambda each: str(each.read_facts()["created"]))
    end_by_signals()
    try:
        if optuna:
            _show_dashboard(folder, port, browser)
        else:
            _show_mlflow(folder, port, browser)
    except KeyboardInterrupt:
        click.echo("ended", err=True)
        ctx.exit(0)


def _all(out: Path) -> list[StudyFolder]:
    from ltat_tune.errors import StudyError
    from ltat_tune.storage.folder import StudyFolder, list_studies

    names = list_studies(out)
    if not names:
        raise StudyError(f"no studies in {out}; start one, or name their folder with --out")
    return [StudyFolder.open(out / name) for name in names]


def _shared_server(folders: list[StudyFolder]) -> str | None:
    """Return the address of the tracking server that all studies share, or None."""
    from ltat_tune.tracking.store import public_uri

    uris = {str(folder.read_facts().get("tracking_uri")) for folder in folders}
    if len(uris) > 1 or not next(iter(uris)).startswith(_SERVERS):
        return None
    return public_uri(uris.pop()).rstrip("/")


def _show_mlflow(folder: StudyFolder, port: int | None, browser: bool) -> None:
    from contextlib import suppress

    from ltat_tune.errors import StudyError
    from ltat_tune.storage.identity import settled_store, store_of
    from ltat_tune.tracking.experiment_view import view_address
    from ltat_tune.tracking.store import experiment_id, public_uri
    from ltat_tune.tracking.ui_server import serving

    store = store_of(folder)
    if not store.exists:
        raise StudyError(
            f"{folder.root.name} has no MLflow store yet; start it: {folder.resume_command}"
        )
    with suppress(StudyError):  # a study that nobody may write is shown all the same
        store = settled_store(folder, writes=False)
    page = experiment_id(store.uri, store.experiment, store.uid)
    if store.uri.startswith(_SERVERS):
        _show(view_address(public_uri(store.uri).rstrip("/"), page), browser)
        return
    with serving(store.uri, port) as server:
        _show(view_address(server, page), browser)
        _wait()


def _show_dashboard(folder: StudyFolder, port: int | None, browser: bool) -> None:
    from ltat_tune.engine.study import StudyRun
    from ltat_tune.storage.dashboard import dashboard
    from ltat_tune.tracking.ui_server import check_port

    if port is not None:
        check_port(port)
    metrics = StudyRun.open(folder.root, check_machine=False).space.objective.values
    with dashboard(folder, metrics, port or 0) as address:
        _show(f"{address}/dashboard", browser)
        _wait()


def _show(address: str, browser: bool) -> None:
    import os
    import sys
    import webbrowser

    click.echo(address)
    desktop = sys.platform == "darwin" or os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}
    if browser and desktop:  # without a desktop, the browser might take over this terminal
        webbrowser.open(address)


def _wait() -> None:
    import signal

    click.echo("Ctrl-C ends it", err=True)
    signal.pause()
