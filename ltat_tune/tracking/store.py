"""Connects to an MLflow store, and adds results to the runs of ended studies."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ltat_tune.errors import StudyError
from ltat_tune.tracking.loopback import is_loopback, without_proxy

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run


ARTIFACTS = "mlflow-artifacts"  # folder of the files of a store without a server
SERVERS = ("http:", "https:", "databricks")  # they store files themselves
_DRIVERS = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary"}
_BUILT_ON = (
    "mlflow", "alembic", "sqlalchemy", "pydantic", "google", "graphene", "flask", "fastapi",
    "starlette", "opentelemetry", "databricks", "psycopg",
)  # fmt: skip
_LOCK = 7061746  # an arbitrary number that no other program is likely to lock
_SECRET_OPTION = re.compile(
    r"([?&])([^=&]*(?:password|passwd|pwd|secret|token|key))=([^&]*)", re.IGNORECASE
)


def tracking_uri(uri: str | None, folder: Path) -> str:
    """Return the store of a study: `uri`, or else a SQLite file in the study's `folder`."""
    return uri or sqlite_uri((folder / "mlflow.db").resolve())


def sqlite_uri(path: Path) -> str:
    """Return the URI of a SQLite file; `sqlite_file` turns it back into the path."""
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"


_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")


def check_uri(uri: str) -> None:
    """Raise StudyError unless MLflow can keep a study at the address."""
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme not in _SCHEMES or ("://" not in uri and scheme != "databricks"):
        raise StudyError(
            f"the MLflow store must be a server (http://...) or a database (sqlite:///FILE, "
            f"postgresql://...), got {public_uri(uri)}; correct --tracking-uri or "
            "MLFLOW_TRACKING_URI"
        )


def lasting_uri(uri: str | None, folder: Path) -> str | None:
    """Return a store's address as a study keeps it: absolute; None is the study's own file."""
    path = None if uri is None else sqlite_file(uri)
    if uri is None or path is None:
        return uri
    # absolute: a resume from another folder would create a second store
    path = path.expanduser().resolve()
    options = uri.partition("?")[1] + uri.partition("?")[2]
    own = path == folder.resolve() / "mlflow.db" and not options
    return None if own else sqlite_uri(path) + options


def store_remedy(uri: str, folder: Path) -> str:
    """Return what to do about a store that cannot be used by the study in `folder`."""
    if sqlite_file(uri) == folder.resolve() / "mlflow.db":
        return f"`ltat-tune doctor {folder} --mend` lets a resume write it anew"
    return "start it, or name another with --tracking-uri"


def find_experiment(client: MlflowClient, name: str, uid: str) -> Experiment | None:
    """Return the experiment that has the runs of a study, by the study's id; None if none has.

    Args:
        client: of the store.
        name: the experiment's usual name.
        uid: id of the study.
    """
    text = f"tags.`ltat.study` = '{uid}'"
    named = client.get_experiment_by_name(name)
    if named is not None and client.search_runs([named.experiment_id], text, max_results=1):
        return named
    ids = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(ids, text, max_results=1) if ids else []
    return client.get_experiment(runs[0].info.experiment_id) if runs else None


