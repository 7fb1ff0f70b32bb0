"""Follows a study's folder: MLflow keeps absolute addresses of files, and people move folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ltat_tune.tracking.store import ARTIFACTS, SERVERS, sqlite_file

if TYPE_CHECKING:
    import sqlalchemy

# every column of MLflow's tables that holds the address of a file
_ADDRESSES = (
    ("experiments", "artifact_location"), ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"), ("model_versions", "source"),
    ("model_versions", "storage_location"),
)  # fmt: skip
_STUDY_TAG = "ltat.study"


def follow(uri: str, before: Path | None, after: Path, *, uid: str | None = None) -> bool:
    """Let a store's addresses of files below `before` point below `after`.

    Args:
        uri: the store; a server keeps files itself, so nothing is done to one.
        before: where the study was; None asks the store, which must be the study's own.
        after: where it is now.
        uid: the new id of a copy whose store is its own; None keeps the ids.

    Returns:
        Whether the store was changed.

    Raises:
        OSError, sqlalchemy.exc.SQLAlchemyError: the store cannot be written.
    """
    file = sqlite_file(uri)
    if uri.startswith(SERVERS) or (file is not None and not file.exists()):
        return False
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    try:
        with engine.begin() as connection:
            present = sqlalchemy.inspect(connection)
            tables = {name: {c["name"] for c in present.get_columns(name)}
                      for name in present.get_table_names()}  # fmt: skip
            if "experiments" not in tables:
                return False
            old = _place_of(connection) if before is None else before.as_uri()
            changed = _replace(connection, tables, f"{old}/", f"{after.as_uri()}/") if old else 0
            if uid is not None:
                statement = "UPDATE tags SET value = :uid WHERE key = :key AND value <> :uid"
                values = {"uid": uid, "key": _STUDY_TAG}
                changed += connection.execute(sqlalchemy.text(statement), values).rowcount
            return bool(changed)
    finally:
        engine.dispose()


def _place_of(connection: sqlalchemy.Connection) -> str:
    """Return the address of the folder that a study's own store was made in; empty if unknown."""
    import sqlalchemy

    rows = connection.execute(sqlalchemy.text("SELECT artifact_location FROM experiments"))
    suffix = f"/{ARTIFACTS}"
    found = [str(place).removesuffix(suffix) for (place,) in rows if str(place).endswith(suffix)]
    return found[0] if len(set(found)) == 1 else ""


def _replace(
    connection: sqlalchemy.Connection, tables: dict[str, set[str]], old: str, new: str
) -> int:
    import sqlalchemy

    if old == new:
        return 0
    changed = 0
    for table, column in _ADDRESSES:
        if column in tables.get(table, ()):
            statement = (
                f"UPDATE {table} SET {column} = :new || substr({column}, :rest) "
                f"WHERE substr({column}, 1, :length) = :old"
            )
            values = {"new": new, "old": old, "length": len(old), "rest": len(old) + 1}
            changed += connection.execute(sqlalchemy.text(statement), values).rowcount
    return changed
