"""A branch that starts from a stem is the training from scratch, to the last bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ltat_tune.training.checkpoint import adopt_checkpoint, weights_hash
from ltat_tune.training.fit_result import EpochMetrics
from ltat_tune.training.trainer import Trainer
from tests.training.toys import tiny

_SHARED = {"optim.epochs": 4, "optim.momentum": 0.9, "reweight.schedule": "deferred",
           "reweight.start_fraction": 0.5}  # fmt: skip


@pytest.mark.parametrize("method", ["pgd_at", "srat", "reat", "trades"])
def test_a_branch_equals_the_training_from_scratch(tmp_path: Path, method: str) -> None:
    stem_of = tiny(
        **{**_SHARED, "method.name": method, "reweight.name": "class_balanced",
           "reweight.beta": 0.9, "optim.ema_decay": 0.5}
    )  # fmt: skip
    branch = stem_of.replace({"reweight.beta": 0.99})
    checkpoint, stem = tmp_path / "first.pt", tmp_path / "stem.pt"

    def keep(done: EpochMetrics) -> None:
        if done.epoch == 2:
            shutil.copyfile(checkpoint, stem)

    Trainer(stem_of).fit(keep, checkpoint=checkpoint)
    adopt_checkpoint(stem, tmp_path / "branch.pt", identity=branch.identity)
    told: list[bool] = []
    branched, scratch = Trainer(branch), Trainer(branch)
    from_stem = branched.fit(
        lambda done: told.append(done.replayed), checkpoint=tmp_path / "branch.pt"
    )
    whole = scratch.fit()
    assert told == [True, True, False, False]
    assert from_stem.weights == whole.weights
    assert from_stem.metrics == whole.metrics
    assert [h.metrics for h in branched.history] == [h.metrics for h in scratch.history]
    last = [weights_hash(trainer.model.state_dict()) for trainer in (branched, scratch)]
    assert last[0] == last[1]
    first = Trainer(stem_of).fit(checkpoint=checkpoint)
    assert first.weights != whole.weights, "what acts late must make a difference"
