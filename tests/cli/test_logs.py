"""`ltat-tune logs --follow` beside a study that trains: what it tells, and how it ends."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.trials import TrialRow, read_trials
from tests.drive import MINI, Running, command, write_space

SCENARIO = "imbalance_ratio_2"
EPOCHS = 200  # some seconds, on a quick machine too


def _follow(out: Path, trial: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("logs", f"mini/{SCENARIO}/{trial}", "--follow", "--out", out),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _row(study: StudyFolder, number: int, states: tuple[str, ...]) -> TrialRow:
    """Waits until the trial is in one of these states."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if study.ledger.exists():
            for row in read_trials(study):
                if row.number == number and row.state in states:
                    return row
        time.sleep(0.1)
    raise AssertionError(f"trial {number} never was {states}")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, StudyFolder]]:
    """One that trains for as long as this module needs it: every trial takes some seconds."""
    folder = tmp_path_factory.mktemp("followed")
    space = write_space(
        folder, scenarios={"data.imbalance_ratio": [2]}, searcher={"trials": 40},
        fixed={**MINI["fixed"], "optim.epochs": EPOCHS, "evaluation.every_epochs": 20},
        scheduler={"name": "none"}, resources={"concurrency": 1},
    )  # fmt: skip
    with Running("--space", space, "--in-process", cwd=folder) as running:
        yield running, StudyFolder(folder / "studies" / "mini")


def test_it_tells_scores_as_they_come_and_ends_with_the_trial(
    study: tuple[Running, StudyFolder],
) -> None:
    running, folder = study
    _row(folder, 0, ("running",))
    with _follow(folder.root.parent, "t0000") as logs:
        assert logs.stdout is not None
        lines = [logs.stdout.readline()]
        first = _row(folder, 0, ("running", "complete"))  # read after the first line was told
        lines += logs.stdout.readlines()
        assert logs.wait(timeout=30) == 0
    assert first.state == "running"
    assert "proposed: loss.name cross_entropy, optim.lr 0.1\n" in lines[0]
    scores = [re.fullmatch(r" +epoch (\d+): \d+\.\d %\n", line) for line in lines[1:-1]]
    assert [int(found[1]) for found in scores if found] == list(range(20, EPOCHS + 1, 20))
    assert max(first.scores, default=0) < EPOCHS  # the rest was told as it came
    assert re.search(rf"complete after {EPOCHS} epochs, \d+\.\d %\n$", lines[-1])
    assert running.process.poll() is None  # the study goes on


def test_ctrl_c_ends_it_and_leaves_the_study_alone(study: tuple[Running, StudyFolder]) -> None:
    running, folder = study
    rows = read_trials(folder)
    number = rows[-1].number + 1
    _row(folder, number, ("running",))
    with _follow(folder.root.parent, f"t{number:04d}") as logs:
        assert logs.stdout is not None
        assert "proposed" in logs.stdout.readline()
        logs.send_signal(signal.SIGINT)
        _, said = logs.communicate(timeout=30)
    assert logs.returncode == 130
    assert said == "\ninterrupted; run the same command again\n"
    assert running.process.poll() is None


def test_a_study_that_stops_ends_it_with_what_to_do(study: tuple[Running, StudyFolder]) -> None:
    running, folder = study
    number = read_trials(folder)[-1].number + 1
    _row(folder, number, ("running",))
    with _follow(folder.root.parent, f"t{number:04d}") as logs:
        assert logs.stdout is not None
        assert "proposed" in logs.stdout.readline()
        assert running.end(signal.SIGINT) == 130
        rest, _ = logs.communicate(timeout=30)
    assert logs.returncode == 0
    assert f"not finished; to continue: {folder.resume_command}" in rest
