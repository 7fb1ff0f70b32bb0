"""Shows that a training or an attack goes on, for whoever watches it from outside."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

HEARTBEAT = "heartbeat"  # file in the folder of a task; its time says when
_EVERY_S = 1.0
_target: list[Path] = []
_last = [0.0]


def beat() -> None:
    """Note that the work goes on, at most once a second; does nothing where nobody watches."""
    now = time.monotonic()
    if not _target or now - _last[0] < _EVERY_S:
        return
    _last[0] = now
    with contextlib.suppress(OSError):  # a full disk stops the training elsewhere
        _target[-1].write_text(f"{now:.0f}")


def beating_at_calls(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function, which beats at each call; for a model that a library attacks."""

    def called(*arguments: P.args, **options: P.kwargs) -> R:
        beat()
        return function(*arguments, **options)

    return called


@contextlib.contextmanager
def beating(folder: Path) -> Iterator[None]:
    """Let `beat` write into the folder of a task, and delete the file at the end."""
    path = folder / HEARTBEAT
    _target.append(path)
    try:
        yield
    finally:
        _target.pop()
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def last_beat(folder: Path) -> int:
    """Return when a task's file was last written, by its own clock; 0 if there is none."""
    try:
        return (folder / HEARTBEAT).stat().st_mtime_ns
    except OSError:
        return 0
