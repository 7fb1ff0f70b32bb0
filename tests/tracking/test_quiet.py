"""MLflow and what it is built on say nothing, and no warning of theirs ends the writing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

WRITES = """
import sys
from pathlib import Path
from ltat_tune.tracking.client import Runs
from ltat_tune.tracking.outbox import Write
from ltat_tune.tracking.store import sqlite_uri
folder = Path(sys.argv[1])
runs = Runs(sqlite_uri(folder / "mlflow.db"), "x", folder, "u1")
runs.deliver(Write("begin", "k", {"name": "n", "tags": {"a": "b"}, "at": 1}))
runs.deliver(Write("params", "k", {"params": {"a": "x" * 7000}}))
runs.deliver(Write("text", "k", {"name": "a.txt", "text": "x"}))
runs.deliver(Write("end", "k", {"tags": {}, "status": "FINISHED", "at": 5}))
"""


def test_a_long_parameter_and_warnings_as_errors_leave_the_store_silent(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITES, str(tmp_path)], capture_output=True, text=True,
        env={**os.environ, "PYTHONWARNINGS": "error"}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(list(tmp_path.rglob("a.txt"))) == 1
