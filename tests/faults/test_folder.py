"""A study and what surrounds it: a preempted job, torn checkpoints, a folder without writing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from ltat_tune.storage.folder import StudyFolder
from ltat_tune.training.checkpoint import earlier, read_history
from tests.drive import ALONE, MINI, Running, call, descendants, mlflow_runs, steps, write_space

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SCENARIO = "imbalance_ratio_2"
EPOCHS = 6
SMALL: dict[str, Any] = {
    "scenarios": {"data.imbalance_ratio": [2]},
    "searcher": {"name": "list"},
    "scheduler": {"name": "none"},
    "confirm": {"top": 0, "seeds": [1], "attacks": ["clean"], "sentinel": False},
}


def _check_trials(study: Path) -> None:
    """Both trials complete, every epoch once, and nothing RUNNING."""
    runs = mlflow_runs(study)
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert max(Counter(r.data.tags["ltat.key"] for r in runs).values()) == 1
    trials = [r for r in runs if r.data.tags["kind"] == "trial"]
    assert len(trials) == 2
    for found in trials:
        assert steps(study, found, "train/loss") == list(range(1, EPOCHS + 1))


def _wait_for(path: Path, study: Running) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert study.process.poll() is None, study.log.read_text()
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.02)


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """Lets nobody open anything in a folder to write; root's rights do not help."""
    bind = ["mount", "--bind", str(folder), str(folder)]
    if os.geteuid() != 0 or subprocess.run(bind, capture_output=True, check=False).returncode:
        pytest.skip("a read-only mount needs root and a system that lets it mount")
    try:
        only_read = ["mount", "-o", "remount,ro,bind", str(folder)]
        for _ in range(200):  # while a file that was opened through the new mount is written
            if subprocess.run(only_read, capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.02)
        else:
            subprocess.run(only_read, check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


class Preempted(NamedTuple):
    """A study all of whose processes were sent SIGTERM, and how it left: status and seconds."""

    folder: Path
    log: Path
    checkpoint: Path
    tree: list[tuple[int, str]]
    left: Future[tuple[int, float]]


@pytest.fixture(scope="module")
def preempted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preempted]:
    """SIGTERM to every process at once, as Slurm sends it. Leaving takes Ray a third of a minute,
    in which another test has the time to run."""
    folder = tmp_path_factory.mktemp("preempted")
    fixed = {**MINI["fixed"], "optim.epochs": EPOCHS, "attack.steps": 40}
    space = write_space(folder, **SMALL, fixed=fixed, resources=ALONE)
    checkpoint = folder / "studies" / "mini" / "trials" / SCENARIO / "t0000" / "checkpoint.pt"
    with Running("--space", space, cwd=folder) as first, ThreadPoolExecutor() as aside:
        _wait_for(earlier(checkpoint), first)  # two epochs are kept
        tree = descendants(first.process.pid)
        for process, _ in tree:
            os.kill(process, signal.SIGTERM)
        began = time.monotonic()

        def leave() -> tuple[int, float]:
            return first.end(signal.SIGTERM), time.monotonic() - began

        yield Preempted(folder, first.log, checkpoint, tree, aside.submit(leave))


@pytest.mark.usefixtures("preempted")  # it leaves meanwhile
def test_a_folder_that_becomes_read_only_ends_the_study_and_a_resume_lacks_nothing(
    tmp_path: Path,
) -> None:
    study = tmp_path / "studies" / "mini"
    space = write_space(tmp_path, **SMALL, resources=ALONE)
    with Running("--space", space, cwd=tmp_path) as first:
        first.wait_for("t0000 started")
        first.wait_for_workers(1)
        with _read_only(study):
            assert first.end() == 1
    said = first.log.read_text()
    assert "Read-only file system" in said
    assert "Traceback" not in said
    assert "resume with: ltat-tune resume mini" in said
    done = call("resume", "mini", "--in-process", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (scenario,) = json.loads((study / "results.json").read_text())["scenarios"]
    assert scenario["trials"] == {"complete": 2, "pruned": 0, "failed": 0, "diverged": 0}
    _check_trials(study)


def test_a_preempted_study_leaves_in_time_and_goes_on_with_what_may_change(
    preempted: Preempted,
) -> None:
    """Its checkpoint is found torn, the space file edited, and the code another."""
    cwd, checkpoint = preempted.folder, preempted.checkpoint
    study = cwd / "studies" / "mini"
    status, seconds = preempted.left.result()
    assert status == 130
    assert seconds < 29  # Slurm's own patience is 30 s
    assert "resume with: ltat-tune resume mini" in preempted.log.read_text()
    assert all(r.info.status != "RUNNING" for r in mlflow_runs(study))
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{process}").exists() for process, _ in preempted.tree):
        assert time.monotonic() < deadline, preempted.tree
        time.sleep(0.1)

    newest, held = read_history(checkpoint), read_history(earlier(checkpoint))
    assert newest[:-1] == held
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])

    folder = StudyFolder(study)
    document = yaml.safe_load(folder.space.read_text())
    document["fixed"]["optim.epochs"] = EPOCHS + 1
    folder.write_space(document)
    refused = call("resume", "mini", "--in-process", cwd=cwd)
    assert refused.returncode == 2
    assert f"\n  optim.epochs: {EPOCHS} then, {EPOCHS + 1} now\n" in refused.stderr

    document["fixed"]["optim.epochs"] = EPOCHS
    document["confirm"]["top"] = 1
    folder.write_space(document)
    folder.write_facts({**folder.read_facts(), "commit": "0123456789ab"})
    done = call("resume", "mini", "--in-process", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "changed since the last start: confirm.top: 0 then, 1 now" in done.stderr
    assert done.stderr.count("warning: the code has changed since this study last ran") == 1
    assert "confirmed:" in done.stderr
    again = read_history(checkpoint)
    assert again[: len(held)] == held  # to the digit of its seconds: nothing of it is trained anew
    assert again[len(held)][:2] == newest[-1][:2]  # and the torn epoch once more
    assert not earlier(checkpoint).exists()
    _check_trials(study)
    facts = folder.read_facts()
    assert [entry.get("changes") for entry in facts["history"]] == [
        None,
        ["confirm.top: 0 then, 1 now"],
    ]
    (whole,) = (r for r in mlflow_runs(study) if r.data.tags["kind"] == "study")
    assert whole.data.tags["code"] == ", then ".join(e["code"] for e in facts["history"])
