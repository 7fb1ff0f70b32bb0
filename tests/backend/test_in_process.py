"""Studies without Ray: the same digits and files, whole tracebacks, resumes after Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from click.testing import CliRunner
from optuna.storages.journal import JournalFileBackend

from ltat_tune import Study
from ltat_tune.backend.in_process import run_in_process
from ltat_tune.backend.work import NoTask, Report, ReportTo
from ltat_tune.cli import main
from ltat_tune.config.extensions import PARTS
from ltat_tune.config.plugin_loader import forget
from ltat_tune.errors import GPULost, StudyError
from ltat_tune.search.rungs import Rungs
from ltat_tune.search.stopping_rules import EarlyStopping
from ltat_tune.space.spec import SchedulerSpec
from ltat_tune.storage.task import Task
from ltat_tune.training.trainer import Trainer
from tests.drive import ALONE, MINI, Running, call, mlflow_runs, run, write_space

SHORT: dict[str, Any] = {"confirm": {"top": 0}, "scenarios": {"data.imbalance_ratio": [4]}}

HALVED = """\
import torch.nn.functional as F
from torch import nn

from ltat_tune.plugins import register_loss


class Halved(nn.Module):
    def __init__(self, samples_per_class):
        super().__init__()

    def forward(self, logits, targets, class_weights=None):
        return F.cross_entropy(logits, targets, weight=class_weights) / 2


register_loss("halved", Halved)
"""

BROKEN = """\
from ltat_tune.plugins import register_method


class Broken:
    def __init__(self, loss, attack):
        pass

    def training_step(self, model, images, targets, *, class_weights, generator):
        return self._divide(len(images))

    def _divide(self, count):
        return count / 0


