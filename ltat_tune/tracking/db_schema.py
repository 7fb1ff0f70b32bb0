"""Checks whether an MLflow store answers and has the tables of this MLflow. Only reads it."""

from __future__ import annotations

import importlib.util
import re
import sqlite3
import urllib.error
from functools import cache
from pathlib import Path

from ltat_tune.errors import StudyError
from ltat_tune.tracking.loopback import open_url
from ltat_tune.tracking.store import public_uri, reason, sqlite_file

_WAIT_S = 5.0
_REVISION = re.compile(r"""^(down_)?revision\s*=\s*["'](\w+)["']""", re.MULTILINE)


def schema_of(uri: str) -> str:
    """Return the revision of the tables in a store.

    Returns:
        The revision for a database, `server` for a server that answers, or an empty text for a
        SQLite file that does not exist or has no tables yet.

    Raises:
        StudyError: the store does not answer.
    """
    try:
        if (file := sqlite_file(uri)) is not None:
            return _of_file(file)
        if uri.startswith(("http:", "https:")):
            _ask_server(uri)
            return "server"
        return _of_database(uri)
    except Exception as error:  # any store, any driver
        # Not chained, because the cause may contain the password.
        raise StudyError(f"{public_uri(uri)}: {reason(error, uri)}") from None


@cache
def revisions() -> tuple[frozenset[str], str]:
    """Return all revisions of the installed MLflow and its latest one, from its migrations."""
    spec = importlib.util.find_spec("mlflow")
    if spec is None or not spec.submodule_search_locations:
        return frozenset(), ""
    place = Path(spec.submodule_search_locations[0]) / "store" / "db_migrations" / "versions"
    names: set[str] = set()
    predecessors: set[str] = set()
    for file in place.glob("*.py"):
        for down, revision in _REVISION.findall(file.read_text(encoding="utf-8")):
            (predecessors if down else names).add(revision)
    last = sorted(names - predecessors)
    return frozenset(names), last[0] if len(last) == 1 else ""


def _of_file(path: Path) -> str:
    if not path.exists():
        return ""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_WAIT_S)
    try:
        rows = connection.execute(
            "select name from sqlite_master where name = 'alembic_version'"
        ).fetchall()
        if not rows:
            return ""
        revision = connection.execute("select version_num from alembic_version").fetchone()
        return str(revision[0]) if revision else ""
    finally:
        connection.close()


def _ask_server(uri: str) -> None:
    """Check that a server answers. A server that demands a login counts, and none is tried."""
    scheme, _, rest = uri.partition("://")
    address = f"{scheme}://{rest.rpartition('@')[2].rstrip('/')}/health"
    try:
        with open_url(address, _WAIT_S) as answer:
            answer.read(100)
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise


def _of_database(uri: str) -> str:
    import sqlalchemy

    options = {"connect_timeout": int(_WAIT_S)} if uri.startswith("postgresql") else {}
    engine = sqlalchemy.create_engine(uri, connect_args=options)
    try:
        with engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table("alembic_version"):
                return ""
            rows = connection.execute(sqlalchemy.text("select version_num from alembic_version"))
            revision = rows.fetchone()
            return str(revision[0]) if revision else ""
    finally:
        engine.dispose()
