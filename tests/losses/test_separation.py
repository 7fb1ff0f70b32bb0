"""The feature separation loss against numbers worked by hand and against NumPy float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ltat_tune.losses import separation_loss
from tests.losses.numeric import Array, central_differences


def _reference(features: Array, targets: list[int], temperature: float) -> float:
    """SRAT Eq. 6, as two loops; anchors without a positive are left out."""
    n = len(targets)
    losses = []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        positives = [j for j in others if targets[j] == targets[i]]
        if not positives:
            continue
        scores = {j: float(features[i] @ features[j]) / temperature for j in others}
        denominator = math.log(sum(math.exp(score) for score in scores.values()))
        losses.append(np.mean([denominator - scores[p] for p in positives]))
    return float(np.mean(losses))


def _unit(n: int, d: int, seed: int = 0) -> Array:
    features = np.random.RandomState(seed).normal(size=(n, d))
    unit: Array = features / np.linalg.norm(features, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize("temperature", [0.07, 1.0])
@pytest.mark.parametrize("targets", [[0, 0, 1, 1, 2, 0], [0, 0, 0, 0, 0, 0], [3, 1, 2, 0, 4, 3]])
def test_value_and_gradient_agree_with_numpy(targets: list[int], temperature: float) -> None:
    features = _unit(6, 4)
    tensor = torch.tensor(features, requires_grad=True)
    value = separation_loss(tensor, torch.tensor(targets), temperature=temperature)
    (gradient,) = torch.autograd.grad(value, tensor)
    assert value.shape == ()
    assert value.item() == pytest.approx(_reference(features, targets, temperature), rel=1e-10)
    expected = central_differences(lambda f: _reference(f, targets, temperature), features)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-5, atol=1e-7)


def test_three_features_are_worked_by_hand() -> None:
    # e1, e1 of class 0 and e2 of class 1, temperature 1. Both anchors of class 0 have the scores
    # 1 (positive) and 0: log(e + 1) - 1. The third has no positive and is not in the mean.
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    value = separation_loss(features, torch.tensor([0, 0, 1]), temperature=1.0)
    assert value.item() == pytest.approx(math.log(math.e + 1) - 1)


def test_two_images_of_one_class_cost_nothing() -> None:
    # The positive is the whole denominator.
    features = torch.tensor(_unit(2, 3))
    assert separation_loss(features, torch.tensor([1, 1]), temperature=0.07).item() == 0.0


def test_a_singleton_class_is_no_anchor_but_stays_in_the_denominators() -> None:
    features = torch.tensor(_unit(5, 3))
    targets = torch.tensor([0, 0, 1, 1, 2])
    whole = separation_loss(features, targets, temperature=0.5).item()
    without = separation_loss(features[:4], targets[:4], temperature=0.5).item()
    assert whole > without
    assert whole == pytest.approx(_reference(features.numpy(), targets.tolist(), 0.5))


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_without_pairs_gives_zero_and_a_zero_gradient(n: int, dtype: torch.dtype) -> None:
    features = torch.tensor(_unit(n, 4), dtype=dtype).requires_grad_()
    value = separation_loss(features, torch.arange(n), temperature=0.07)
    (gradient,) = torch.autograd.grad(value, features)
    assert value.item() == 0.0
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_the_order_of_the_batch_does_not_matter() -> None:
    features, targets = torch.tensor(_unit(6, 4)), torch.tensor([0, 0, 1, 1, 2, 0])
    order = torch.tensor([5, 2, 0, 4, 1, 3])
    assert separation_loss(features[order], targets[order], temperature=0.1).item() == (
        pytest.approx(separation_loss(features, targets, temperature=0.1).item(), rel=1e-12)
    )


def test_identical_features_give_log_of_the_others() -> None:
    # All scores equal 1 / tau: log((N - 1) e^s) - s = log(N - 1), for any temperature.
    features = torch.tensor([[0.6, 0.8]]).repeat(4, 1)
    value = separation_loss(features, torch.tensor([0, 0, 1, 1]), temperature=0.07)
    assert value.item() == pytest.approx(math.log(3), rel=1e-5)


def test_the_lowest_temperature_of_the_configuration_stays_finite() -> None:
    # Scores of +-1000: exp would overflow float32.
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    value = separation_loss(features, torch.tensor([0, 0, 1]), temperature=0.001)
    (gradient,) = torch.autograd.grad(value, features)
    assert value.item() == pytest.approx((2000 + math.log(2)) / 2, rel=1e-4)
    assert bool(gradient.isfinite().all())


def test_half_precision_features_become_a_float32_loss() -> None:
    features = F.normalize(torch.randn(4, 3), dim=1).bfloat16()
    value = separation_loss(features, torch.tensor([0, 0, 1, 1]), temperature=0.1)
    assert value.dtype == torch.float32
