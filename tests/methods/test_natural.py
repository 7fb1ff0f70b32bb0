"""Natural training."""

from __future__ import annotations

import pytest
import torch.nn.functional as F

from ltat_tune.losses import CrossEntropy
from ltat_tune.methods import Natural
from tests.methods.toys import batch, model, seeded


def test_the_loss_is_cross_entropy_on_the_clean_images_without_any_noise() -> None:
    images, targets = batch()
    generator = seeded()
    before = generator.get_state()
    output = Natural(CrossEntropy()).training_step(
        model(), images, targets, class_weights=None, generator=generator
    )
    assert output.loss.item() == pytest.approx(F.cross_entropy(model()(images), targets).item())
    assert bool((generator.get_state() == before).all())
