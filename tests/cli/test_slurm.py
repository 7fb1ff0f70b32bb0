"""`plan --slurm`: the tasks of the array train what a resume then only tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.drive import call


def test_the_array_trains_what_the_study_has_left(small_study: Path) -> None:
    nothing = call("plan", small_study, "--slurm", cwd=small_study.parents[1])
    assert nothing.returncode == 2 and "has no confirmation left to train" in nothing.stderr
    folders = sorted(small_study.glob("confirmations/*/*"))
    left = [folders[0], folders[-1]]  # one of each scenario
    before = {path: (path / "config.yaml").read_bytes() for path in left}
    results = (small_study / "summary.txt").read_text()
    for path in left:
        shutil.rmtree(path)
    done = call("plan", small_study, "--slurm", cwd=small_study.parents[1])
    assert done.returncode == 0, done.stderr
    script = small_study / "confirmations.slurm"
    assert f"--array=0-{len(before) - 1}" in script.read_text()
    assert {path: (path / "config.yaml").read_bytes() for path in left} == before
    search = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for task in range(len(before)):
        subprocess.run(
            ["bash", script], check=True, cwd=small_study.parents[1], capture_output=True,
            env={**os.environ, "PATH": search, "SLURM_ARRAY_TASK_ID": str(task)},
        )  # fmt: skip
    assert all((path / "checkpoint.pt").exists() for path in left)
    resumed = call("resume", small_study, "--in-process", "--quiet", cwd=small_study.parents[1])
    assert resumed.returncode == 0, resumed.stderr
    assert (small_study / "summary.txt").read_text() == results
