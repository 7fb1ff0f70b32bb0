"""TODO files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Writes beside `path`, syncs and renames, so a reader finds all of it or none of it.

    Args:
        path: the file.
        text: all of its content.
        mode: of the file from its first moment; the umask is taken off.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any, *, mode: int = 0o666) -> None:
    """As `write_text`, sorted and indented; NaN is refused."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
    write_text(path, text, mode=mode)


def read_json(path: Path) -> Any:
    """The file's content, or None if it is not there."""
    return json.loads(path.read_text()) if path.exists() else None
