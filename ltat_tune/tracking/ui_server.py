"""Runs an MLflow server over a study's store, on this machine only, while the user views it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO

from ltat_tune.errors import StudyError
from ltat_tune.tracking.loopback import open_url
from ltat_tune.tracking.store import hidden, public_uri, remove_stray

# Runs the server and ends it, with its workers, once the pipe of stdin has no other end: then the
# command that serves the pages is gone, however it ended.
_GUARD = """
import os, signal, subprocess, sys, threading
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=lambda: os._exit(server.wait() & 255), daemon=True).start()
sys.stdin.buffer.read()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.killpg(0, signal.SIGTERM)
try:
    server.wait(5)
finally:
    os.killpg(0, signal.SIGKILL)
"""
HOST = "127.0.0.1"
_START_S, _END_S = 120.0, 10.0


def free_port() -> int:
    """Return a port that no process listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def check_port(port: int) -> None:
    """Raise StudyError if a process listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise StudyError(
                f"cannot listen on port {port}: {error.strerror}; leave out --port for a free port"
            ) from None


@contextlib.contextmanager
def serving(uri: str, port: int | None = None) -> Iterator[str]:
    """Run `mlflow server` over a store, yield its address, and leave no process behind.

    Raises:
        StudyError: the port is taken, or the server ends before it answers.
    """
    if port is None:
        port = free_port()
    else:
        check_port(port)
    address = f"http://{HOST}:{port}"
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,  # not an argument, as it may hold a password
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its workers are not needed
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryFile("w+") as log, tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", _GUARD, sys.executable, "-m", "mlflow", "server",
             "--host", HOST, "--port", str(port), "--workers", "1"],
            stdout=log, stderr=log, stdin=subprocess.PIPE, env=environment, cwd=folder,
            start_new_session=True,  # Ctrl-C reaches only this process, which then ends the others
        )  # fmt: skip
        try:
            _wait(process, address, log, uri)
            yield address
        finally:
            _end(process)
            assert process.stdin is not None
            process.stdin.close()
            remove_stray(uri)


def _wait(process: subprocess.Popen[bytes], address: str, log: IO[str], uri: str) -> None:
    until = time.monotonic() + _START_S
    while not _answers(f"{address}/health"):
        if process.poll() is not None or time.monotonic() > until:
            log.seek(0)
            message = (log.read().strip() or "it printed no reason").splitlines()[-1]
            raise StudyError(
                f"MLflow's server over {public_uri(uri)} does not start: {hidden(message, uri)}"
            )
        time.sleep(0.1)


def _answers(address: str) -> bool:
    try:
        with open_url(address, 2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the server and its workers to end, and kill them if they do not."""
    for number, wait_s in ((signal.SIGTERM, _END_S), (signal.SIGKILL, _END_S)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
        if process.poll() is not None and not _group_lives(process.pid):
            return


def _group_lives(group: int) -> bool:
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    return True
