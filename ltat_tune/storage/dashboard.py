"""Serves optuna-dashboard over a study's ledger: live, and unable to write to it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
from optuna.storages.journal import JournalFileBackend

from ltat_tune.errors import StudyError
from ltat_tune.storage.folder import StudyFolder

_HOST = "127.0.0.1"
_METRIC_NAMES = "study:metric_names"  # Optuna's own attribute


class _ReadOnly(JournalFileBackend):
    """A journal that can be followed while its study writes it, but not written."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise optuna.exceptions.StorageInternalError(
            "this page only reads the study; nothing was changed"
        )


class _Named(optuna.storages.JournalStorage):
    """A storage with the objectives' names, which the ledger does not have."""

    def __init__(self, backend: JournalFileBackend, metrics: Sequence[str]) -> None:
        super().__init__(backend)
        self._metrics = list(metrics)

    def get_all_studies(self) -> list[Any]:
        studies = super().get_all_studies()
        for study in studies:
            study.system_attrs[_METRIC_NAMES] = self._metrics
        return studies


class _Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: only the address is printed."""


@contextlib.contextmanager
def dashboard(folder: StudyFolder, metrics: Sequence[str], port: int) -> Iterator[str]:
    """Serve the dashboard on loopback. Yields its address.

    Args:
        folder: the study.
        metrics: names of its objectives, the first objective's first.
        port: port to listen on; 0 is any free one.

    Raises:
        StudyError: the extra dashboard is not installed, or there is no ledger yet.
    """
    try:
        from optuna_dashboard import wsgi
    except ModuleNotFoundError:
        raise StudyError(
            "Optuna's dashboard is not installed: pip install 'ltat-tune[dashboard]'"
        ) from None
    if not folder.ledger.exists():
        raise StudyError(f"no trials in {folder.root.name} yet; {folder.resume_command} starts it")
    server = make_server(
        _HOST, port, wsgi(open_read_only(folder.ledger, metrics)), handler_class=_Quiet,
        server_class=_Threaded,
    )  # fmt: skip
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{_HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def open_read_only(ledger: Path, metrics: Sequence[str]) -> optuna.storages.JournalStorage:
    """Return Optuna's view of a journal, which is always up to date; writing to it raises."""
    return _Named(_ReadOnly(str(ledger)), metrics)
