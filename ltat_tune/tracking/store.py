"""One connection to an MLflow store, and what is added to runs of ended studies."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ltat_tune.errors import StudyError

if TYPE_CHECKING:
    from mlflow import MlflowClient


_DRIVERS = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary"}
_LOCK = 7061746  # any number that no other program locks
_SECRET_OPTION = re.compile(
    r"([?&])([^=&]*(?:password|passwd|pwd|secret|token|key))=([^&]*)", re.IGNORECASE
)


def tracking_uri(uri: str | None, folder: Path) -> str:
    """Where a study in `folder` is tracked: as asked, else in a SQLite file beside it."""
    return uri or f"sqlite:///{(folder / 'mlflow.db').resolve()}"


def attach(
    uri: str, name: str, uid: str, key: str, metrics: Mapping[str, float], files: Mapping[str, str]
) -> bool:
    """Adds numbers and files (name -> text) to one run of an ended study; False without the run.

    Raises:
        StudyError: the store does not answer.
    """
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    rows = [Metric(metric, value, now, 0) for metric, value in metrics.items()]

    def add(client: MlflowClient, run_id: str) -> None:
        for first in range(0, len(rows), 1000):
            client.log_batch(run_id, metrics=rows[first : first + 1000])
        for file, content in files.items():
            client.log_text(run_id, content, file)

    return _to_runs(uri, name, uid, key, add)


def attach_files(uri: str, name: str, uid: str, files: Iterable[Path], place: str) -> bool:
    """Adds files to the run of the study itself, under `place`; False without the run.

    Raises:
        StudyError: the store does not answer.
    """

    def add(client: MlflowClient, run_id: str) -> None:
        for path in files:
            client.log_artifact(run_id, str(path), place)

    return _to_runs(uri, name, uid, "study", add)


def experiment_id(uri: str, name: str) -> str:
    """MLflow's number of a study.

    Raises:
        StudyError: the store does not answer, or does not have it yet.
    """
    try:
        found = connect(uri).get_experiment_by_name(name)
    except Exception as error:  # any store, any driver; the cause may name the password
        raise StudyError(f"{public_uri(uri)}: {reason(error, uri)}") from None
    if found is None:
        raise StudyError(f"{public_uri(uri)} has no experiment {name}; has the study started?")
    return str(found.experiment_id)


def _to_runs(
    uri: str, name: str, uid: str, key: str, add: Callable[[MlflowClient, str], None]
) -> bool:
    """Calls `add` with every run of this key in an ended study; False if there is none."""
    try:
        client = connect(uri)
        experiment = client.get_experiment_by_name(name)
        text = f"tags.`ltat.study` = '{uid}' and tags.`ltat.key` = '{key}'"
        found = client.search_runs([experiment.experiment_id], text) if experiment else []
        for run in found:
            add(client, run.info.run_id)
    except Exception as error:  # any store, any driver
        # not chained: the cause may name the password, and --debug would show it
        raise StudyError(f"{public_uri(uri)}: {reason(error, uri)}") from None
    return bool(found)


def connect(uri: str) -> MlflowClient:
    """A quiet client of a store that has its tables.

    What fails is said once, by the caller, and tried again by the caller alone: a client that
    repeats a request by itself makes a run twice if only the answer was lost.

    Raises:
        Exception: the store cannot be reached or made; of any driver.
    """
    for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        os.environ.setdefault(name, "true")
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")  # seconds
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")  # seconds
    # else every ended run prints its address, password included, between the results
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    for noisy in ("mlflow", "alembic", "mlflow.store.db.utils", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    from mlflow import MlflowClient

    client: MlflowClient
    with _first(uri):
        client = MlflowClient(tracking_uri=uri)
    return client


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


@contextlib.contextmanager
def _first(uri: str) -> Iterator[None]:
    """One process at a time makes the tables of a database; two at once would break each other.

    A SQLite file is locked by its folder, PostgreSQL by an advisory lock, other databases not at
    all. A database that cannot be reached is told from one connection, not after MLflow's ten.
    """
    path = sqlite_file(uri)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            if not path.exists():
                _make(path)
            yield
        finally:
            os.close(handle)
    elif uri.partition("://")[0].partition("+")[0] in ("postgresql", "mysql", "mssql"):
        import sqlalchemy

        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":  # held to the end of this transaction
                connection.execute(sqlalchemy.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            yield
    else:
        yield


def _make(path: Path) -> None:
    """Makes a SQLite store under another name.

    MLflow never gets over a file with half of its tables, which a kill leaves otherwise.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    half = path.with_name(f".{path.name}.half")
    for left in (half, half.with_name(f"{half.name}-journal")):
        left.unlink(missing_ok=True)
    store = SqlAlchemyStore(f"sqlite:///{half}", "./mlruns")  # type: ignore[no-untyped-call]
    store.engine.dispose()
    half.rename(path)


def reason(error: Exception, uri: str) -> str:
    """What went wrong in one line, without the page that follows it and without passwords."""
    if isinstance(error, ModuleNotFoundError) and error.name in _DRIVERS:
        return f"PostgreSQL's driver is missing; try `pip install '{_DRIVERS[error.name]}'`"
    text = str(error)
    known_reasons = ("Connection refused", "Name or service not known", "timed out",
                     "Remote end closed connection")  # fmt: skip
    for known in known_reasons:
        if known in text:
            return known.lower()
    return hidden(text.splitlines()[0] if text else type(error).__name__, uri)


def hidden(text: str, uri: str) -> str:
    """The text without the user, the password and the secret options of `uri`."""
    text = text.replace(uri, public_uri(uri))
    login = uri.partition("://")[2].rpartition("@")[0]
    if login:
        text = text.replace(f"{login}@", "")
    secrets = [login.partition(":")[2], *(found[2] for found in _SECRET_OPTION.findall(uri))]
    for form in [form for secret in secrets for form in (secret, unquote(secret)) if form]:
        text = text.replace(form, "***")
    return text


def public_uri(uri: str) -> str:
    """The URI without user, password and secret options, as it may be printed."""
    scheme, separator, rest = uri.partition("://")
    if scheme.startswith("sqlite") or scheme == "file":
        return uri
    rest = _SECRET_OPTION.sub(r"\1\2=***", rest)
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
