"""What a notebook does, as a script: inside an event loop it stops a study and goes on with it.

Ray trains until the interrupt; the rest is trained in this process.

Its only line is a JSON object of what it saw. `python as_a_notebook.py SPACE OUT`.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltat_tune import Study
from ltat_tune.errors import StudyError


def state_of_process() -> dict[str, str]:
    """Everything that somebody else in the process would notice, as text."""
    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    found: dict[str, Any] = {
        "signals": [id(signal.getsignal(number)) for number in watched],
        "environment": sorted(os.environ.items()),
        "root log": (logging.root.level, list(logging.root.handlers)),
        "own log": logging.getLogger("own").level,
        "ray's log": logging.getLogger("ray.tune").level,
        "MLflow's log": logging.getLogger("mlflow").level,
        "warnings": list(warnings.filters),
        "hooks": (sys.excepthook, threading.excepthook, faulthandler.is_enabled()),
        "path": sys.path,
        "folder": os.getcwd(),
        "torch": (torch.get_num_threads(), torch.initial_seed(), torch.get_default_dtype()),
        "random": (random.getstate(), np.random.get_state(), torch.get_rng_state().sum()),
    }
    return {name: repr(value) for name, value in found.items()}


def interrupt_after_first(study: Study) -> None:
    """Presses Ctrl-C once a trial has been trained."""
    while not list(study.folder.glob("trials/*/t*/result.json")):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)


def says(call: Callable[[], object]) -> str:
    """The package's own error."""
    try:
        call()
    except StudyError as error:
        return str(error)
    return "nothing"


async def main(space: str, out: str) -> dict[str, Any]:
    """Stops the study from the main thread, then sees it to its end from another."""
    before = state_of_process()
    study = Study(space, out=out, overrides={"searcher.trials": 3, "attack.steps": 2})
    unfinished = says(study.best)
    threading.Thread(target=interrupt_after_first, args=(study,), daemon=True).start()
    try:
        study.run()
        interrupted = False
    except KeyboardInterrupt:
        interrupted = True
    stopped_at = len(list(study.folder.glob("trials/*/t*/result.json")))
    moved = [name for name, value in state_of_process().items() if value != before[name]]
    await asyncio.to_thread(study.run, in_process=True)
    moved += [name for name, value in state_of_process().items() if value != before[name]]
    again = says(Study(space, out=out).run)
    return {
        "interrupted": interrupted, "stopped_at": stopped_at, "moved": moved,
        "again": again, "unfinished": unfinished,
    }  # fmt: skip


if __name__ == "__main__":
    for name in ("own", "ray.tune", "mlflow"):
        logging.getLogger(name).setLevel(logging.INFO)
    print(json.dumps(asyncio.run(main(str(Path(sys.argv[1])), sys.argv[2]))))
