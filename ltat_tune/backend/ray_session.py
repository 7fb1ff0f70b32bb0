"""Ray, started quietly and safely, and gone afterwards. The only place that configures it."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ltat_tune.backend import ray_internals, worker_ready
from ltat_tune.errors import StudyError

_SCRATCH = "ltat-ray-"
_CONNECT_S = 10.0
_PRELOAD = "RAY_preload_python_modules"
_IMPORT_S = 10.0  # that a study waits for its workers' imports at most

# Nothing but our own lines on the terminal, token authentication on, and time
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
    # else a slot's first task waits until another slot's worker is up; the queue counts slots
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


# Ray's switch of macOS and Windows: its servers listen on 127.0.0.1 alone. Without it they listen
# on every interface of the machine, whatever address ray.init is given (Ray 2.60).
_REACHABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def prepare_environment() -> None:
    """Sets what Ray reads from the environment; what the user has set stays."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _make_reachable(reachable: bool) -> None:
    """Let Ray's servers, here and in started processes, listen beyond loopback, or not."""
    os.environ[_REACHABLE] = str(int(reachable))
    ray_internals.set_reachable(reachable)


@contextlib.contextmanager
def ray_session(slots: int, *, cpus: int = 1) -> Iterator[dict[str, float]]:
    """A local Ray for the length of a study; yields its resources, such as {"CPU": 2.0}.

    It listens on loopback alone, and to none but who has its token.

    Args:
        slots: tasks at once.
        cpus: of each.

    Raises:
        StudyError: this process has a Ray already, which ours would take away from its owner.
    """
    prepare_environment()
    _make_reachable(False)
    import ray

    if ray.is_initialized():
        raise StudyError(
            "this process is connected to a Ray already, and a study starts its own; call "
            "ray.shutdown() first"
        )
    # Ray's sockets need a short path, and nobody else cleans its session folders.
    _remove_abandoned()
    scratch = tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-")
    try:
        with ray_internals.few_processes(), _workers_ready(cpus, Path(scratch)):
            ray.init(
                address="local",  # whatever RAY_ADDRESS says: this study owns its Ray
                num_cpus=slots * cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=scratch,
            )
        _quieten()
        resources: dict[str, float] = ray.cluster_resources()
        yield resources
    finally:
        _leave()
        os.environ.pop(worker_ready.FOLDER, None)
        shutil.rmtree(scratch, ignore_errors=True)


def _leave() -> None:
    """Shuts Ray down here, whatever it says.

    A reference of Ray's that another thread lets go meanwhile ends the process without a word, and
    any thread that allocates may collect those left in cycles: none is left, and none collects.
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
    """Workers import what trains as soon as Ray is up, while the driver prepares the first tasks.

    Ray starts a worker for every CPU, so only where each has a task of its own.
    """
    if cpus > 1 or _PRELOAD in os.environ:
        yield
        return
    os.environ[_PRELOAD] = (
        f"ltat_tune.engine.worker,ltat_tune.training.trainer,{worker_ready.__name__}"
    )
    os.environ[worker_ready.FOLDER] = str(scratch)
    try:
        yield
    finally:
        del os.environ[_PRELOAD]


@contextlib.contextmanager
def workers_as_they_are(slots: int) -> Iterator[None]:
    """Inside, Tune takes the workers that are up, of a Ray of this process's own.

    They have its environment. Tune asks for a part of it by name, for which Ray starts others anew
    and leaves those that are up and have imported everything idle. It does so, too, if they are
    asked for while they import; so that is waited for first.
    """
    deadline = time.monotonic() + _IMPORT_S
    while worker_ready.workers() < slots and time.monotonic() < deadline:
        time.sleep(0.02)
    with ray_internals.no_worker_environment():
        yield


# What a worker reads; those of a cluster have the environment of its `ray start`.
_OF_WORKERS = ("RAY_CHDIR_TO_TRIAL_DIR", "TUNE_FUNCTION_THREAD_TIMEOUT_S")


@contextlib.contextmanager
def cluster_session(address: str) -> Iterator[None]:
    """A connection to a Ray cluster that somebody else started and that stays.

    Raises:
        StudyError: there is none at the address, or it does not let us in.
    """
    _check_address(address)
    prepare_environment()
    _make_reachable(True)
    import ray
    from ray.exceptions import RayError

    told = {name: os.environ[name] for name in _OF_WORKERS}
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": told},
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
    """Raises: StudyError for what is no cluster's address, or one where nothing listens."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise StudyError(
            f"--address must be auto or HOST:PORT, got {address}; leave it away for a Ray of the "
            "study's own, and where only a ray:// address is open, start ltat-tune on a node of "
            "the cluster (scripts/cluster/README.md)"
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


def _remove_abandoned() -> None:
    """Deletes the scratch folders of drivers that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        owner = folder.name.removeprefix(_SCRATCH).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)
