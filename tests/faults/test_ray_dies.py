"""Ray's own processes are killed: the study says so within seconds, and a resume lacks nothing."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from tests.drive import ALONE, MINI, Running, call, descendants, mlflow_runs, write_space

SMALL = {
    "scenarios": {"data.imbalance_ratio": [2]},
    "fixed": {**MINI["fixed"], "attack.steps": 40},
    "searcher": {"name": "list"},
    "scheduler": {"name": "none"},
    "confirm": {"top": 0, "seeds": [1], "attacks": ["clean"], "sentinel": False},
    "resources": ALONE,
}


def test_a_killed_raylet_or_gcs_ends_the_study_and_a_resume_lacks_nothing(tmp_path: Path) -> None:
    space = write_space(tmp_path, **SMALL)
    for command, name in (("--space", "raylet"), ("resume", "gcs_server")):
        with Running(command, space if command == "--space" else "mini", cwd=tmp_path) as study:
            study.wait_for_workers(1)
            tree = descendants(study.process.pid)
            (victim,) = [pid for pid, line in tree if line.split()[0].endswith(f"/{name}")]
            began = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            assert study.end(timeout_s=60) == 1
            assert time.monotonic() - began < 15
            deadline = time.monotonic() + 20
            while alive := [line for pid, line in tree if Path(f"/proc/{pid}/exe").exists()]:
                assert time.monotonic() < deadline, alive
                time.sleep(0.1)
        lines = study.log.read_text().splitlines()
        said = (
            f"Ray's {name.replace('_', ' ')} ended (signal 9); the study cannot go on without it"
        )
        assert any(said in line for line in lines)
        assert "resume with: ltat-tune resume mini" in study.log.read_text()
        raw = [
            line for line in lines if "Traceback" in line or ".cc:" in line or "(raylet)" in line
        ]
        assert raw == []
        assert {r.info.status for r in mlflow_runs(tmp_path / "studies" / "mini")} == {"KILLED"}
    done = call("resume", "mini", "--in-process", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (scenario,) = json.loads((tmp_path / "studies/mini/results.json").read_text())["scenarios"]
    assert scenario["trials"] == {"complete": 2, "pruned": 0, "failed": 0, "diverged": 0}
