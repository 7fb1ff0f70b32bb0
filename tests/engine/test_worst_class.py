"""The worst class and the tail as objectives, with the methods that are made for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.drive import MINI, call, write_space

METHODS = ("dafa", "faal", "cfa", "wat")
FIXED = {
    **MINI["fixed"], "method.base": "pgd_at", "method.fawa_span": 0.3,
    "data.classes": ["0", "1", "4"], "attack.eps": 0.05, "attack.step_size": 0.025,
}  # fmt: skip


def test_a_study_searches_for_the_worst_class_with_the_tail_beside_it(tmp_path: Path) -> None:
    space = write_space(
        tmp_path, fixed=FIXED, scenarios={"data.imbalance_ratio": [4]},
        tuned={
            "optim.lr": {"type": "float", "low": 0.05, "high": 0.4, "log": True},
            "method.name": {"type": "categorical", "choices": list(METHODS)},
        },
        start_from=[{"optim.lr": 0.2, "method.name": name} for name in METHODS],
        objective={"metric": "val/pgd3_worst_acc", "also": ["val/pgd3_tail_acc"],
                   "second_opinion": False},
        searcher={"name": "predict", "trials": 5},
    )  # fmt: skip
    done = call("run", space, "--in-process", "--allow-inert", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "studies" / "mini" / "results.json").read_text())
    (scenario,) = results["scenarios"]
    assert scenario["trials"]["complete"] == 5
    scores = {t["params"]["method.name"]: t["score"] for t in scenario["best_trials"]}
    assert set(scores) == set(METHODS)
    best = scenario["best_trials"][0]["score"]
    assert 0 < best <= 1 and best * 10 == pytest.approx(round(best * 10))  # of ten images
    winner = scenario["confirmed"][0]
    assert "val/pgd3_worst_acc" in winner["val"]
    assert {"test/pgd3_worst_acc", "test/pgd3_tail_acc"} <= set(winner["test"])
