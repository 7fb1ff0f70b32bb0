"""Whether an MLflow store answers and has the tables of this MLflow; it is only read."""

from __future__ import annotations

import importlib.util
import re
import sqlite3
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path

from ltat_tune.errors import StudyError
from ltat_tune.tracking.store import public_uri, reason

_WAIT_S = 5.0
_REVISION = re.compile(r"""^(down_)?revision\s*=\s*["'](\w+)["']""", re.MULTILINE)


def schema_of(uri: str) -> str:
    """The revision of the tables in a database, `server` of a server that answers, or `` of a
    SQLite file that is not there or has no tables yet.

    Raises:
        StudyError: it does not answer.
    """
    try:
        if uri.startswith("sqlite:///"):
            return _of_file(Path(uri.removeprefix("sqlite:///").partition("?")[0]))
        if uri.startswith(("http:", "https:")):
            _ask_server(uri)
            return "server"
        return _of_database(uri)
    except Exception as error:  # any store, any driver
        # not chained: the cause may name the password
        raise StudyError(f"{public_uri(uri)}: {reason(error, uri)}") from None


@cache
def revisions() -> tuple[frozenset[str], str]:
    """Every revision that the installed MLflow knows, and its latest; read from its migrations."""
    found = importlib.util.find_spec("mlflow")
    if found is None or not found.submodule_search_locations:
        return frozenset(), ""
    place = Path(found.submodule_search_locations[0]) / "store" / "db_migrations" / "versions"
    known: set[str] = set()
    before: set[str] = set()
    for file in place.glob("*.py"):
        for down, revision in _REVISION.findall(file.read_text(encoding="utf-8")):
            (before if down else known).add(revision)
    last = sorted(known - before)
    return frozenset(known), last[0] if len(last) == 1 else ""


def _of_file(path: Path) -> str:
    if not path.exists():
        return ""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=_WAIT_S)
    try:
        rows = connection.execute(
            "select name from sqlite_master where name = 'alembic_version'"
        ).fetchall()
        if not rows:
            return ""
        found = connection.execute("select version_num from alembic_version").fetchone()
        return str(found[0]) if found else ""
    finally:
        connection.close()


def _ask_server(uri: str) -> None:
    """A server that wants a login answers too; the login itself is not tried."""
    scheme, _, rest = uri.partition("://")
    address = f"{scheme}://{rest.rpartition('@')[2].rstrip('/')}/health"
    try:
        with urllib.request.urlopen(address, timeout=_WAIT_S) as answer:
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
            row = connection.execute(sqlalchemy.text("select version_num from alembic_version"))
            found = row.fetchone()
            return str(found[0]) if found else ""
    finally:
        engine.dispose()
