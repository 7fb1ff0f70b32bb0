"""A study's own Ray: what it starts, and what its workers have imported before they are asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.drive import descendants

_SESSION = """
import os, sys
from ltat_tune.backend.ray_session import ray_session, workers_as_they_are

class Trainable:
    def process(self):
        return os.getpid()

with ray_session(1), workers_as_they_are(1):
    print("up", flush=True)
    sys.stdin.readline()
    import ray
    from ray.tune.execution.class_cache import _ActorClassCache  # what Tune makes its actors with
    actor = _ActorClassCache().get(Trainable).remote()
    print(ray.get(actor.process.remote()), flush=True)
"""


def test_ray_starts_no_servers_that_nobody_asks_and_tune_takes_a_worker_that_is_ready() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _SESSION],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as session:  # fmt: skip
        assert session.stdin is not None and session.stdout is not None
        try:
            assert session.stdout.readline() == "up\n"
            deadline = time.monotonic() + 60
            while not (ready := _ready(session.pid)):
                assert time.monotonic() < deadline, descendants(session.pid)
                time.sleep(0.1)
            lines = [line for _, line in descendants(session.pid)]
            session.stdin.write("\n")
            session.stdin.flush()
            assert int(session.stdout.readline()) in ready
        finally:
            session.stdin.close()
        assert session.wait(60) == 0
    for left_out in ("dashboard/dashboard.py", "_private/monitor.py", "log_monitor.py"):
        assert not any(left_out in line for line in lines), lines
    assert "RAY_preload_python_modules" not in os.environ


# As a notebook's own threads do it, made certain: references of Ray's wait in cycles, and another
# thread allocates enough for a collection once Ray is shutting down.
_ANOTHER_THREAD_COLLECTS = """
import gc, threading, time
from ltat_tune.backend.ray_session import ray_session

def allocate():
    import ray
    while ray.is_initialized():
        time.sleep(0)
    [[] for _ in range(60_000)]

with ray_session(1):
    import ray
    references = [ray.put(number) for number in range(5_000)]
    thread = threading.Thread(target=allocate)
    thread.start()
    gc.collect()
    gc.set_threshold(50_000)
    for reference in references:
        cycle = [reference]
        cycle.append(cycle)
    del references, reference, cycle
thread.join()
assert gc.isenabled()
print("alive")
"""


def test_a_collection_in_another_thread_does_not_end_the_process_with_ray() -> None:
    session = subprocess.run(
        [sys.executable, "-c", _ANOTHER_THREAD_COLLECTS], capture_output=True, text=True
    )
    assert (session.returncode, session.stdout) == (0, "alive\n"), session.stderr


def _ready(session: int) -> set[int]:
    """Workers that wait for a task and have imported torch."""
    idle = {process for process, line in descendants(session) if line.startswith("ray::IDLE")}
    return {process for process in idle if "libtorch" in _mapped(process)}


def _mapped(process: int) -> str:
    try:
        return Path(f"/proc/{process}/maps").read_text()
    except OSError:
        return ""


def test_a_process_that_imported_ray_before_can_start_one() -> None:
    code = (
        "import ray\n"
        "from ltat_tune.backend.ray_session import ray_session\n"
        "with ray_session(1):\n"
        "    print(ray.get(ray.remote(lambda: 7).remote()))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
