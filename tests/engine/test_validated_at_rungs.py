"""A study that validates only where it judges: every rung has its score, and the digits stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ltat_tune.training.checkpoint import read_history
from tests.drive import ALONE, MINI, call, write_space

SCENARIO = "imbalance_ratio_4"
NOTHING = {"top": 0}
EPOCHS = 6


def _study(folder: Path, *, confirm: dict[str, Any], **scheduler: object) -> Path:
    """Run a study of three trials, of which the last hardly learns."""
    tried = [{"optim.lr": lr, "loss.name": "balanced_softmax"} for lr in (0.2, 0.3, 0.02)]
    space = write_space(
        folder,
        fixed={**MINI["fixed"], "evaluation.every_epochs": None},
        scenarios={"data.imbalance_ratio": [4]}, searcher={"trials": 3}, start_from=tried,
        scheduler={"name": "asha", "reduction_factor": 2, **scheduler}, confirm=confirm,
        resources=ALONE,
    )  # fmt: skip
    done = call("run", space, "--in-process", "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "studies" / "mini"


def _scored(training: Path) -> tuple[list[int], list[int], int]:
    """The epochs with a validation, those with a probe, and the last one."""
    history = read_history(training / "checkpoint.pt")
    scored = [epoch for epoch, metrics, _ in history if "val/pgd3_balanced_acc" in metrics]
    probed = [epoch for epoch, metrics, _ in history if "probe/pgd3_balanced_acc" in metrics]
    return scored, probed, history[-1][0]


def test_a_prefix_rung_stops_trials_and_what_is_exported_trains_again(tmp_path: Path) -> None:
    confirm = {**MINI["confirm"], "seeds": [1], "attacks": ["clean"]}
    study = _study(tmp_path, confirm=confirm, rungs="prefix", grace_epochs=2)
    found = [_scored(trial) for trial in sorted((study / "trials" / SCENARIO).iterdir())]
    assert {scored[-1] == last for scored, _, last in found} == {True}
    assert ([2, 4, EPOCHS], [], EPOCHS) in found  # rungs at 2 and 4
    assert all(scored == [2, 4, EPOCHS][: len(scored)] for scored, _, _ in found)
    assert found[2][2] < EPOCHS  # a rung stopped it by its score
    for confirmation in (study / "confirmations" / SCENARIO).glob("*-seed1"):
        assert _scored(confirmation) == ([EPOCHS], [], EPOCHS)
    exported = call("export", "mini", "--to", "out", cwd=tmp_path)
    file = next(line for line in exported.stdout.split() if line.endswith(".yaml"))
    trained = call("train", file, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "reproduced: weights" in trained.stderr


@pytest.mark.parametrize("rungs", ["copy", "probe"])
def test_copies_and_probes_are_judged_by_scores_of_their_own(tmp_path: Path, rungs: str) -> None:
    study = _study(tmp_path, confirm=NOTHING, rungs=rungs, grace_epochs=2)
    trials = sorted((study / "trials" / SCENARIO).iterdir())
    if rungs == "copy":
        copies = [_scored(copy) for copy in (study / "trials" / SCENARIO).glob("*/copy-2")]
        assert copies == [([2], [], 2)] * 3
        whole = [_scored(trial) for trial in trials if (trial / "checkpoint.pt").exists()]
        assert whole and all(found == ([EPOCHS], [], EPOCHS) for found in whole)
        return
    found = [_scored(trial) for trial in trials]
    assert all(probed == [2, 4][: len(probed)] and probed for _, probed, _ in found)
    assert [scored for scored, _, last in found if last == EPOCHS] == [
        [EPOCHS] for _, _, last in found if last == EPOCHS
    ]
