"""Prediction losses against numbers worked by hand and against NumPy float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from ltat_tune.errors import ConfigError
from ltat_tune.losses import BalancedSoftmax, CrossEntropy, FocalLoss, LDAMLoss
from tests.losses.numeric import Array, central_differences, log_softmax

COUNTS = torch.tensor([500, 60, 7])
Targets = npt.NDArray[np.int64]
Reference = Callable[[Array, Targets, Array | None], float]


def _weighted_mean(losses: Array, targets: Targets, weights: Array | None) -> float:
    w = np.ones(len(targets)) if weights is None else weights[targets]
    return float((w * losses).sum() / w.sum())


def _ce(logits: Array, targets: Targets, weights: Array | None) -> float:
    losses = -log_softmax(logits)[np.arange(len(targets)), targets]
    return _weighted_mean(losses, targets, weights)


def _focal(gamma: float) -> Reference:
    def reference(logits: Array, targets: Targets, weights: Array | None) -> float:
        log_p = log_softmax(logits)[np.arange(len(targets)), targets]
        w = np.ones(len(targets)) if weights is None else weights[targets]
        return float((w * (1 - np.exp(log_p)) ** gamma * -log_p).mean())

    return reference


def _ldam(logits: Array, targets: Targets, weights: Array | None) -> float:
    n = COUNTS.numpy().astype(np.float64)
    margins = 0.5 * n**-0.25 / (n**-0.25).max()
    # The module keeps float32 margins; the rounding belongs to it, not to the formula.
    margins = margins.astype(np.float32).astype(np.float64)
    shifted = logits.copy()
    shifted[np.arange(len(targets)), targets] -= margins[targets]
    return _ce(30 * shifted, targets, weights)


def _balanced(logits: Array, targets: Targets, weights: Array | None) -> float:
    n = COUNTS.numpy().astype(np.float64)
    shift = np.log(n / n.sum()).astype(np.float32).astype(np.float64)
    return _ce(logits + shift, targets, weights)


CASES: dict[str, tuple[nn.Module, Reference]] = {
    "cross_entropy": (CrossEntropy(), _ce),
    "focal 0": (FocalLoss(0.0), _focal(0.0)),
    "focal 0.5": (FocalLoss(0.5), _focal(0.5)),
    "focal 2": (FocalLoss(2.0), _focal(2.0)),
    "ldam": (LDAMLoss(COUNTS), _ldam),
    "balanced_softmax": (BalancedSoftmax(COUNTS), _balanced),
}
each_loss = pytest.mark.parametrize("name", sorted(CASES))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("targets", [[0, 2, 1, 2], [0, 0, 0, 0], [2]])
@each_loss
def test_value_and_gradient_agree_with_numpy(
    name: str, targets: list[int], weighted: bool
) -> None:
    # A batch with every class, one where two classes are absent, and a single sample.
    loss, reference = CASES[name]
    logits = np.random.RandomState(0).normal(size=(len(targets), 3))
    labels = np.array(targets)
    weights = np.array([1.0, 8.5, 71.0]) if weighted else None
    tensor = torch.tensor(logits, requires_grad=True)
    value = loss(tensor, torch.tensor(targets), None if weights is None else torch.tensor(weights))
    (gradient,) = torch.autograd.grad(value, tensor)
    assert value.shape == ()
    assert value.item() == pytest.approx(reference(logits, labels, weights), rel=1e-9)
    expected = central_differences(lambda z: reference(z, labels, weights), logits)
    # LDAM's scale of 30 makes central differences themselves less exact.
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@each_loss
def test_logits_of_ten_thousand_give_finite_values_and_gradients(
    name: str, sign: float, dtype: torch.dtype
) -> None:
    loss, _ = CASES[name]
    logits = (sign * 1e4 * torch.eye(3, dtype=dtype)).requires_grad_()
    value = loss(logits, torch.arange(3), torch.tensor([1.0, 10.0, 100.0]))
    (gradient,) = torch.autograd.grad(value, logits)
    assert bool(value.isfinite()) and bool(gradient.isfinite().all())


def test_ten_thousand_on_a_wrong_class_costs_ten_thousand() -> None:
    logits = torch.tensor([[1e4, 0.0, 0.0]])
    for loss in (CrossEntropy(), FocalLoss(2.0)):
        assert loss(logits, torch.tensor([1])).item() == pytest.approx(1e4)


@each_loss
def test_inputs_are_not_edited(name: str) -> None:
    logits, targets, weights = torch.randn(2, 3), torch.tensor([0, 2]), torch.tensor([1.0, 2, 3])
    copies = [tensor.clone() for tensor in (logits, targets, weights)]
    CASES[name][0](logits, targets, weights)
    for tensor, copy in zip((logits, targets, weights), copies, strict=True):
        assert torch.equal(tensor, copy)


@each_loss
def test_half_precision_logits_become_a_float32_loss(name: str) -> None:
    value = CASES[name][0](torch.zeros(2, 3, dtype=torch.bfloat16), torch.tensor([0, 2]))
    assert value.dtype == torch.float32


@pytest.mark.parametrize("name", ["cross_entropy", "ldam", "balanced_softmax"])
def test_a_common_factor_on_the_weights_cancels_in_a_weighted_mean(name: str) -> None:
    logits, targets = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 2])
    weights = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    loss = CASES[name][0]
    assert loss(logits, targets, 7 * weights).item() == pytest.approx(
        loss(logits, targets, weights).item(), rel=1e-12
    )


def test_a_common_factor_on_the_weights_scales_the_focal_loss() -> None:
    logits, targets = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 2])
    weights = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    loss = FocalLoss(2.0)
    assert loss(logits, targets, 7 * weights).item() == pytest.approx(
        7 * loss(logits, targets, weights).item(), rel=1e-12
    )


def test_equal_logits_give_the_log_of_the_number_of_classes() -> None:
    assert CrossEntropy()(torch.zeros(2, 4), torch.tensor([0, 3])).item() == pytest.approx(
        math.log(4)
    )


def test_focal_loss_of_two_equal_logits_is_log_2_over_2_to_the_gamma() -> None:
    # p = 1/2: (1 - 1/2)^2 log 2 = log(2) / 4; the weight 3 of class 1 multiplies it.
    loss = FocalLoss(2.0)(torch.zeros(1, 2), torch.tensor([1]), torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx(3 * math.log(2) / 4)


def test_focal_loss_with_gamma_0_is_cross_entropy() -> None:
    logits, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 2])
    assert FocalLoss(0.0)(logits, targets).item() == pytest.approx(
        CrossEntropy()(logits, targets).item()
    )


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


@pytest.mark.parametrize("build", [LDAMLoss, BalancedSoftmax])
def test_a_class_without_images_is_refused_and_counts_are_left_alone(
    build: Callable[[Tensor], nn.Module],
) -> None:
    counts = torch.tensor([5, 0, 2])
    with pytest.raises(ConfigError, match=r"`samples_per_class >= 1` .* got \[5, 0, 2\]"):
        build(counts)
    assert counts.tolist() == [5, 0, 2]
    with pytest.raises(ConfigError, match=r"must have shape \(K,\), got shape \(1, 3\)"):
        build(counts[None])


def test_margins_and_prior_are_buffers() -> None:
    assert "margins" in LDAMLoss(COUNTS).state_dict()
    assert "shift" in BalancedSoftmax(COUNTS).state_dict()
