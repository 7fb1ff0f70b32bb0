"""LDAM and RoBal against the releases' margins and numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ltat_tune.losses import BalancedSoftmax, CrossEntropy, LDAMLoss, RoBalLoss

UR_50 = torch.tensor([5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100])  # CIFAR-10-LT


def test_ldam_margins_of_step_100_are_0_1581_and_0_5() -> None:
    margins = LDAMLoss(torch.tensor([5000] * 5 + [50] * 5)).margins
    assert margins.tolist() == pytest.approx([0.1581] * 5 + [0.5] * 5, abs=5e-5)


def test_ldam_margins_of_cifar10_at_ratio_100_are_those_of_the_release() -> None:
    counts = torch.tensor([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
    expected = [0.158, 0.180, 0.204, 0.232, 0.264, 0.300, 0.341, 0.387, 0.440, 0.500]
    assert LDAMLoss(counts).margins.tolist() == pytest.approx(expected, abs=5e-4)


def test_ldam_of_equal_logits_is_worked_by_hand() -> None:
    # Counts 16 and 1: margins 0.5 / 2 and 0.5. Scale 4, target 0: logits 4 (0 - .25) = -1 and 0,
    # so the loss is log(1 + e).
    loss = LDAMLoss(torch.tensor([16, 1]), max_margin=0.5, scale=4.0)
    value = loss(torch.zeros(1, 2), torch.tensor([0]))
    assert value.item() == pytest.approx(math.log(1 + math.e))


def test_ldam_smooths_the_target_after_the_margin() -> None:
    # As above, with 0.9 of the target on class 0: log p = -log(1 + e) there, and 1 more on the
    # other, which has no margin.
    loss = LDAMLoss(torch.tensor([16, 1]), max_margin=0.5, scale=4.0, label_smoothing=0.2)
    value = loss(torch.zeros(1, 2), torch.tensor([0]))
    assert value.item() == pytest.approx(math.log(1 + math.e) - 0.1)


def test_robal_margins_and_prior_of_cifar10_at_ratio_50_are_those_of_its_robust_setting() -> None:
    loss = RoBalLoss(UR_50)
    assert (loss.margins[0].item(), loss.margins[-1].item()) == pytest.approx(
        (0.217, 0.100), abs=5e-4
    )
    # tau_b ln pi is -1.54 and -7.41: the same but for a constant
    assert loss.shift[0].item() == 0
    assert loss.shift[-1].item() == pytest.approx(-7.41 + 1.54, abs=0.01)


def test_robal_of_equal_cosines_is_worked_by_hand() -> None:
    # Counts 4 and 1, target 0: z_0 = -10 (0.1 + 0.03 log 4) + 1.5 log 0.8 and z_1 = 1.5 log 0.2,
    # so z_1 - z_0 = 1 + (0.3 - 1.5) log 4. For target 1 the margin is 0.1: z_0 - z_1 = 1 + 1.5
    # log 4.
    loss = RoBalLoss(torch.tensor([4, 1]))
    cosines = torch.zeros(1, 2)
    frequent = loss(cosines, torch.tensor([0])).item()
    rare = loss(cosines, torch.tensor([1])).item()
    assert frequent == pytest.approx(math.log1p(math.e * 4**-1.2))
    assert rare == pytest.approx(math.log1p(math.e * 4**1.5))


def test_robal_margins_follow_the_counts_and_not_the_index() -> None:
    order = torch.tensor([3, 9, 0, 5, 1, 7, 2, 8, 4, 6])
    sorted_, unsorted = RoBalLoss(UR_50), RoBalLoss(UR_50[order])
    assert torch.equal(unsorted.margins, sorted_.margins[order])
    assert torch.equal(unsorted.shift, sorted_.shift[order])


def test_robal_without_margin_and_prior_is_cross_entropy_of_scaled_cosines() -> None:
    cosines, targets = torch.rand(6, 10) * 2 - 1, torch.tensor([0, 9, 4, 4, 1, 7])
    weights = torch.linspace(1, 5, 10)
    loss = RoBalLoss(UR_50, base_margin=0.0, margin_tau=0.0, tau=0.0)
    for given in (None, weights):
        assert loss(cosines, targets, given).item() == pytest.approx(
            CrossEntropy()(10 * cosines, targets, given).item()
        )


def test_robal_without_margin_is_balanced_softmax_of_scaled_cosines() -> None:
    cosines, targets = torch.rand(6, 10) * 2 - 1, torch.tensor([0, 9, 4, 4, 1, 7])
    loss = RoBalLoss(UR_50, base_margin=0.0, margin_tau=0.0, tau=1.2)
    expected = BalancedSoftmax(UR_50, tau=1.2)(10 * cosines, targets)
    assert loss(cosines, targets).item() == pytest.approx(expected.item())


def test_robal_of_equal_counts_has_one_margin_for_all() -> None:
    assert RoBalLoss(torch.tensor([9, 9, 9])).margins.tolist() == pytest.approx([0.1] * 3)
