"""`measured`: scaled and shifted logits of the same model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ltat_tune.attacks import pgd
from ltat_tune.attacks.frozen import frozen
from ltat_tune.config.sections import ModelConfig
from ltat_tune.models import Classifier, build_model, measured
from ltat_tune.models.conv_bn import ConvBN


def _model() -> Classifier:
    config = ModelConfig(name="small_cnn", width=4, head="cosine", head_scale=1.0)
    model = build_model(config, in_channels=1, num_classes=3, seed=0)
    model.train()(torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    return model


def _images() -> torch.Tensor:
    return torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_scale_1_without_a_shift_is_the_model_itself() -> None:
    model = _model()
    assert measured(model) is model


def test_logits_are_scaled_and_then_shifted() -> None:
    # 10 * (1, 2) - (0.5, -0.5).
    model = nn.Identity()
    shifted = measured(model, scale=10.0, shift=torch.tensor([0.5, -0.5]))
    assert shifted(torch.tensor([[1.0, 2.0]])).tolist() == [[9.5, 20.5]]
    assert measured(model, shift=torch.tensor([0.5, -0.5]))(torch.ones(1, 2)).tolist() == [
        [0.5, 1.5]
    ]
    assert measured(model, scale=10.0)(torch.tensor([[1.0, 2.0]])).tolist() == [[10.0, 20.0]]


def test_a_scale_leaves_the_predictions_and_a_log_prior_moves_them_to_rare_classes() -> None:
    model, images = _model().eval(), _images()
    plain = model(images)
    assert torch.equal(measured(model, scale=10.0)(images).argmax(1), plain.argmax(1))
    log_prior = torch.tensor([0.9, 0.09, 0.01]).log()
    # At a strength of 100 the shift, 460 for the rarest class, outweighs any cosine.
    assert measured(model, shift=100 * log_prior)(images).argmax(1).tolist() == [2] * 16


def test_features_are_the_models_and_logits_the_adjusted_ones() -> None:
    model, images = _model().eval(), _images()
    wrapped = measured(model, scale=2.0, shift=torch.tensor([1.0, 0.0, -1.0]))
    logits, features = wrapped.forward_with_features(images)  # type: ignore[operator]
    assert torch.equal(features, model.forward_with_features(images)[1])
    assert torch.allclose(logits, 2 * model(images) - torch.tensor([1.0, 0.0, -1.0]))
    assert torch.equal(logits, wrapped(images))


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_the_models_and_follows_what_the_wrapper_is_told(training: bool) -> None:
    model = _model().train(training)
    wrapped = measured(model, scale=2.0)
    assert wrapped.training is training
    wrapped.train(not training)
    assert all(module.training is not training for module in model.modules())


def test_parameters_are_the_models_own_and_the_shift_is_a_copy_in_the_buffers() -> None:
    model, shift = _model(), torch.tensor([1.0, 0.0, -1.0])
    wrapped = measured(model, shift=shift)
    ours = list(wrapped.parameters())
    assert all(a is b for a, b in zip(ours, model.parameters(), strict=True))
    shift.zero_()
    assert dict(wrapped.named_buffers())["shift"].tolist() == [1.0, 0.0, -1.0]


def test_frozen_and_folding_work_through_it_and_leave_all_as_found() -> None:
    model = _model().train()
    model.backbone.eval()
    modes = [module.training for module in model.modules()]
    wrapped = measured(model, scale=2.0)
    with frozen(wrapped, training=False):
        blocks = [module for module in model.modules() if isinstance(module, ConvBN)]
        assert blocks and all(block.folded is not None for block in blocks)
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(block.folded is None for block in blocks)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_pgd_through_it_follows_the_adjusted_logits() -> None:
    model, images = _model().eval(), _images()
    targets = model(images).argmax(dim=1)
    wrapped = measured(model, scale=10.0, shift=torch.tensor([-2.0, 0.0, 2.0]))
    adv_images = pgd(
        wrapped, images, targets, eps=0.1, step_size=0.1, steps=1, start="none", bn_mode="eval"
    )
    given = images.clone().requires_grad_(True)
    logits = 10.0 * model(given) - torch.tensor([-2.0, 0.0, 2.0])
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, targets), given)
    expected = (images + 0.1 * gradient.sign()).clamp(0, 1)
    # Folded once or each time: gradients of nearly 0 may differ in sign.
    assert float((adv_images - expected).abs().gt(1e-6).float().mean()) < 0.005
    assert not torch.equal(adv_images, images)
