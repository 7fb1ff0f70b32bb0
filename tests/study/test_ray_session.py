"""A study's own Ray: what it starts, and what its workers have imported before they are asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.study.drive import descendants

_WAIT_FOR_THE_END = """
import sys
from ltat_tune.study.ray_session import ray_session

with ray_session(1):
    print("up", flush=True)
    sys.stdin.read()
"""


def test_ray_starts_no_servers_that_nobody_asks_and_its_workers_are_ready_before_a_task() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WAIT_FOR_THE_END],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as session:  # fmt: skip
        assert session.stdin is not None and session.stdout is not None
        try:
            assert session.stdout.readline() == "up\n"
            deadline = time.monotonic() + 60
            while not any("libtorch" in _mapped(p) for p, line in descendants(session.pid)
                          if line.startswith("ray::IDLE")):  # fmt: skip
                assert time.monotonic() < deadline, descendants(session.pid)
                time.sleep(0.1)
            lines = [line for _, line in descendants(session.pid)]
        finally:
            session.stdin.close()
        assert session.wait(60) == 0
    for left_out in ("dashboard/dashboard.py", "_private/monitor.py", "log_monitor.py"):
        assert not any(left_out in line for line in lines), lines
    assert "RAY_preload_python_modules" not in os.environ


def _mapped(process: int) -> str:
    try:
        return Path(f"/proc/{process}/maps").read_text()
    except OSError:
        return ""
