"""Prediction losses without margins against numbers worked by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.errors import ConfigError
from ltat_tune.losses import (
    BalancedSoftmax,
    CrossEntropy,
    EffectiveNumber,
    FocalLoss,
    LDAMLoss,
    RoBalLoss,
)

COUNTS = torch.tensor([500, 60, 7])


def test_ten_thousand_on_a_wrong_class_costs_ten_thousand() -> None:
    logits = torch.tensor([[1e4, 0.0, 0.0]])
    for loss in (CrossEntropy(), FocalLoss(2.0), FocalLoss(2.0, weight_inside=True)):
        assert loss(logits, torch.tensor([1])).item() == pytest.approx(1e4)


def test_equal_logits_give_the_log_of_the_number_of_classes() -> None:
    assert CrossEntropy()(torch.zeros(2, 4), torch.tensor([0, 3])).item() == pytest.approx(
        math.log(4)
    )


def test_ten_times_the_logits_have_the_same_answer_and_another_gradient() -> None:
    # Why an attack on cross-entropy can fail where answers are the same.
    logits = torch.tensor([[0.3, 0.1, -0.2]], dtype=torch.float64)
    directions = []
    for scale in (1.0, 10.0):
        z = (scale * logits).requires_grad_()
        (gradient,) = torch.autograd.grad(CrossEntropy()(z, torch.tensor([1])), z)
        directions.append(gradient[0] / gradient.norm())
        assert int(z.argmax()) == 0
    assert float(directions[0] @ directions[1]) < 0.99


# --- label smoothing ---


def test_smoothed_cross_entropy_is_worked_by_hand() -> None:
    # p = 3/4 and 1/4; smoothing 0.2 makes the target 0.9 and 0.1.
    logits = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64)
    value = CrossEntropy(label_smoothing=0.2)(logits, torch.tensor([0]))
    assert value.item() == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4), rel=1e-12)


def test_a_smoothed_image_weighs_what_its_true_class_weighs() -> None:
    # The same image as class 0 and as class 1, weights 1 and 3.
    logits = torch.tensor([[math.log(3), 0.0]] * 2, dtype=torch.float64)
    as_0 = 0.9 * math.log(4 / 3) + 0.1 * math.log(4)
    as_1 = 0.1 * math.log(4 / 3) + 0.9 * math.log(4)
    value = CrossEntropy(label_smoothing=0.2)(
        logits, torch.tensor([0, 1]), torch.tensor([1.0, 3.0])
    )
    assert value.item() == pytest.approx((as_0 + 3 * as_1) / 4, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropy(label_smoothing=0.3),
        FocalLoss(2.0, label_smoothing=0.3),
        FocalLoss(2.0, weight_inside=True, label_smoothing=0.3),
        EffectiveNumber(COUNTS, beta=0.999, label_smoothing=0.3),
    ],
)
def test_smoothed_losses_are_least_at_the_smoothed_target(loss: nn.Module, weighted: bool) -> None:
    # However steep the weights: target 0.8 on the true class, 0.1 on the two others.
    target = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]], dtype=torch.float64)
    logits = target.log().requires_grad_()
    weights = torch.tensor([1.0, 30.0, 900.0]) if weighted else None
    (gradient,) = torch.autograd.grad(loss(logits, torch.tensor([0, 2]), weights), logits)
    assert gradient.abs().max().item() < 1e-12


# --- focal ---


def test_a_common_factor_on_the_weights_scales_the_focal_loss() -> None:
    logits, targets = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 2])
    weights = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    loss = FocalLoss(2.0)
    assert loss(logits, targets, 7 * weights).item() == pytest.approx(
        7 * loss(logits, targets, weights).item(), rel=1e-12
    )


def test_a_common_factor_on_weights_inside_the_focal_loss_does_more_than_scale_it() -> None:
    logits, targets = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0])
    loss = FocalLoss(1.0, weight_inside=True)
    # w = 1: 1/2 log 2. w = 2: p = 1/4, so 3/4 of 2 log 2, three times as much.
    one, two = (loss(logits, targets, torch.tensor([w, w])).item() for w in (1.0, 2.0))
    assert two == pytest.approx(3 * one, rel=1e-12)


def test_focal_loss_of_two_equal_logits_is_log_2_over_2_to_the_gamma() -> None:
    # p = 1/2: (1 - 1/2)^2 log 2 = log(2) / 4; the weight 3 of class 1 multiplies it.
    loss = FocalLoss(2.0)(torch.zeros(1, 2), torch.tensor([1]), torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx(3 * math.log(2) / 4)


def test_a_weight_inside_the_focal_loss_raises_p_to_its_power() -> None:
    # p = (1/2)^3 = 1/8: 7/8 of 3 log 2.
    loss = FocalLoss(1.0, weight_inside=True)
    value = loss(torch.zeros(1, 2), torch.tensor([1]), torch.tensor([1.0, 3.0]))
    assert value.item() == pytest.approx(7 / 8 * 3 * math.log(2))


def test_without_weights_both_readings_of_the_focal_loss_are_one() -> None:
    logits, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 2])
    inside = FocalLoss(2.0, weight_inside=True)
    ones = torch.ones(3)
    assert inside(logits, targets).item() == FocalLoss(2.0)(logits, targets).item()
    assert inside(logits, targets, ones).item() == FocalLoss(2.0)(logits, targets, ones).item()


@pytest.mark.parametrize("weight_inside", [False, True])
def test_focal_loss_with_gamma_0_is_cross_entropy(weight_inside: bool) -> None:
    logits, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 2])
    loss = FocalLoss(0.0, weight_inside=weight_inside)
    assert loss(logits, targets).item() == pytest.approx(CrossEntropy()(logits, targets).item())


# --- effective number ---


def test_effective_number_is_a_weighted_mean_worked_by_hand() -> None:
    # beta 1/2, counts 2 and 1: weights 1 and 1.5. Both images have p = 3/4 on class 0.
    logits = torch.tensor([[math.log(3), 0.0]] * 2, dtype=torch.float64)
    loss, targets = EffectiveNumber(torch.tensor([2, 1]), beta=0.5), torch.tensor([0, 1])
    value = loss(logits, targets)
    assert value.item() == pytest.approx((math.log(4 / 3) + 1.5 * math.log(4)) / 2.5, rel=1e-12)
    # Weights of 6 and 1 on top make it 6 and 1.5.
    on_top = loss(logits, targets, torch.tensor([6.0, 1.0]))
    assert on_top.item() == pytest.approx((6 * math.log(4 / 3) + 1.5 * math.log(4)) / 7.5)


@pytest.mark.parametrize(
    "loss", [EffectiveNumber(COUNTS, beta=0.0), EffectiveNumber(torch.tensor([9] * 3), beta=0.9)]
)
def test_effective_number_of_beta_0_or_equal_counts_is_cross_entropy(loss: nn.Module) -> None:
    logits, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 2])
    assert loss(logits, targets).item() == pytest.approx(CrossEntropy()(logits, targets).item())


# --- balanced softmax ---


def test_equal_logits_give_minus_log_prior() -> None:
    # Counts [3, 1], target 1: prior 1/4.
    loss = BalancedSoftmax(torch.tensor([3, 1]))
    assert loss(torch.zeros(1, 2), torch.tensor([1])).item() == pytest.approx(math.log(4))


def test_balanced_softmax_does_not_depend_on_the_scale_of_the_counts() -> None:
    logits, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 2])
    assert BalancedSoftmax(10 * COUNTS)(logits, targets).item() == pytest.approx(
        BalancedSoftmax(COUNTS)(logits, targets).item()
    )


@pytest.mark.parametrize(
    "loss", [BalancedSoftmax(torch.tensor([9, 9, 9])), BalancedSoftmax(COUNTS, tau=0.0)]
)
def test_balanced_softmax_of_equal_counts_or_tau_0_is_cross_entropy(loss: nn.Module) -> None:
    logits, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 2])
    assert loss(logits, targets).item() == pytest.approx(CrossEntropy()(logits, targets).item())


# --- counts ---


@pytest.mark.parametrize(
    "build", [LDAMLoss, BalancedSoftmax, RoBalLoss, lambda n: EffectiveNumber(n, beta=0.9)]
)
def test_a_class_without_images_is_refused_and_counts_are_left_alone(
    build: Callable[[Tensor], nn.Module],
) -> None:
    counts = torch.tensor([5, 0, 2])
    with pytest.raises(ConfigError, match=r"`samples_per_class >= 1` .* got \[5, 0, 2\]"):
        build(counts)
    assert counts.tolist() == [5, 0, 2]
    with pytest.raises(ConfigError, match=r"must have shape \(K,\), got shape \(1, 3\)"):
        build(counts[None])


def test_margins_prior_and_weights_are_buffers() -> None:
    assert "margins" in LDAMLoss(COUNTS).state_dict()
    assert "shift" in BalancedSoftmax(COUNTS).state_dict()
    assert "weights" in EffectiveNumber(COUNTS, beta=0.9).state_dict()
    assert {"margins", "shift"} <= RoBalLoss(COUNTS).state_dict().keys()


def test_equal_counts_make_balanced_softmax_cross_entropy_to_the_bit() -> None:
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(50) % 7
    for tau in (0.5, 1.0, 3.0):
        balanced = BalancedSoftmax(torch.full((7,), 13), tau=tau)
        assert torch.equal(balanced(logits, targets), CrossEntropy()(logits, targets))
