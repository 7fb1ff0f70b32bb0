"""What Ray, Optuna and MLflow change in the process that imports them, and how it is put back.

The command line owns its process. A notebook or a script does not want its signal handlers, log
levels or environment moved because it ran a study: `kept` takes all of it back.
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

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@contextlib.contextmanager
def process_kept() -> Iterator[None]:
    """Puts back, afterwards, everything of this process that a study moves.

    Signal handlers, environment, log levels and handlers, warning filters, hooks for uncaught
    exceptions, `sys.path`, the working directory, torch's threads, and the states of the global
    random generators. Warnings are not shown meanwhile. Other threads of the process see the
    changes while it lasts. Libraries stay imported: import them inside, for they move things too.
    """
    import numpy as np
    import torch

    hooks = sys.excepthook, threading.excepthook
    environment, path, here = dict(os.environ), list(sys.path), os.getcwd()
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    widgets = logging.getLogger("ray.widgets")
    logs = {logger: _log_state(logger) for logger in _loggers()}
    threads, faults = torch.get_num_threads(), faulthandler.is_enabled()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        with warnings.catch_warnings():
            # what libraries say of themselves, and to a notebook of what it might display
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
                if handler is not None:  # of a library in C, which Python cannot set again
                    signal.signal(number, handler)
        for logger, state in logs.items():
            logger.setLevel(state[0])
            logger.handlers[:], logger.propagate, logger.disabled = state[1:]
        if not faults and faulthandler.is_enabled():
            faulthandler.disable()
        torch.set_num_threads(threads)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _loggers() -> list[logging.Logger]:
    """The root and every logger that exists, those that no library has made yet left out."""
    known = logging.root.manager.loggerDict.values()
    return [logging.root, *(each for each in known if isinstance(each, logging.Logger))]


def _log_state(logger: logging.Logger) -> tuple[int, list[Any], bool, bool]:
    return logger.level, list(logger.handlers), logger.propagate, logger.disabled


def _restore_environment(before: dict[str, str]) -> None:
    for name in [name for name in os.environ if name not in before]:
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
