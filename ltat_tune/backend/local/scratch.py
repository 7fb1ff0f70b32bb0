"""The private folder of a study's own Ray: short, of its owner only, locked while used."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ltat_tune.errors import StudyError

PREFIX = "ltat-ray-"
_LOCK = "lock"
_SOCKET_BYTES = 107  # the longest path of a Unix socket
# what Ray puts behind its folder: session_<date>_<time>_<number>_<process>/sockets/plasma_store
_RAY_BYTES = 66


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make the folder that is given to Ray, which Ray opens to all, inside a private one.

    Raises:
        StudyError: no place for temporary files is short enough and writable.
    """
    private = _make()
    lock = os.open(private / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        given = private / "r"
        given.mkdir()
        yield given
    finally:
        shutil.rmtree(private, ignore_errors=True)
        os.close(lock)


def _make() -> Path:
    first = tempfile.gettempdir()
    tried = []
    for place in dict.fromkeys((first, "/tmp", "/var/tmp", "/dev/shm")):
        length = len(os.fsencode(place)) + len(f"/{PREFIX}12345678/r/") + _RAY_BYTES
        if length > _SOCKET_BYTES:
            tried.append(f"{place} is too long for Ray's sockets")
            continue
        try:
            return Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        except OSError as error:
            tried.append(f"{place}: {error.strerror}")
    raise StudyError(
        f"Ray finds no place for its files ({'; '.join(tried)}); set TMPDIR to a folder with a "
        "short name that you may write"
    )


def remove_abandoned() -> None:
    """Delete the folders of drivers that were killed: nobody holds their locks any more.

    Process ids would not tell: a container or another machine that shares the folder has its own.
    """
    for place in {tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"}:
        for private in Path(place).glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                lock = os.open(private / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(private, ignore_errors=True)
                finally:
                    os.close(lock)