def attach(
    uri: str, name: str, uid: str, key: str, metrics: Mapping[str, float], files: Mapping[str, str]
) -> bool:
    """Add metrics and files (text by name) to one run of an ended study.

    Returns:
        Whether the store has the run.

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
    """Add files to the study's own run, under `place`.

    Returns:
        Whether the store has the run.

    Raises:
        StudyError: the store does not answer.
    """

    def add(client: MlflowClient, run_id: str) -> None:
        for path in files:
            client.log_artifact(run_id, str(path), place)

    return _to_runs(uri, name, uid, "study", add)


def experiment_id(uri: str, name: str, uid: str) -> str:
    """Return the id of a study's experiment in MLflow.

    Raises:
        StudyError: the store does not answer, or does not have the study yet.
    """
    try:
        experiment = find_experiment(connect(uri), name, uid)
    except Exception as error:  # of any store or driver; not chained, as it may hold a password
        raise StudyError(f"{public_uri(uri)}: {reason(error, uri)}") from None
    if experiment is None:
        raise StudyError(f"{public_uri(uri)} has no runs of study {name} ({uid}) yet")
    return str(experiment.experiment_id)


def run_states(uri: str, name: str, uid: str) -> dict[str, tuple[str, int]]:
    """Return the MLflow status and the number of runs of every key of a study.

    Raises:
        StudyError: the store does not answer, or is damaged.
    """
    states: dict[str, tuple[str, int]] = {}
    try:
        client = connect(uri)
        experiment = find_experiment(client, name, uid)
        for run in runs_with(client, experiment, f"tags.`ltat.study` = '{uid}'"):
            key = run.data.tags["ltat.key"]
            states[key] = run.info.status, states.get(key, ("", 0))[1] + 1
    except Exception as error:  # of any store or driver; not chained, as it may hold a password
        raise StudyError(f"{public_uri(uri)}: {reason(error, uri)}") from None
    return states


def runs_with(client: MlflowClient, experiment: Experiment | None, text: str) -> Iterator[Run]:
    """Yield every run of an experiment that a filter names; none if there is no experiment."""
    token: str | None = ""
    while experiment is not None and token is not None:
        page = client.search_runs(
            [experiment.experiment_id], text, max_results=1000, page_token=token or None
        )
        yield from page
        token = page.token or None


def _to_runs(
    uri: str, name: str, uid: str, key: str, add: Callable[[MlflowClient, str], None]
) -> bool:
    """Call `add` with every run of this key in an ended study. Return whether there is one."""
    try:
        client = connect(uri)
        experiment = find_experiment(client, name, uid)
        text = f"tags.`ltat.study` = '{uid}' and tags.`ltat.key` = '{key}'"
        runs = client.search_runs([experiment.experiment_id], text) if experiment else []
        for run in runs:
            add(client, run.info.run_id)
    except Exception as error:  # of any store or driver
        # Not chained, because the cause may hold the password and --debug would show it.
        raise StudyError(f"{public_uri(uri)}: {reason(error, uri)}") from None
    return bool(runs)


def connect(uri: str) -> MlflowClient:
    """Return a quiet client of a store, and create the store's tables if necessary.

    The client does not repeat failed requests; the caller reports and repeats them. A client that
    repeats a request by itself would create a run twice if only the answer was lost.

    Raises:
        Exception: the store cannot be reached or created. Any driver may raise it.
    """
    for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        os.environ.setdefault(name, "true")
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")  # seconds
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")  # seconds
    # Otherwise every ended run prints its address, including the password, between the results.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    _quieten()
    if is_loopback(uri):
        without_proxy()
    from mlflow import MlflowClient

    _quieten()  # MLflow's import sets its own levels

    client: MlflowClient
    with _first(uri):
        client = MlflowClient(tracking_uri=uri)
        remove_stray(uri)
    return client


def _quieten() -> None:
    """Let MLflow and what it is built on say nothing: their warnings concern their own code.

    With `PYTHONWARNINGS=error`, they would end the writing.
    """
    for noisy in ("mlflow", "alembic", "mlflow.store.db.utils", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    for module in _BUILT_ON:
        warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")


def remove_stray(uri: str) -> None:
    """Delete the empty folders that MLflow makes for a SQLite file whose path is quoted in `uri`.

    SQLAlchemy finds the file by the path itself; MLflow makes folders by the quoted one.
    """
    path, quoted = sqlite_file(uri), Path(uri.removeprefix("sqlite:///").partition("?")[0])
    if path is None or path == quoted:
        return
    with contextlib.suppress(OSError):  # not empty, or not there
        for folder in quoted.parents:
            if folder in path.parents:
                return
            folder.rmdir()


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite store, or None for another store."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0]))


@contextlib.contextmanager
def _first(uri: str) -> Iterator[None]:
    """Let one process at a time create the tables of a database: two would disturb each other.

    A SQLite file is locked by its folder and PostgreSQL by an advisory lock. Other databases are
    not locked. One connection shows that a database cannot be reached; MLflow would try ten times.
    """
    path = sqlite_file(uri)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            if not path.exists():
                make_store(path)
            yield
        finally:
            os.close(handle)
    elif uri.partition("://")[0].partition("+")[0] in ("postgresql", "mysql", "mssql"):
        import sqlalchemy

        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":  # until the transaction ends
                connection.execute(sqlalchemy.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            yield
    else:
        yield


def make_store(path: Path) -> None:
    """Create a SQLite store under a temporary name and rename it.

    A process that is killed would otherwise leave a file with half of the tables, which MLflow
    cannot repair.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    half = path.with_name(f".{path.name}.half")
    for leftover in (half, half.with_name(f"{half.name}-journal")):
        leftover.unlink(missing_ok=True)
    # MLflow's own default depends on the folder in which somebody stands
    place = (path.parent / ARTIFACTS).resolve().as_uri()
    store = SqlAlchemyStore(sqlite_uri(half), place)  # type: ignore[no-untyped-call]
    store.engine.dispose()
    remove_stray(sqlite_uri(half))
    half.rename(path)


def reason(error: Exception, uri: str) -> str:
    """Describe an error in one line, without further pages and without passwords."""
    if isinstance(error, ModuleNotFoundError) and error.name in _DRIVERS:
        return f"PostgreSQL's driver is missing; try `pip install '{_DRIVERS[error.name]}'`"
    text = str(error)
    reasons = ("Connection refused", "Name or service not known", "timed out",
                     "Remote end closed connection")  # fmt: skip
    for phrase in reasons:
        if phrase in text:
            return phrase.lower()
    return hidden(text.splitlines()[0] if text else type(error).__name__, uri)


def hidden(text: str, uri: str) -> str:
    """Return the text without the user, the password and the secret options of `uri`."""
    text = text.replace(uri, public_uri(uri))
    login = uri.partition("://")[2].rpartition("@")[0]
    if login:
        text = text.replace(f"{login}@", "")
    secrets = [login.partition(":")[2], *(option[2] for option in _SECRET_OPTION.findall(uri))]
    for form in [form for secret in secrets for form in (secret, unquote(secret)) if form]:
        text = text.replace(form, "***")
    return text


def public_uri(uri: str) -> str:
    """Return the URI without user, password and secret options, so that it can be printed."""
    scheme, separator, rest = uri.partition("://")
    if scheme.startswith("sqlite") or scheme == "file":
        return uri
    rest = _SECRET_OPTION.sub(r"\1\2=***", rest)
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
