"""Handles Ctrl-C, SIGTERM and SIGHUP in a study: the first asks it to stop, the second ends it.

SIGHUP comes when the terminal closes or the connection to it breaks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # nohup ignores the last


def leave_terminal() -> None:
    """Write no more to a terminal that is gone, because every line would raise an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        with contextlib.suppress(OSError):
            if os.isatty(stream):
                os.dup2(nowhere, stream)
    os.close(nowhere)


def end_by_signals() -> None:
    """Make SIGTERM and SIGHUP end a command as Ctrl-C does, without words of the interpreter."""

    def gone(number: int, frame: Any) -> None:
        leave_terminal()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup wants it
        signal.signal(signal.SIGHUP, gone)


def ignore_signals() -> None:
    """Let no further signal disturb a process that is ending."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def unechoed_keys() -> Iterator[None]:
    """Let the terminal print no `^C`, which would shift the live screen by its width."""
    try:
        before = termios.tcgetattr(sys.stdin.fileno())
    except (OSError, ValueError, AttributeError, termios.error):  # no terminal
        yield
        return
    now = [*before]
    now[3] &= ~termios.ECHOCTL
    try:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, now)
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, before)


@contextlib.contextmanager
def kept_handlers() -> Iterator[None]:
    """Put back what handles signals now: Ray leaves the system's own handlers behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def stop_signals(on_stop: Callable[[str], None]) -> Iterator[None]:
    """Call `on_stop(name)` at the first of `STOPPING`, and end the study at the second.

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
        if number == signal.SIGHUP:
            leave_terminal()
        on_stop(signal.Signals(number).name)
        if signal.getsignal(signal.SIGUSR1) not in (signal.SIG_DFL, signal.SIG_IGN, None):
            signal.raise_signal(signal.SIGUSR1)

    numbers = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in numbers}
    usr1 = signal.getsignal(signal.SIGUSR1)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
        signal.signal(signal.SIGUSR1, usr1)
