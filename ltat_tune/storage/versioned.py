"""JSON files with a version number: typed when they are read, refused when they are too new."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ltat_tune.errors import StudyError
from ltat_tune.files import read_file, write_json

_T = TypeVar("_T")
_KEY = "version"
_BEFORE = 0  # of files of 0.4.0 and before, which have no number


class FileModel(BaseModel):
    """A part of a file that a study leaves; what an older file lacks has a default."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    def as_data(self) -> dict[str, Any]:
        """Return plain data with the file's own keys, without what was never set."""
        return self.model_dump(by_alias=True, exclude_unset=True)


def read_stored(path: Path) -> Any:
    """Return the content of a JSON file that a study left, or None if it is not there.

    Raises:
        StudyError: it cannot be read, or is no JSON; with what to do.
    """
    try:
        text = read_file(path).decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        text = "\0"
    except OSError as error:
        raise StudyError(f"{path} cannot be read: {error.strerror}; {_owner(path)}") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        state = "is empty" if not text.strip() else "is torn or overwritten"
        raise StudyError(
            f"{path} {state}; `ltat-tune doctor {path.parent}` mends what can be made again, "
            "or restore the file from a copy"
        ) from None


def _owner(path: Path) -> str:
    try:
        return f"it belongs to {path.owner()}, who can let others read it: chmod a+r"
    except (OSError, KeyError):  # an unreadable folder, a user without a name
        return "its owner can let others read it: chmod a+r"


def write_versioned(
    path: Path, content: FileModel, version: int, *, is_sorted: bool = True
) -> None:
    """Write the content with its version, whole or not at all."""
    write_json(path, {_KEY: version, **content.as_data()}, is_sorted=is_sorted)


def read_versioned(path: Path, kind: TypeAdapter[_T], version: int) -> _T | None:
    """Return the file's content, or None if it is not there.

    Args:
        path: the file.
        kind: what it holds.
        version: the latest that is known.

    Raises:
        StudyError: the file cannot be read, has a later version, or lacks what such a file has.
    """
    document = read_stored(path)
    if document is None:
        return None
    number = document.pop(_KEY, _BEFORE) if isinstance(document, dict) else _BEFORE
    if number not in range(version + 1):
        raise StudyError(
            f"{path} must have version {version} or an earlier one, got version {number}; read "
            "it with the ltat-tune that wrote it, or a later one"
        )
    return parse(path, kind, document)


_AGAIN = "restore it from a copy, or delete it and resume the study"


def parse(path: Path, kind: TypeAdapter[_T], document: Any, remedy: str = _AGAIN) -> _T:
    """Return the typed content of a file.

    Raises:
        StudyError: it lacks what such a file has, or has something else in its place; with the
            remedy.
    """
    try:
        return kind.validate_python(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        value = json.dumps(first["input"], default=str)[:80]
        raise StudyError(
            f"{path} is not as ltat-tune writes it ({where}: {first['msg']}, got {value}); "
            f"{remedy}"
        ) from error
