"""What all prediction losses share, and `build_loss`: the table and what reaches the losses."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from ltat_tune.config.sections import LossConfig
from ltat_tune.losses import (
    LOSSES,
    BalancedSoftmax,
    EffectiveNumber,
    FocalLoss,
    LDAMLoss,
    RoBalLoss,
    build_loss,
)
from tests.losses.numeric import central_differences
from tests.losses.prediction_losses import CASES, counts_of

COUNTS = torch.tensor([16, 1])
THREE = torch.tensor([500, 60, 7])
each_loss = pytest.mark.parametrize("name", sorted(CASES))


def _loss(name: str, smoothing: float = 0.0) -> nn.Module:
    return CASES[name].build(THREE, smoothing)


# --- the losses ---


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(
    ("classes", "targets"),
    [
        (2, [1, 0, 1]),
        (3, [0, 2, 1, 2]),
        (3, [0, 0, 0, 0]),  # two classes are absent
        (3, [2]),  # a single image
        (100, [7, 99, 2]),
        (200, [150, 3]),
    ],
)
@each_loss
def test_value_and_gradient_agree_with_numpy(
    name: str, classes: int, targets: list[int], smoothing: float, weighted: bool
) -> None:
    counts = counts_of(classes)
    random = np.random.RandomState(0)
    logits = random.normal(size=(len(targets), classes))
    weights = random.uniform(1, 70, size=classes) if weighted else None
    tensor = torch.tensor(logits, requires_grad=True)
    value = CASES[name].build(counts, smoothing)(
        tensor, torch.tensor(targets), None if weights is None else torch.tensor(weights)
    )
    (gradient,) = torch.autograd.grad(value, tensor)
    n = counts.numpy().astype(np.float64)

    def reference(z: np.typing.NDArray[np.float64]) -> float:
        return CASES[name].reference(z, targets, weights, n, smoothing)

    assert value.shape == ()
    assert value.item() == pytest.approx(reference(logits), rel=1e-9)
    # LDAM's scale of 30 makes central differences themselves less exact.
    np.testing.assert_allclose(
        gradient.numpy(), central_differences(reference, logits), rtol=2e-5, atol=1e-7
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@each_loss
def test_logits_of_ten_thousand_give_finite_values_and_gradients(
    name: str, smoothing: float, sign: float, dtype: torch.dtype
) -> None:
    logits = (sign * 1e4 * torch.eye(3, dtype=dtype)).requires_grad_()
    value = _loss(name, smoothing)(logits, torch.arange(3), torch.tensor([1.0, 10.0, 100.0]))
    (gradient,) = torch.autograd.grad(value, logits)
    assert bool(value.isfinite()) and bool(gradient.isfinite().all())


@each_loss
def test_inputs_are_not_edited(name: str) -> None:
    counts = THREE.clone()
    logits, targets, weights = torch.randn(2, 3), torch.tensor([0, 2]), torch.tensor([1.0, 2, 3])
    copies = [tensor.clone() for tensor in (counts, logits, targets, weights)]
    CASES[name].build(counts, 0.1)(logits, targets, weights)
    for tensor, copy in zip((counts, logits, targets, weights), copies, strict=True):
        assert torch.equal(tensor, copy)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@each_loss
def test_half_precision_logits_become_a_float32_loss(name: str, dtype: torch.dtype) -> None:
    loss, targets, weights = _loss(name), torch.tensor([0, 2]), torch.tensor([1.0, 2.0, 3.0])
    logits = torch.tensor([[0.5, -1.0, 0.25], [1.0, 0.0, -0.75]])  # exact in either precision
    value = loss(logits.to(dtype), targets, weights)
    assert value.dtype == torch.float32
    assert value.item() == loss(logits, targets, weights).item()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", sorted(n for n, case in CASES.items() if case.weighted_mean))
def test_a_common_factor_on_the_weights_cancels_in_a_weighted_mean(
    name: str, smoothing: float
) -> None:
    logits, targets = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 2])
    weights = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    loss = _loss(name, smoothing)
    assert loss(logits, targets, 7 * weights).item() == pytest.approx(
        loss(logits, targets, weights).item(), rel=1e-12
    )


@each_loss
def test_the_order_of_the_batch_does_not_matter(name: str) -> None:
    logits, targets = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 2])
    weights, order = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([3, 1, 4, 0, 2])
    loss = _loss(name, 0.1)
    assert loss(logits[order], targets[order], weights).item() == pytest.approx(
        loss(logits, targets, weights).item(), rel=1e-12
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@each_loss
def test_no_value_is_fetched_from_the_device(name: str, smoothing: float) -> None:
    # The meta device has shapes and no values: reading one, or a tensor left on the CPU, raises.
    logits = torch.zeros(4, 3, device="meta", requires_grad=True)
    targets = torch.zeros(4, dtype=torch.int64, device="meta")
    loss = _loss(name, smoothing).to("meta")
    for weights in (None, torch.ones(3, device="meta")):
        value = loss(logits, targets, weights)
        value.backward()
        assert value.shape == ()


# --- build_loss ---


def test_the_table_holds_what_the_configuration_offers() -> None:
    assert set(LOSSES) == set(get_args(LossConfig.model_fields["name"].annotation))


def test_the_parameters_of_the_configuration_reach_the_losses() -> None:
    focal = build_loss(LossConfig(name="focal", gamma=2.0), COUNTS)
    assert isinstance(focal, FocalLoss) and focal.gamma == 2.0 and not focal.weight_inside
    inside = build_loss(LossConfig(name="focal", focal_weight="inside"), COUNTS)
    assert isinstance(inside, FocalLoss) and inside.weight_inside
    ldam = build_loss(LossConfig(name="ldam", max_margin=0.4, scale=5.0), COUNTS)
    assert isinstance(ldam, LDAMLoss) and ldam.scale == 5.0
    assert ldam.margins.tolist() == pytest.approx([0.2, 0.4])
    balanced = build_loss(LossConfig(name="balanced_softmax", tau=0.5), COUNTS)
    assert isinstance(balanced, BalancedSoftmax)
    expected = 0.5 * (torch.tensor([16.0, 1.0]) / 16).log()
    assert balanced.shift.tolist() == pytest.approx(expected.tolist())
    robal = build_loss(
        LossConfig(name="robal", scale=5.0, base_margin=0.2, margin_tau=0.1, tau=0.5), COUNTS
    )
    assert isinstance(robal, RoBalLoss) and robal.scale == 5.0
    assert robal.margins.tolist() == pytest.approx([0.2 + 0.02 * np.log(16), 0.2])
    assert robal.shift.tolist() == pytest.approx(expected.tolist())


def test_the_beta_of_the_class_weights_reaches_effective_number() -> None:
    # beta 1/2, counts 2 and 1: E = 1.5 and 1. Of the data: N = 3, beta 2/3, E = 5/3 and 1.
    config, counts = LossConfig(name="effective_number"), torch.tensor([2, 1])
    for beta, expected in ((0.5, 1.5), (None, 5 / 3), (0.9999, 1.9999)):
        loss = build_loss(config, counts, beta=beta)
        assert isinstance(loss, EffectiveNumber)
        assert loss.weights.tolist() == pytest.approx([1.0, expected], rel=1e-6)
    left_out = build_loss(config, counts)
    assert isinstance(left_out, EffectiveNumber)
    assert left_out.weights.tolist() == pytest.approx([1.0, 1.9999], rel=1e-6)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_takes_logits_targets_and_optional_weights(name: str) -> None:
    loss = build_loss(LossConfig.model_validate({"name": name}), COUNTS)
    logits, targets = torch.randn(3, 2), torch.tensor([0, 1, 1])
    assert loss(logits, targets).shape == ()
    assert loss(logits, targets, torch.tensor([1.0, 5.0])).shape == ()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_label_smoothing_reaches_every_loss(name: str) -> None:
    config = {"name": name, "scale": 1.0, "label_smoothing": 0.4}
    loss = build_loss(LossConfig.model_validate(config), COUNTS)
    assert loss.label_smoothing == 0.4
    # The least of the loss is where no class has the probability 0, so a sure answer costs.
    sure = loss(torch.tensor([[200.0, 0.0]]), torch.tensor([0]))
    assert sure.item() > 30
