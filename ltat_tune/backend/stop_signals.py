"""Handles Ctrl-C and SIGTERM during a study: the first asks it to stop, the second ends it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def stop_signals(on_stop: Callable[[str], None]) -> Iterator[None]:
    """Call `on_stop(name)` at the first Ctrl-C or SIGTERM, and end the study at the second.

    Tune treats SIGUSR1 like Ctrl-C, which is how the first signal reaches its loop. Only the main
    thread may handle signals; in any other thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def handler(number: int, frame: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        on_stop(signal.Signals(number).name)
        if signal.getsignal(signal.SIGUSR1) not in (signal.SIG_DFL, signal.SIG_IGN, None):
            signal.raise_signal(signal.SIGUSR1)

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    usr1 = signal.getsignal(signal.SIGUSR1)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
        signal.signal(signal.SIGUSR1, usr1)
