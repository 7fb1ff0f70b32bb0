"""Distances between the adversarial images of consecutive epochs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ltat_tune.attacks import pgd
from ltat_tune.seeding import new_generator
from ltat_tune.training.trainer import Trainer
from tests.training.toys import tiny


def test_a_distance_is_that_of_two_attacks_by_hand() -> None:
    config = tiny(optim__epochs=2, evaluation__ae_distance_images=3)
    found = []
    trainer = Trainer(config)

    def attack_now() -> torch.Tensor:
        data = trainer.splits.train
        chosen = torch.cat([torch.nonzero(data.targets == c)[:3, 0] for c in range(10)])
        return pgd(
            trainer.model, data.images[chosen], data.targets[chosen], eps=config.attack.eps,
            step_size=config.attack.step_size, steps=2, generator=new_generator(0, "ae distances"),
        )  # fmt: skip

    result = trainer.fit(lambda done: found.append(attack_now()))
    moved = (found[1] - found[0]).flatten(1).norm(dim=1)
    assert result.ae_distances[0] == [None] * 10
    assert result.ae_distances[1] == pytest.approx(moved.reshape(10, 3).mean(dim=1).tolist())


def test_recording_changes_nothing_else() -> None:
    plain = Trainer(tiny()).fit()
    recording = Trainer(tiny(evaluation__ae_distance_images=2)).fit()
    assert recording.weights == plain.weights and recording.metrics == plain.metrics
    assert plain.ae_distances == [] and len(recording.ae_distances) == 3


def test_a_resumed_training_records_the_same_distances(tmp_path: Path) -> None:
    config = tiny(evaluation__ae_distance_images=2)
    whole = Trainer(config).fit()

    class Stop(Exception):
        pass

    def stop(done: object) -> None:
        raise Stop

    with pytest.raises(Stop):
        Trainer(config).fit(stop, checkpoint=tmp_path / "checkpoint.pt")
    resumed = Trainer(config).fit(checkpoint=tmp_path / "checkpoint.pt")
    assert resumed.ae_distances == whole.ae_distances and resumed.weights == whole.weights
