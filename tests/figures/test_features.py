"""Models attacked again: against PGD called directly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ltat_tune.attacks import pgd
from ltat_tune.attacks.noise import start_noise
from ltat_tune.data.batches import to_unit
from ltat_tune.figures.embedding import tsne
from ltat_tune.figures.features import accuracy_over_steps, test_features, trained
from ltat_tune.figures.sources import read_sources
from ltat_tune.seeding import stream_seed
from ltat_tune.training.checkpoint import weights_hash
from ltat_tune.training.evaluation import MeasuredPart
from tests.figures.reat_studies import trained_once

test_features.__test__ = False  # type: ignore[attr-defined]  # pytest takes it for a test


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_once(tmp_path_factory)


def test_the_model_is_the_one_that_the_training_kept(study: Path) -> None:
    import json

    run = read_sources([study]).recipes[0].first
    kept = json.loads((run.path / "result.json").read_text())["weights"]
    assert weights_hash(trained(run).model.state_dict()) == kept


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_one_attack_gives_the_accuracy_of_every_smaller_number_of_steps(
    study: Path, steps: int
) -> None:
    sources = read_sources([study], images=100)
    run = sources.recipes[0].first
    curve = accuracy_over_steps(run, sources, steps=4)
    found = trained(run)
    chosen = MeasuredPart.of("test", found.test, 100)
    part = chosen.data
    eps = run.config.attack.eps
    noise = start_noise(
        to_unit(part.images), chosen.places, eps, norm="linf", seed=stream_seed(0, "test"),
        stream="pgd4/0",
    )  # fmt: skip
    # PGD-0 here is the start: the noise alone; one step of length 0 leaves it where it is.
    adv_images = pgd(
        found.model, to_unit(part.images), part.targets, eps=eps, steps=max(steps, 1),
        step_size=eps / 4 if steps else 0.0, start=(to_unit(part.images) + noise).clamp(0, 1),
    )  # fmt: skip
    with torch.no_grad():
        right = (found.model(adv_images).argmax(dim=1) == part.targets).double().mean().item()
    assert curve.accuracies[steps] == pytest.approx(right)
    assert len(curve.accuracies) == 5
    assert curve.images == 100


def test_features_without_steps_are_those_of_the_clean_images(study: Path) -> None:
    sources = read_sources([study], images=50)
    run = sources.recipes[0].first
    found = test_features(run, sources, steps=0)
    model = trained(run)
    part = model.test.class_balanced_part(50, seed=0)
    with torch.no_grad():
        _, features = model.model.forward_with_features(to_unit(part.images))  # type: ignore[operator]
    np.testing.assert_allclose(found.features, features.numpy(), rtol=1e-5, atol=1e-6)
    assert np.bincount(found.targets).tolist() == [5] * 10
    assert test_features(run, sources, steps=0) is found  # figures share it


def test_tsne_is_seeded_and_fills_the_unit_square() -> None:
    points = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    plane = tsne(points)
    np.testing.assert_array_equal(plane, tsne(points))
    np.testing.assert_allclose([plane.min(axis=0), plane.max(axis=0)], [[0, 0], [1, 1]])
