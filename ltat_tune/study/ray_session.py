"""Ray, started quietly and safely, and gone afterwards. The only place that configures it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SCRATCH = "ltat-ray-"

# PLATFORM section 7: nothing but our own lines on the terminal, token authentication on, and time
# enough for a worker to leave its epoch. Read by Ray when it is imported or starts a process.
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Ray's own snapshots serve nobody here
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


def prepare_environment() -> None:
    """Sets what Ray reads from the environment; what the user has set stays."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def ray_session(cpus: int) -> Iterator[dict[str, float]]:
    """A local Ray for the length of a study; yields its resources, such as {"CPU": 2.0}."""
    prepare_environment()
    import ray

    # Ray's sockets need a short path, and nobody else cleans its session folders.
    _remove_abandoned()
    scratch = tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-")
    try:
        ray.init(
            address="local",  # whatever RAY_ADDRESS says: this study owns its Ray
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=scratch,
        )
        for name in ("ray.tune", "ray.train", "ray.air"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        resources: dict[str, float] = ray.cluster_resources()
        yield resources
    finally:
        with contextlib.suppress(Exception):
            ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def _remove_abandoned() -> None:
    """Deletes the scratch folders of drivers that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        owner = folder.name.removeprefix(_SCRATCH).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def stop_signals(on_stop: Any) -> Iterator[None]:
    """Ctrl-C or SIGTERM once: `on_stop(name)`, then Tune leaves its loop; twice: at once.

    Tune listens to SIGUSR1 as to Ctrl-C, which is how the first signal reaches its loop.
    """
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
