"""Tells why a worker process died, as far as it or the kernel tells it.

Ray only says that the connection broke. So a worker writes what it still can: the signal of a
crash, and the status of an exit. The kernel counts the processes that it kills for memory.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

LAST_WORDS = "last-words.txt"
_CRASHES = {
    "Segmentation fault": "SIGSEGV", "Aborted": "SIGABRT", "Bus error": "SIGBUS",
    "Floating-point exception": "SIGFPE", "Floating point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
}  # fmt: skip
_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))


@contextlib.contextmanager
def last_words(folder: Path) -> Iterator[None]:
    """Let this process leave word in a task's folder if it dies meanwhile."""
    path, usual = folder / LAST_WORDS, os._exit
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(path, "w")
    except OSError:  # what is wrong with the folder, the task itself says
        yield
        return

    def leave(status: int) -> NoReturn:
        with contextlib.suppress(OSError, ValueError):
            file.write(f"exit {status}\n")
            file.flush()
        usual(status)

    with file:
        file.write(f"killed by the kernel {memory_kills()}\n")
        file.flush()
        faulthandler.enable(file, all_threads=False)
        os._exit = leave
        try:
            yield
        finally:
            os._exit = usual
            faulthandler.disable()
            path.unlink(missing_ok=True)


def cause_of_death(folder: Path, kills: Callable[[], int] | None = None) -> str:
    """Return how the last worker in a task's folder died, in words.

    Args:
        folder: the task's folder.
        kills: counts the kernel's kills for memory; by default `memory_kills`.
    """
    try:
        said = (folder / LAST_WORDS).read_text(errors="replace")
    except OSError:
        return "it left no word: out of memory, or killed"
    for crash, name in _CRASHES.items():
        if f"Fatal Python error: {crash}" in said:
            return f"it crashed with {name}"
    if status := re.search(r"^exit (-?\d+)$", said, re.MULTILINE):
        return f"it ended itself with exit status {status[1]}"
    before = re.search(r"^killed by the kernel (\d+)$", said, re.MULTILINE)
    if before and (kills or memory_kills)() > int(before[1]):
        return "the kernel killed it, because memory ran out"
    return "it was killed (SIGKILL), and the kernel counts no kill for memory since it began"


def memory_kills() -> int:
    """Return how many processes the kernel has killed for memory, here; 0 if it does not tell."""
    for path in _COUNTERS:
        with contextlib.suppress(OSError):
            if found := re.search(r"^oom_kill (\d+)$", path.read_text(), re.MULTILINE):
                return int(found[1])
    return 0
