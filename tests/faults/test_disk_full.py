"""A disk that fills up under a study: a clear end, and a resume that lacks nothing.

How a worker of Ray fails to write: test_folder.py.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drive import Running, call, mlflow_runs, write_space


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root and a system that lets it mount")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_ends_the_study_clearly_and_a_resume_lacks_nothing(small_disk: Path) -> None:
    space = write_space(
        small_disk, scenarios={"data.imbalance_ratio": [2]}, searcher={"trials": 2},
        confirm={"top": 1, "seeds": [1], "attacks": ["clean"], "sentinel": False},
    )  # fmt: skip
    words, out = ("--space", space, "--in-process"), small_disk / "studies"
    with Running(*words, cwd=small_disk.parent, out=out) as study:
        study.wait_for("t0000 started")
        # without a buffer: what is left in one would be written, and fail, as the file is closed
        with open(small_disk / "fill", "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(1 << 16))
        assert study.end() == 1
    said = study.log.read_text()
    assert "resume with: ltat-tune resume mini" in said
    (small_disk / "fill").unlink()
    done = call("resume", "mini", "--out", out, "--in-process", cwd=small_disk.parent)
    assert done.returncode == 0, done.stderr
    folder = small_disk / "studies" / "mini"
    results = json.loads((folder / "results.json").read_text())
    assert [sum(s["trials"].values()) for s in results["scenarios"]] == [2]
    assert all(s["trials"]["failed"] == 0 for s in results["scenarios"])
    runs = mlflow_runs(folder)
    assert Counter(r.info.status for r in runs)["RUNNING"] == 0
    assert max(Counter(r.data.tags["ltat.key"] for r in runs).values()) == 1