register_method("broken", Broken)
"""


def _rows(study: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the ledger without its times: the rows of every scenario, by the scenario's name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(study / "ledger.journal")))
    rows = {}
    for each in storage.get_all_studies():
        trials = storage.get_all_trials(each._study_id)
        rows[each.study_name] = [
            {
                "number": trial.number, "state": trial.state.name, "values": trial.values,
                "params": trial.params, "reports": trial.intermediate_values,
                "facts": {k: v for k, v in trial.user_attrs.items() if k != "seconds"},
            }
            for trial in trials
        ]  # fmt: skip
    return rows


def _files(study: Path) -> set[str]:
    """Return what lies in a study's folder, but for MLflow's own names."""
    paths = (path.relative_to(study).as_posix() for path in study.rglob("*") if path.is_file())
    return {path for path in paths if not path.startswith("mlflow-artifacts/")}


def _contents(study: Path, name: str) -> dict[str, Any]:
    """Return the files of one name by their place, without what they say of time."""
    contents = {}
    for path in sorted(study.rglob(name)):
        values = json.loads(path.read_text())
        values.pop("seconds", None)
        contents[path.relative_to(study).as_posix()] = values
    return contents


def _write_compared(folder: Path) -> Path:
    """Write the study that Ray and this process both run: one scenario, and a plugin's loss."""
    (folder / "halved.py").write_text(HALVED)
    losses = {"type": "categorical", "choices": ["halved", "balanced_softmax"]}
    first = {"optim.lr": 0.1, "loss.name": "halved"}
    return write_space(
        folder, plugins=["halved"], resources=ALONE, scenarios={"data.imbalance_ratio": [2]},
        tuned={**MINI["tuned"], "loss.name": losses}, confirm={**MINI["confirm"], "seeds": [1]},
        start_from=[first, *MINI["start_from"][1:]],
    )  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study by the command, from its start to its end, in a process without Ray."""
    folder = tmp_path_factory.mktemp("undisturbed")
    _write_compared(folder)
    code = (
        "import sys\n"
        "from ltat_tune.cli import main\n"
        "main(['--space', 'mini.yaml', '--in-process', '-q'], standalone_mode=False)\n"
        "assert 'ray' not in sys.modules, 'Ray was imported'\n"
        "print('no Ray')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("no Ray\n")
    return folder / "studies" / "mini"


def test_a_study_gives_what_it_gives_under_ray(undisturbed: Path, tmp_path: Path) -> None:
    """With one slot. Trials are stopped by rungs in both: the study judges copies. Ray's workers
    load the plugin for themselves."""
    done = run("--space", _write_compared(tmp_path), "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ray = tmp_path / "studies" / "mini"
    rows = _rows(undisturbed)
    assert rows == _rows(ray)
    assert {row["state"] for trials in rows.values() for row in trials} == {"COMPLETE", "PRUNED"}
    assert _files(undisturbed) == _files(ray)
    for name in ("results.json", "result.json", "test.json"):
        contents = _contents(undisturbed, name)
        assert contents and contents == _contents(ray, name)
    described = [
        sorted((r.data.tags["mlflow.runName"], r.info.status) for r in mlflow_runs(study))
        for study in (undisturbed, ray)
    ]
    assert described[0] == described[1]


@pytest.mark.parametrize("rungs", ["prefix", "probe"])
def test_other_rungs_stop_trials_too(rungs: str, tmp_path: Path) -> None:
    space = write_space(
        tmp_path, **SHORT, scheduler={"rungs": rungs, "grace_epochs": 2}, searcher={"trials": 6}
    )
    study = Study(space, out=tmp_path).run(in_process=True)
    states = [trial.state for trial in study.trials]
    assert set(states) == {"complete", "pruned"}, states
    least = min(trial.epochs for trial in study.trials if trial.state == "complete")
    stopped = [trial for trial in study.trials if trial.state == "pruned"]
    assert all(trial.epochs < least for trial in stopped)
    where = "at epoch" if rungs == "prefix" else r"(in the probe )?at epoch"
    says = rf"\d+\.\d+ % {where} \d+ is rank \d+ of \d+, below the threshold of \d+\.\d+ %"
    assert [trial.reason for trial in stopped if not re.fullmatch(says, trial.reason)] == []
    tags = {r.data.tags["trial"]: r.data.tags for r in mlflow_runs(tmp_path / "mini")
            if r.data.tags.get("state") == "pruned"}  # fmt: skip
    assert {name: tag["reason"] for name, tag in tags.items()} == {
        f"t{trial.number:04d}": trial.reason for trial in stopped
    }


def test_trainings_run_in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So a breakpoint in a method stops here."""
    processes = []
    fit = Trainer.fit

    def watched(self: Trainer, *arguments: Any, **more: Any) -> Any:
        processes.append(os.getpid())
        return fit(self, *arguments, **more)

    monkeypatch.setattr(Trainer, "fit", watched)
    space = write_space(tmp_path, **SHORT, searcher={"trials": 2}, scheduler={"name": "none"})
    Study(space, out=tmp_path).run(in_process=True)
    assert processes == [os.getpid()] * 2


@pytest.fixture
def no_plugin_stays() -> Iterator[None]:
    yield
    for plugin in {part.plugin for part in PARTS.values() if part.plugin is not None}:
        forget(plugin)


def test_the_traceback_of_a_plugin_is_whole(tmp_path: Path, no_plugin_stays: None) -> None:
    (tmp_path / "broken_method.py").write_text(BROKEN)
    space = write_space(
        tmp_path, **SHORT, plugins=["broken_method"],
        fixed={**MINI["fixed"], "method.name": "broken"}, searcher={"max_failures_in_a_row": 1},
        tuned={"optim.lr": MINI["tuned"]["optim.lr"]}, start_from=[],
    )  # fmt: skip
    with pytest.raises(StudyError, match="ZeroDivisionError: division by zero"):
        Study(space, out=tmp_path, allow_inert=True).run(in_process=True)
    (result,) = (tmp_path / "mini" / "trials").rglob("result.json")
    reason = json.loads(result.read_text())["reason"]
    lines = re.findall(r'broken_method\.py", line (\d+), in (\w+)', reason)
    assert lines == [("9", "training_step"), ("12", "_divide")]


