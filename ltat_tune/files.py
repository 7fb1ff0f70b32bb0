"""The one way to write a file: beside its place, then renamed to it; and JSON files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_LARGEST_TEXT = 16 << 20  # bytes
_BESIDE = re.compile(r"\..+\.(\d+)")  # what `beside` makes


def beside(path: Path) -> Path:
    """Return where this process keeps `path` until it is whole: `.name.PROCESS`."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def is_left_over(path: Path) -> bool:
    """Return whether `path` was left half written or half deleted, where nobody else writes now.

    The process id in its name says nothing: another machine or container has its own. Who asks
    must hold the lock of what lies around the file.
    """
    match = _BESIDE.fullmatch(path.name)
    return match is not None and int(match[1]) != os.getpid()


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield the path to write to; it becomes `path` at the end, and is deleted after an error.

    A reader of `path` finds all of the new content or all of the old.

    Args:
        path: the file; its folder is made.
        sync: put the content on the disk before the name. Without, a power cut may tear the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(path)
    try:
        yield temporary
        if sync:
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, mode: int = 0o666, sync: bool = True) -> None:
    """Write a file by `replacing`, with `mode` less the umask from its first moment."""
    with replacing(path, sync=sync) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with open(descriptor, "wb") as file:
            file.write(content)


def write_text(path: Path, text: str, *, mode: int = 0o666, sync: bool = True) -> None:
    """Write a text in UTF-8 as `write_bytes` does."""
    write_bytes(path, text.encode(), mode=mode, sync=sync)


def write_json(
    path: Path, value: Any, *, mode: int = 0o666, sync: bool = True, is_sorted: bool = True
) -> None:
    """Write a value as `write_bytes` does, sorted and indented; NaN is refused."""
    text = json.dumps(value, indent=2, sort_keys=is_sorted, allow_nan=False) + "\n"
    write_text(path, text, mode=mode, sync=sync)


class HashedFile:
    """A file that hashes what is written to it.

    Attributes:
        digest: SHA-256 of all bytes so far.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, content: Any) -> int:
        """Write and hash bytes; return their number."""
        self.digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()


def copy_file(source: Path, target: Path) -> None:
    """Copy the content of a file by `replacing`, without a sync."""
    with replacing(target, sync=False) as temporary:
        shutil.copyfile(source, temporary)


def read_file(path: Path, size: int = -1) -> bytes:
    """Return the first `size` bytes of a regular file, or all: a pipe could have no end.

    Raises:
        OSError: it is not there, is another kind of file, or cannot be read.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # reading a folder fails by itself
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, not a file", str(path))
    with open(path, "rb") as file:
        return file.read(size)


def read_text_file(path: Path) -> str:
    """Return the text of a file that people write.

    Raises:
        OSError: as `read_file`, or it is larger than such a file ever is.
        UnicodeDecodeError: it is not UTF-8.
    """
    content = read_file(path, _LARGEST_TEXT + 1)
    if len(content) > _LARGEST_TEXT:
        largest = f"it is larger than {_LARGEST_TEXT >> 20} MiB"
        raise OSError(errno.EFBIG, largest, str(path))
    return content.decode()


def read_json(path: Path) -> Any:
    """Return the file's content, or None if it is not there."""
    return json.loads(path.read_text()) if path.exists() else None
