"""Restores what Ray, Optuna and MLflow change in the process that imports them.

The command line owns its process. A notebook or a script must keep its signal handlers, log levels
and environment when it runs a study; `process_kept` restores them.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from ltat_tune.backend.stop_signals import STOPPING

_SIGNALS = (*STOPPING, signal.SIGUSR1)


@contextlib.contextmanager
def process_kept() -> Iterator[None]:
    """Restore, on exit, everything in this process that a study changes.

    This covers signal handlers, environment, log levels and handlers, warning filters, hooks for
    uncaught exceptions, `sys.path`, the working directory, torch's threads, the memory that was
    used, and the states of the global random generators. Inside, warnings are not shown, and other
    threads see the changes. Libraries stay imported. Import them inside, because their import
    changes the process too.
    """
    import numpy as np
    import torch

    from ltat_tune.seeding import return_freed_memory

    hooks = sys.excepthook, threading.excepthook
    environment, path, here = dict(os.environ), list(sys.path), os.getcwd()
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    widgets = logging.getLogger("ray.widgets")
    logs = {logger: _log_state(logger) for logger in _loggers()}
    threads, faults = torch.get_num_threads(), faulthandler.is_enabled()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        with warnings.catch_warnings():
            # libraries warn about their own internals, and about missing notebook widgets
            warnings.simplefilter("ignore")
            widgets.setLevel(logging.ERROR)
            yield
    finally:
        sys.excepthook, threading.excepthook = hooks
        _restore_environment(environment)
        sys.path[:] = path
        os.chdir(here)
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                if handler is not None:  # a handler set in C, which Python cannot restore
                    signal.signal(number, handler)
        for logger, state in logs.items():
            if logger.level != state[0]:  # it empties the caches of all loggers
                logger.setLevel(state[0])
            logger.handlers[:], logger.propagate, logger.disabled = state[1:]
        if not faults and faulthandler.is_enabled():
            faulthandler.disable()
        torch.set_num_threads(threads)
        return_freed_memory()
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _loggers() -> list[logging.Logger]:
    """Return the root logger and every logger that exists so far."""
    loggers = logging.root.manager.loggerDict.values()
    return [logging.root, *(each for each in loggers if isinstance(each, logging.Logger))]


def _log_state(logger: logging.Logger) -> tuple[int, list[Any], bool, bool]:
    return logger.level, list(logger.handlers), logger.propagate, logger.disabled


def _restore_environment(before: dict[str, str]) -> None:
    for name in [name for name in os.environ if name not in before]:
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