def test_ctrl_c_leaves_a_study_that_resumes_in_process(tmp_path: Path) -> None:
    """A grid, because other searchers draw anew after a resume."""
    lr = {"type": "categorical", "choices": [0.05, 0.1, 0.2]}
    grid = {**SHORT, "tuned": {**MINI["tuned"], "optim.lr": lr}, "searcher": {"name": "grid"}}
    space = write_space(tmp_path, **grid)
    Study(space, out=tmp_path / "undisturbed").run(in_process=True)
    with Running("--space", space, "--in-process", cwd=tmp_path) as study:
        study.wait_for("t0002 started")
        assert study.end(signal.SIGINT) == 130
        assert "resume with: ltat-tune resume mini --in-process" in study.log.read_text()
    again, undisturbed = tmp_path / "studies" / "mini", tmp_path / "undisturbed" / "mini"
    left = {row["state"] for row in _rows(again)["imbalance_ratio_4"]}
    assert left >= {"COMPLETE", "WAITING"}  # t0002 runs, unless a rung stopped it just then
    done = call("resume", "mini", "--in-process", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert _rows(again) == _rows(undisturbed)
    assert _contents(again, "results.json") == _contents(undisturbed, "results.json")
    assert all(run.info.status != "RUNNING" for run in mlflow_runs(again))


def test_the_api_extends_a_study_in_process(tmp_path: Path) -> None:
    space = write_space(tmp_path, **SHORT, searcher={"trials": 1})
    Study(space, out=tmp_path).run(in_process=True)
    longer = Study.open("mini", out=tmp_path).resume(trials=2, in_process=True)
    assert len(longer.trials) == 2


@pytest.mark.parametrize("words", [("--space", "mini.yaml"), ("resume", "mini")])
def test_a_cluster_is_refused(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, [*words, "--in-process", "--address", "auto"])
    assert done.exit_code == 2
    assert "--address trains on a Ray cluster and --in-process uses no Ray" in done.stderr


def test_the_api_refuses_a_cluster_too(tmp_path: Path) -> None:
    study = Study(write_space(tmp_path), out=tmp_path)
    with pytest.raises(ValueError, match="got 'auto' and True; give one of them"):
        study.run(in_process=True, address="auto")
    assert not study.folder.exists()


class _StopsAtOnce:
    """A study that is asked to stop in the epoch that its one task reports."""

    def __init__(self, task: Task) -> None:
        self._tasks = [task]
        self.stop_reason: str | None = None
        self.ended: list[str] = []

    def next_task(self, slot: str) -> Task | NoTask:
        return self._tasks.pop() if self._tasks else NoTask.FINISHED

    def room(self, task: Task) -> int:
        return 1

    def stop(self, reason: str) -> None:
        self.stop_reason = reason

    def on_report(self, slot: str, report: Report) -> None:
        self.stop_reason = "stopped by SIGINT"

    def on_end(self, slot: str, report: Report | None, *, error: bool) -> None:
        self.ended.append(slot)

    def on_hang(self, slot: str, seen: str) -> None:
        raise AssertionError


def test_the_epoch_of_an_interruption_is_judged_before_the_study_stops() -> None:
    """Otherwise its score would be in the ledger, and no resume would judge it any more."""
    metric = "val/pgd3_balanced_acc"
    stopping = EarlyStopping(metric, Rungs((1,), ()), SchedulerSpec(reduction_factor=2), ("a",))
    stopping.put_back("a", "a/t0000", {1: 0.5})
    task = Task("a/t0001", "trial", "a", {}, "", "", 1, "cpu", 3)
    work = _StopsAtOnce(task)

    def run_task(task: Task, report: ReportTo) -> None:
        report({"epoch": 1, "metrics": {metric: 0.4}, "replayed": False})
        raise AssertionError("the task was not left")

    run_in_process(work, run_task, stopping)
    assert work.ended == ["task-0"]
    assert set(stopping.stopped) == {"a/t0001"}


def test_a_lost_gpu_stops_the_study_because_this_process_has_no_other() -> None:
    work = _StopsAtOnce(Task("a/t0001", "trial", "a", {}, "", "", 1, "cuda", 3))

    def run_task(task: Task, report: ReportTo) -> None:
        raise GPULost("the GPU no longer answers this process (illegal address)")

    run_in_process(work, run_task, EarlyStopping("m", Rungs((), ()), SchedulerSpec(), ("a",)))
    assert work.stop_reason == "the GPU no longer answers this process (illegal address)"
    assert work.ended == ["task-0"]
