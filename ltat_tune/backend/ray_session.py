"""Starts Ray quietly and safely and shuts it down. The only place that configures Ray."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ltat_tune.backend import ray_internals, worker_ready
from ltat_tune.backend.local.scratch import remove_abandoned, scratch_folder
from ltat_tune.backend.stop_signals import kept_handlers
from ltat_tune.errors import StudyError

_CONNECT_S = 10.0
_PRELOAD = "RAY_preload_python_modules"
_IMPORT_S = 10.0  # the longest wait for the workers' imports

# Only our own lines on the terminal, token authentication, and time for a worker to leave its
# epoch. Ray reads these when it is imported or starts a process.
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
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Ray's own snapshots are not used
    # else a slot's first task waits for another slot's worker; the queue counts slots itself
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


_scratch: list[Path] = []  # the folder of this process's own Ray, while it runs

# Ray's switch for macOS and Windows: its servers listen on 127.0.0.1 only. Without it they listen
# on every interface of the machine, whatever address ray.init is given (Ray 2.60).
_REACHABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def prepare_environment() -> None:
    """Set the environment variables that Ray reads; the user's own values stay.

    Raises:
        StudyError: this Python has removed the docstrings that Ray reads.
    """
    if sys.flags.optimize > 1:
        raise StudyError(
            "Ray needs docstrings, which PYTHONOPTIMIZE=2 and python -OO remove; set it to 1, or "
            "train with --in-process"
        )
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _make_reachable(reachable: bool) -> None:
    """Let Ray's servers, here and in started processes, listen beyond loopback, or not."""
    os.environ[_REACHABLE] = str(int(reachable))
    ray_internals.set_reachable(reachable)
    ray_internals.reread_environment()


@contextlib.contextmanager
def ray_session(slots: int, *, cpus: int = 1, gpus: int = 0) -> Iterator[dict[str, float]]:
    """Run a local Ray for the length of a study. Yields its resources, such as {"CPU": 2.0}.

    It listens on loopback only, and serves only those who have its token.

    Args:
        slots: tasks at once.
        cpus: CPUs of each task.
        gpus: the machine's GPUs, as torch counts them, or 0 if no task uses one. Ray would count
            for itself, and may count others.

    Raises:
        StudyError: Ray does not start, or this process is connected to one already, which the
            study would shut down.
    """
    prepare_environment()
    _make_reachable(False)
    import ray

    if ray.is_initialized():
        raise StudyError(
            "this process is already connected to a Ray, but a study starts its own; call "
            "ray.shutdown() first"
        )
    remove_abandoned()  # nobody else cleans Ray's session folders
    with kept_handlers(), scratch_folder() as scratch:
        _scratch.append(scratch)
        try:
            _init(slots, cpus, gpus, scratch)
            _quieten()
            resources: dict[str, float] = ray.cluster_resources()
            yield resources
        finally:
            _leave()
            os.environ.pop(worker_ready.READY_FOLDER, None)
            _scratch.clear()


def _init(slots: int, cpus: int, gpus: int, scratch: Path) -> None:
    """Start Ray.

    Raises:
        StudyError: it does not start; with what Ray said, and what to do.
    """
    import ray

    try:
        with ray_internals.few_processes(), _workers_ready(cpus, scratch):
            ray.init(
                address="local",  # whatever RAY_ADDRESS says: this study owns its Ray
                num_cpus=slots * cpus,
                num_gpus=gpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(scratch),
            )
        _keep_token_private()
    except Exception as error:  # of any part of Ray
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise StudyError(
            f"Ray does not start: {said}; `ltat-tune doctor` looks for the reason, and "
            "--in-process trains without Ray"
        ) from error


def _keep_token_private() -> None:
    """Let nobody else read the token, which opens every Ray of this user."""
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    with contextlib.suppress(OSError):
        if token.stat().st_uid == os.getuid() and token.stat().st_mode & 0o077:
            token.chmod(0o600)


def abandon_ray() -> None:
    """Kill this process's own Ray and delete its folder, before the process ends at once."""
    for process in ray_internals.own_processes().values():
        with contextlib.suppress(OSError):
            process.kill()
    for scratch in _scratch:
        shutil.rmtree(scratch.parent, ignore_errors=True)


def _leave() -> None:
    """Shut Ray down here, and ignore its errors.

    If another thread drops a reference of Ray's meanwhile, the process ends without a message. Any
    thread that allocates may collect references left in cycles. So collect them all first, and let
    no thread collect during the shutdown.
    """
    import ray

    gc.collect()
    collects = gc.isenabled()
    gc.disable()
    try:
        with contextlib.suppress(Exception):
            ray.shutdown()
    finally:
        if collects:
            gc.enable()


@contextlib.contextmanager
def _workers_ready(cpus: int, scratch: Path) -> Iterator[None]:
    """Let workers import the training code as soon as Ray is up.

    Meanwhile the driver prepares the first tasks. Ray starts a worker for every CPU, so this
    applies only if each of them has a task of its own.
    """
    if cpus > 1 or _PRELOAD in os.environ:
        yield
        return
    os.environ[_PRELOAD] = (
        f"ltat_tune.engine.worker,ltat_tune.training.trainer,{worker_ready.__name__}"
    )
    os.environ[worker_ready.READY_FOLDER] = str(scratch)
    try:
        yield
    finally:
        del os.environ[_PRELOAD]


@contextlib.contextmanager
def workers_as_they_are(slots: int) -> Iterator[None]:
    """Let Tune take the idle workers of this process's own Ray.

    Tune asks for part of the environment by name. For that Ray starts new workers, and those that
    have imported everything stay idle, although they have the same environment. Ray also does so
    if workers are asked for while they import, so this waits for the imports first.
    """
    deadline = time.monotonic() + _IMPORT_S
    while worker_ready.workers() < slots and time.monotonic() < deadline:
        time.sleep(0.02)
    with ray_internals.no_worker_environment():
        yield


# Variables that a worker reads: a cluster's workers have the environment of its `ray start`.
_OF_WORKERS = ("RAY_CHDIR_TO_TRIAL_DIR", "TUNE_FUNCTION_THREAD_TIMEOUT_S")


@contextlib.contextmanager
def cluster_session(address: str) -> Iterator[None]:
    """Connect to a Ray cluster that somebody else started and that goes on afterwards.

    Raises:
        StudyError: there is none at the address, or it does not let us in.
    """
    _check_address(address)
    prepare_environment()
    _make_reachable(True)
    import ray
    from ray.exceptions import RayError

    environment = {name: os.environ[name] for name in _OF_WORKERS}
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": environment},
        )
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        reason = " ".join(str(error).split())
        raise StudyError(
            f"cannot join the Ray cluster at {address}: {reason}; one of its nodes must be this "
            "machine, and the token here the one it was started with (RAY_AUTH_TOKEN_PATH, or "
            "~/.ray/auth_token); see scripts/cluster/README.md"
        ) from error
    try:
        _quieten()
        yield
    finally:
        _leave()


def _check_address(address: str) -> None:
    """Check that an address is one of a cluster, and that something listens there.

    Raises:
        StudyError: it is not.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise StudyError(
            f"--address must be auto or HOST:PORT, got {address}; leave it out to start a Ray for "
            "this study; where only a ray:// address is open, start ltat-tune on a node of the "
            "cluster (scripts/cluster/README.md)"
        )
    try:  # Ray itself would try for minutes
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        raise StudyError(
            f"no Ray cluster listens at {address}: {error.strerror or error}; start one with "
            "`ray start --head`, or see scripts/cluster/README.md"
        ) from error


def _quieten() -> None:
    for name in ("ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
