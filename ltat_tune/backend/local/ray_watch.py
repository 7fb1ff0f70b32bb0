"""Watches the processes of a study's own Ray: one that was killed takes the study with it."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ltat_tune.backend.ray_internals import family, own_processes

_LOOK_S = 0.5
_LOOKS = 4  # one look at the whole family in so many


@contextlib.contextmanager
def watched_ray(on_death: Callable[[str], None]) -> Iterator[None]:
    """Call `on_death(sentence)` once, from another thread, if a process of Ray ends.

    Without its processes, Tune waits for ever, or Ray ends this process with text of its own. All
    others of Ray are killed first: without their parent, some live on.
    """
    processes = own_processes()
    ended = threading.Event()

    def look() -> None:
        members: list[Any] = []
        for number in itertools.count():
            if ended.wait(_LOOK_S):
                return
            if number % _LOOKS == 0:
                members = family(process.pid for process in processes.values())
            for name, process in processes.items():
                status = process.poll()
                if status is not None and not ended.is_set():
                    how = f"signal {-status}" if status < 0 else f"exit status {status}"
                    _kill(members)
                    on_death(f"Ray's {name} ended ({how}); the study cannot go on without it")
                    return

    thread = threading.Thread(target=look, name="ray-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _kill(members: list[Any]) -> None:
    """Kill processes of Ray; psutil knows when a process id has another owner."""
    for process in members:
        with contextlib.suppress(Exception):  # it ended
            process.kill()
