"""Workers that hang or run out of memory: tried again from their checkpoint, then given up."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from ltat_tune.training.checkpoint import earlier
from ltat_tune.training.fit_result import EpochMetrics
from ltat_tune.training.trainer import Trainer
from tests.drive import MINI, Running, call, mlflow_runs, steps, write_space

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

# One scenario, two given configurations, nothing but their trainings.
SMALL: dict[str, Any] = {
    "scenarios": {"data.imbalance_ratio": [2]},
    "searcher": {"name": "list"},
    "scheduler": {"name": "none"},
    "confirm": {"top": 0},
}
FOLDER = Path("studies", "mini", "trials", "imbalance_ratio_2")


def _check_complete(study: Path, key: str, epochs: int) -> None:
    found = next(r for r in mlflow_runs(study) if r.data.tags["ltat.key"] == key)
    assert (found.info.status, found.data.tags["state"]) == ("FINISHED", "complete")
    assert steps(study, found, "train/loss") == list(range(1, epochs + 1))


# Runs in every process: the trainer of Ray's workers says who they are. The first time, one of
# them finds its GPU too small, and one loses it.
_PATCH = """
import importlib.abc, importlib.machinery, os, sys

MODULE = "ltat_tune.training.trainer"


def lose_gpu():
    import ltat_tune.engine.worker
    from ltat_tune.errors import GPULost

    def check_gpu(error):
        raise GPULost("the GPU no longer answers this process (illegal address)")

    ltat_tune.engine.worker.check_gpu = check_gpu


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            fit = module.Trainer.fit

            def small(self, on_epoch=None, **options):
                import torch

                name = f"by-{self.config.optim.lr}"
                with open(os.path.join(os.path.dirname(__file__), name), "a+") as file:
                    file.write(f"{os.getpid()}\\n")
                    file.seek(0)
                    tries = len(file.readlines())

                def told(done):
                    on_epoch(done)
                    if self.config.optim.lr == 0.4:
                        replays = sys.modules["ltat_tune.attacks.replays"]
                        replays._broken.append("invalidated")
                    if self.config.optim.lr == 0.2 and done.epoch == 2 and tries == 1:
                        raise torch.OutOfMemoryError("CUDA out of memory.")
                    if self.config.optim.lr == 0.3 and done.epoch == 2 and tries == 1:
                        lose_gpu()
                        raise RuntimeError("illegal address")

                return fit(self, on_epoch and told, **options)

            module.Trainer.fit = small

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
"""


def _patched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `_PATCH`, in which each trial's processes write who they are."""
    patch = tmp_path / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(_PATCH)
    monkeypatch.setenv("PYTHONPATH", f"{patch}{os.pathsep}{Path.cwd()}")
    return patch


def test_a_worker_that_hangs_is_killed_and_one_without_gpu_memory_gets_more_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each trial goes on: the first where its worker was stopped, the second with both slots, and
    the third, whose GPU is lost to its process, in another process."""
    patch = _patched(tmp_path, monkeypatch)
    fixed = {**MINI["fixed"], "optim.epochs": 12}
    resources = {"concurrency": 2, "hang_floor_s": 10, "hang_factor": 5}
    starts = [*MINI["start_from"], {"optim.lr": 0.3, "loss.name": "cross_entropy"}]
    space = write_space(tmp_path, **SMALL, fixed=fixed, resources=resources, start_from=starts)
    with Running("--space", space, cwd=tmp_path) as study:
        study.wait_for("t0000 started")
        checkpoint = tmp_path / FOLDER / "t0000" / "checkpoint.pt"
        while not earlier(checkpoint).exists():  # two are kept, so one of them is known
            assert study.process.poll() is None, study.log.read_text()
            time.sleep(0.02)
        worker = int((patch / "by-0.1").read_text())
        os.kill(worker, signal.SIGSTOP)  # alive, and silent for ever
        assert study.end() == 0, study.log.read_text()
    said = study.log.read_text()
    assert said.count("t0000: it reported nothing for") == 1
    assert said.count("t0001: out of GPU memory; it runs again with a larger share") == 1
    lost = "the GPU no longer answers this process (illegal address); its worker ends, and another"
    assert said.count(f"t0002: {lost}") == 1
    assert not Path(f"/proc/{worker}").exists()
    for number in (0, 1, 2):
        assert len((patch / f"by-0.{number + 1}").read_text().split()) == 2
        _check_complete(tmp_path / "studies" / "mini", f"imbalance_ratio_2/t000{number}", 12)


def test_a_worker_in_which_a_recording_broke_does_its_task_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers are used again, so without that both trials would have the same."""
    patch = _patched(tmp_path, monkeypatch)
    starts = [{"optim.lr": lr, "loss.name": "cross_entropy"} for lr in (0.4, 0.1, 0.05)]
    space = write_space(
        tmp_path, **SMALL, resources={"concurrency": 1}, start_from=starts
    )  # fmt: skip
    with Running("--space", space, cwd=tmp_path) as study:
        assert study.end() == 0, study.log.read_text()
    broke, *later = [(patch / f"by-{lr}").read_text().split() for lr in (0.4, 0.1, 0.05)]
    assert len(broke) == 1 and len(later[0]) == 1
    assert later[0] == later[1] != broke
    for number in (0, 1, 2):
        _check_complete(tmp_path / "studies" / "mini", f"imbalance_ratio_2/t000{number}", 6)


def test_a_trial_without_gpu_memory_is_tried_twice_and_another_failure_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process: what Ray's workers do is above."""
    fit, tries = Trainer.fit, Counter[float]()

    def small(self: Trainer, on_epoch: Any = None, **options: Any) -> Any:
        lr = self.config.optim.lr
        tries[lr] += 1

        def told(done: EpochMetrics) -> None:
            on_epoch(done)
            if lr == 0.04:
                raise ValueError("no such thing")
            if done.epoch == 2 and (lr == 0.2 or (lr == 0.1 and tries[lr] == 1)):
                raise torch.OutOfMemoryError("CUDA out of memory.")

        return fit(self, on_epoch and told, **options)

    monkeypatch.setattr(Trainer, "fit", small)
    starts = [
        *MINI["start_from"],
        *({"optim.lr": lr, "loss.name": "cross_entropy"} for lr in (0.03, 0.04)),
    ]
    space = write_space(tmp_path, **SMALL, start_from=starts)
    done = call("--space", space, "--in-process", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (scenario,) = json.loads(done.stdout)["scenarios"]
    assert scenario["trials"] == {"complete": 2, "pruned": 0, "failed": 2, "diverged": 0}
    for number in (0, 1):
        said = f"t000{number}: out of GPU memory; it runs again with a larger share"
        assert done.stderr.count(said) == 1
    assert tries == {0.1: 2, 0.2: 2, 0.03: 1, 0.04: 1}  # no third try
    study = tmp_path / "studies" / "mini"
    _check_complete(study, "imbalance_ratio_2/t0000", 6)
    runs = {r.data.tags["ltat.key"]: r for r in mlflow_runs(study) if r.info.status == "FAILED"}
    assert sorted(runs) == [f"imbalance_ratio_2/t000{number}" for number in (1, 3)]
    failed, other = runs["imbalance_ratio_2/t0001"], runs["imbalance_ratio_2/t0003"]
    assert failed.data.tags["reason"].startswith("out of GPU memory twice, the second time with")
    assert steps(study, failed, "train/loss") == [1, 2]  # trained once, though it ran twice
    assert "ValueError: no such thing" in other.data.tags["reason"]
    assert "t0003: it runs again" not in done.stderr
