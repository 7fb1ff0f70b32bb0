"""TRADES: clean prediction, consistency with the adversarial one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ltat_tune.losses import CrossEntropy
from ltat_tune.methods import TRADES, build_method
from tests.methods.toys import COUNTS, batch, brighter, config, model, seeded


def test_batch_norm_sees_the_clean_and_then_the_adversarial_images() -> None:
    trained, reference = model(), model()
    images, targets = batch()
    TRADES(CrossEntropy(), brighter, beta=6.0).training_step(
        trained, images, targets, class_weights=None, generator=seeded()
    )
    reference(images)
    reference((images + 0.3).clamp(0, 1))
    for name, value in trained.named_buffers():
        assert torch.equal(value, reference.get_buffer(name)), name
    assert int(trained.get_buffer("backbone.layers.0.bn.num_batches_tracked")) == 2


def test_the_prediction_is_of_the_clean_and_the_logits_of_the_adversarial_images() -> None:
    reference = model()
    images, targets = batch()
    output = TRADES(CrossEntropy(), brighter, beta=6.0).training_step(
        model(), images, targets, class_weights=None, generator=seeded()
    )
    expected = F.cross_entropy(reference(images), targets)
    assert output.terms["prediction"].item() == pytest.approx(expected.item())
    assert torch.allclose(output.logits, reference((images + 0.3).clamp(0, 1)))


def test_without_an_attack_step_the_consistency_is_nought() -> None:
    values = config(method__name="trades", attack__steps=0)
    output = build_method(values, COUNTS).training_step(
        model(), *batch(), class_weights=None, generator=seeded()
    )
    assert output.terms["consistency"].item() == pytest.approx(0.0, abs=1e-6)
    assert output.loss.item() == pytest.approx(output.terms["prediction"].item(), abs=1e-5)


def test_the_attack_does_not_read_the_labels() -> None:
    images, targets = batch()
    first, second = (
        build_method(config(method__name="trades"), COUNTS).training_step(
            model(), images, labels, class_weights=None, generator=seeded()
        )
        for labels in (targets, targets.flip(0))
    )
    assert torch.equal(first.logits, second.logits)
    assert not torch.equal(first.loss, second.loss)
