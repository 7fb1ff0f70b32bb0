"""RoBal: margin and bias on cosines, and consistency."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ltat_tune.losses import RoBalLoss
from ltat_tune.methods import RoBal, build_method
from tests.methods.toys import COUNTS, batch, brighter, config, model, seeded


def test_its_defaults_are_the_robust_setting_of_the_release() -> None:
    values = config(method__name="robal")
    assert (values.model.head, values.model.head_scale) == ("cosine", 1.0)
    method = build_method(values, COUNTS)
    assert isinstance(method, RoBal) and method.beta == 6.0
    assert isinstance(method.loss, RoBalLoss)
    assert (values.loss.scale, values.loss.base_margin) == (10.0, 0.1)
    assert (values.loss.tau, values.loss.margin_tau) == (1.5, 0.3)


def test_the_consistency_is_of_the_heads_own_logits() -> None:
    values = config(method__name="robal", method__beta=2.0)
    reference = model(head="cosine")
    loss = RoBalLoss(COUNTS)
    images, targets = batch()
    output = RoBal(loss, brighter, beta=values.method.beta).training_step(
        model(head="cosine"), images, targets, class_weights=None, generator=seeded()
    )
    clean, adv = reference(images), reference((images + 0.3).clamp(0, 1))
    kl = F.kl_div(adv.log_softmax(1), clean.softmax(1), reduction="batchmean")
    assert output.terms["consistency"].item() == pytest.approx(kl.item(), rel=1e-4)
    assert torch.allclose(output.logits, adv)
    total = output.terms["prediction"] + 2 * output.terms["consistency"]
    assert output.loss.item() == pytest.approx(total.item())


def test_batch_norm_sees_the_clean_and_then_the_adversarial_images() -> None:
    trained, reference = model(head="cosine"), model(head="cosine")
    images, targets = batch()
    RoBal(RoBalLoss(COUNTS), brighter, beta=6.0).training_step(
        trained, images, targets, class_weights=None, generator=seeded()
    )
    reference(images)
    reference((images + 0.3).clamp(0, 1))
    for name, value in trained.named_buffers():
        assert torch.equal(value, reference.get_buffer(name)), name
