"""MART: boosted cross-entropy and weighted consistency."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from ltat_tune.losses import CrossEntropy
from ltat_tune.methods import MART, build_method
from tests.methods.toys import COUNTS, batch, brighter, config, model, seeded


def test_batch_norm_sees_the_clean_and_then_the_adversarial_images() -> None:
    trained, reference = model(), model()
    images, targets = batch()
    output = MART(CrossEntropy(), brighter, beta=5.0).training_step(
        trained, images, targets, class_weights=None, generator=seeded()
    )
    reference(images)
    logits = reference((images + 0.3).clamp(0, 1))
    for name, value in trained.named_buffers():
        assert torch.equal(value, reference.get_buffer(name)), name
    assert torch.allclose(output.logits, logits)
    expected = F.cross_entropy(logits, targets)
    assert output.terms["prediction"].item() == pytest.approx(expected.item())


def test_equal_logits_cost_log_3_and_the_margin_of_a_third() -> None:
    # A head of zeros: every probability is 1/3, and both predictions agree.
    trained = model()
    with torch.no_grad():
        trained.head.weight.zero_()
        trained.head.bias.zero_()
    output = build_method(config(method__name="mart"), COUNTS).training_step(
        trained, *batch(), class_weights=None, generator=seeded()
    )
    assert output.terms["prediction"].item() == pytest.approx(math.log(3))
    assert output.terms["margin"].item() == pytest.approx(-math.log(1.0001 - 1 / 3))
    assert output.terms["consistency"].item() == pytest.approx(0.0, abs=1e-6)


def test_class_weights_act_on_the_prediction_loss_alone() -> None:
    method = build_method(config(method__name="mart"), COUNTS)
    plain, weighted = (
        method.training_step(model(), *batch(), class_weights=w, generator=seeded())
        for w in (None, torch.tensor([1.0, 2.0, 50.0]))
    )
    assert not torch.equal(plain.terms["prediction"], weighted.terms["prediction"])
    assert torch.equal(plain.terms["margin"], weighted.terms["margin"])
    assert torch.equal(plain.terms["consistency"], weighted.terms["consistency"])


def test_its_consistency_weighs_5_by_default_and_that_of_trades_6() -> None:
    assert config(method__name="mart").method.beta == 5.0
    assert config(method__name="trades").method.beta == 6.0
