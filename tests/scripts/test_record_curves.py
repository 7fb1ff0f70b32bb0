"""A recording is read by the replay, goes on where it stopped, and is what a study would train."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ltat_tune.data.datasets import load_splits
from ltat_tune.preflight.load import load_space
from ltat_tune.training.trainer import Trainer
from scripts import record_curves
from scripts.curve_tables import Table, final

SPACE: dict[str, Any] = {
    "name": "tiny",
    "objective": {"metric": "val/pgd10_balanced_acc"},
    "fixed": {
        "data.name": "digits", "data.val_per_class": 5, "data.imbalance_ratio": 10,
        "data.max_per_class": 20, "model.width": 2, "model.stem": "space_to_depth",
        "attack.eps": 0.1, "attack.steps": 4, "optim.epochs": 8, "optim.batch_size": 32,
        "optim.milestones": [0.75], "evaluation.val_attack": "pgd10",
        "reweight.schedule": "deferred", "reweight.start_fraction": 0.75,
    },
    "tuned": {
        "optim.lr": {"type": "categorical", "choices": [0.05, 0.2]},
        "reweight.name": {
            "type": "categorical", "choices": ["class_balanced", "under_represented"],
        },
    },
}  # fmt: skip


def _record(monkeypatch: pytest.MonkeyPatch, space: Path, out: Path, *more: str) -> None:
    given = ["record_curves.py", "--space", str(space), "--out", str(out), *more]
    monkeypatch.setattr(sys, "argv", given)
    record_curves.main()


def test_a_recording_goes_on_and_is_what_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "tiny.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    out = tmp_path / "tiny_curves.json"
    _record(monkeypatch, space, out, "--first", "1", "--probes", "2")
    only = json.loads(out.read_text())["rows"]
    out.with_suffix(".jsonl").write_text(json.dumps(only[0]) + "\n")  # as if it had stopped here
    _record(monkeypatch, space, out)
    assert "1 of 4" not in capsys.readouterr().out.split("1 of 1", 1)[1]
    table = Table(out)
    assert len(table) == 4 and table.metric == "val/pgd10_balanced_acc"
    assert set(only[0]["copies"]) == {"1", "2", "4", "2s2"}
    assert set(only[0]["probes"]) == {"2"}
    # this one shared the stem of an earlier one, and is still the training from scratch
    params = {"optim.lr": 0.05, "reweight.name": "under_represented"}
    row = table.row(params)
    loaded = load_space(space, check_machine=False)
    config = loaded.config(loaded.scenarios[0], params)
    trainer = Trainer(config, splits=load_splits(config))
    trainer.fit()
    scores = [past.metrics[table.metric] for past in trainer.history]
    assert row["curve"] == [round(score, 4) for score in scores]
    assert final(row) == max(row["curve"])


def test_what_cannot_be_counted_is_refused(tmp_path: Path) -> None:
    tuned = {"optim.lr": {"type": "float", "low": 0.1, "high": 0.2}}
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump({**SPACE, "tuned": tuned}))
    with pytest.raises(SystemExit, match="every tuned parameter must be countable"):
        record_curves.countable(load_space(path, check_machine=False))


@pytest.mark.parametrize("name", ["srat", "trades", "averaging", "reat", "cifar"])
def test_the_problems_of_the_repository_can_be_recorded(name: str) -> None:
    path = record_curves.DATA.parent.parent / "scripts" / "problems" / f"{name}.yaml"
    space = load_space(path, check_machine=False, allow_inert=True)
    assert len(record_curves.countable(space)) >= 96
    assert "6s2" in record_curves.fidelities(space.config(space.scenarios[0], {}))
