"""Workers that hang or run out of memory: tried again from their checkpoint, then given up."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from ltat_tune.training.checkpoint import earlier
from tests.drive import MINI, Running, mlflow_runs, run, steps, write_space

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


def test_a_worker_that_hangs_is_killed_and_its_trial_goes_on(tmp_path: Path) -> None:
    fixed = {**MINI["fixed"], "optim.epochs": 12}
    resources = {"concurrency": 1, "hang_floor_s": 8, "hang_factor": 5}
    space = write_space(tmp_path, **SMALL, fixed=fixed, resources=resources)
    with Running("--space", space, cwd=tmp_path) as study:
        study.wait_for("t0000 started")
        (worker,) = study.wait_for_workers(1)
        checkpoint = tmp_path / FOLDER / "t0000" / "checkpoint.pt"
        while not earlier(checkpoint).exists():  # two are kept, so one of them is known
            assert study.process.poll() is None, study.log.read_text()
            time.sleep(0.02)
        os.kill(worker, signal.SIGSTOP)  # alive, and silent for ever
        assert study.end() == 0, study.log.read_text()
    said = study.log.read_text()
    assert said.count("t0000: it reported nothing for") == 1
    assert not Path(f"/proc/{worker}").exists()
    for number in (0, 1):
        _check_complete(tmp_path / "studies" / "mini", f"imbalance_ratio_2/t000{number}", 12)


_NO_MEMORY = """
import importlib.abc, importlib.machinery, os, sys

MODULE = "ltat_tune.training.trainer"


class Finder(importlib.abc.MetaPathFinder):
    # gives the trainer of this study's workers a GPU that is too small

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
                tries = os.path.join(os.path.dirname(__file__), f"tries-{self.config.optim.lr}")

                def told(done):
                    on_epoch(done)
                    if self.config.optim.lr == 0.04:
                        raise ValueError("no such thing")
                    if done.epoch == 2 and self.config.optim.lr > 0.05:
                        with open(tries, "a+") as file:
                            file.write("|")
                            file.seek(0)
                            if self.config.optim.lr > 0.15 or len(file.read()) == 1:
                                raise torch.OutOfMemoryError("CUDA out of memory.")

                return fit(self, on_epoch and told, **options)

            module.Trainer.fit = small

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
"""


def test_a_trial_without_gpu_memory_gets_more_room_once_and_another_failure_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch = tmp_path / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(_NO_MEMORY)
    monkeypatch.setenv("PYTHONPATH", f"{patch}{os.pathsep}{Path.cwd()}")
    starts = [
        *MINI["start_from"],
        *({"optim.lr": lr, "loss.name": "cross_entropy"} for lr in (0.03, 0.04)),
    ]
    space = write_space(tmp_path, **SMALL, start_from=starts, resources={"concurrency": 2})
    done = run("--space", space, "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (scenario,) = json.loads(done.stdout)["scenarios"]
    assert scenario["trials"] == {"complete": 2, "pruned": 0, "failed": 2, "diverged": 0}
    for number in (0, 1):
        said = f"t000{number}: out of GPU memory; it runs again with a larger share"
        assert done.stderr.count(said) == 1
        assert (patch / f"tries-0.{number + 1}").read_text() == "||"  # no third try
    study = tmp_path / "studies" / "mini"
    _check_complete(study, "imbalance_ratio_2/t0000", 6)
    runs = {r.data.tags["ltat.key"]: r for r in mlflow_runs(study) if r.info.status == "FAILED"}
    assert sorted(runs) == [f"imbalance_ratio_2/t000{number}" for number in (1, 3)]
    failed, other = runs["imbalance_ratio_2/t0001"], runs["imbalance_ratio_2/t0003"]
    assert failed.data.tags["reason"].startswith("out of GPU memory twice, the second time with")
    assert steps(study, failed, "train/loss") == [1, 2]  # trained once, though it ran twice
    assert "ValueError: no such thing" in other.data.tags["reason"]
    assert "t0003: it runs again" not in done.stderr
