"""The cosine head against NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from ltat_tune.models import CosineHead

Array = npt.NDArray[np.float64]


def _logits(features: Array, weight: Array, scale: float, gamma: float) -> Array:
    """By the definition, one number at a time."""
    out = np.zeros((len(features), len(weight)))
    for i, f in enumerate(features):
        for j, w in enumerate(weight):
            norms = np.sqrt((f * f).sum()) * (np.sqrt((w * w).sum()) + gamma)
            out[i, j] = scale * (f * w).sum() / norms
    return out


def _slope(values: Array, features: Array, weight: Array, weighing: Array) -> Array:
    """Central differences of sum(weighing * logits); `values` is one of the other two arrays."""
    slope = np.zeros_like(values)
    for index in np.ndindex(values.shape):
        kept = values[index]
        ends = []
        for step in (1e-6, -1e-6):
            values[index] = kept + step
            ends.append((weighing * _logits(features, weight, 7.0, 0.25)).sum())
        values[index] = kept
        slope[index] = (ends[0] - ends[1]) / 2e-6
    return slope


def _head(weight: Array, *, scale: float, gamma: float) -> CosineHead:
    head = CosineHead(weight.shape[1], weight.shape[0], scale=scale, gamma=gamma).double()
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
    return head


def _arrays() -> tuple[Array, Array, Array]:
    """Features (5, 4), weights (3, 4), and a (5, 3) to weigh logits with."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(5, 4)), 0.3 * rng.normal(size=(3, 4)), rng.normal(size=(5, 3))


@pytest.mark.parametrize(("scale", "gamma"), [(10.0, 1 / 32), (1.0, 1 / 16), (3.0, 0.0)])
def test_logits_are_those_of_the_definition(scale: float, gamma: float) -> None:
    features, weight, _ = _arrays()
    logits = _head(weight, scale=scale, gamma=gamma)(torch.from_numpy(features))
    expected = _logits(features, weight, scale, gamma)
    assert np.allclose(logits.detach().numpy(), expected, rtol=1e-12, atol=1e-14)


def test_gradients_are_the_slopes_of_the_definition() -> None:
    features, weight, weighing = _arrays()
    head = _head(weight, scale=7.0, gamma=0.25)
    given = torch.from_numpy(features.copy()).requires_grad_(True)
    (head(given) * torch.from_numpy(weighing)).sum().backward()
    for gradient, values in ((given.grad, features), (head.weight.grad, weight)):
        assert gradient is not None
        slope = _slope(values, features, weight, weighing)
        assert np.allclose(gradient.numpy(), slope, rtol=1e-6, atol=1e-7)


def test_a_feature_along_a_class_weight_of_length_2() -> None:
    # cos = 1 shrunk by 2 / (2 + 0.5); the other class is at a right angle.
    head = _head(np.array([[2.0, 0.0], [0.0, 2.0]]), scale=10.0, gamma=0.5)
    assert head(torch.tensor([[3.0, 0.0]], dtype=torch.float64)).tolist() == [[8.0, 0.0]]


def test_the_length_of_a_feature_does_not_matter_and_that_of_a_weight_does_through_gamma() -> None:
    features, weight, _ = _arrays()
    given = torch.from_numpy(features)
    logits = _head(weight, scale=10.0, gamma=0.1)(given)
    assert torch.allclose(_head(weight, scale=10.0, gamma=0.1)(1e-3 * given), logits)
    longer = _head(2 * weight, scale=10.0, gamma=0.1)(given)
    assert bool((longer.abs() > logits.abs()).all())
    without = _head(weight, scale=10.0, gamma=0.0)(given)
    assert torch.allclose(_head(2 * weight, scale=10.0, gamma=0.0)(given), without)


def test_the_scale_is_a_factor_on_the_logits() -> None:
    features, weight, _ = _arrays()
    one, ten = (_head(weight, scale=s, gamma=0.1)(torch.from_numpy(features)) for s in (1.0, 10.0))
    assert torch.allclose(10 * one, ten, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_feature_of_length_0_gives_logits_of_0_and_finite_gradients(dtype: torch.dtype) -> None:
    head = CosineHead(4, 3).to(dtype)
    features = torch.zeros(2, 4, dtype=dtype, requires_grad=True)
    logits: Tensor = head(features)
    assert logits.tolist() == [[0.0] * 3] * 2
    logits[:, 0].sum().backward()
    assert head.weight.grad is not None and bool(head.weight.grad.isfinite().all())
    if dtype in (torch.float64, torch.float32):  # in half precision it is beyond the range
        assert features.grad is not None and bool(features.grad.isfinite().all())


def test_half_precision_gives_logits_in_float32_and_small_features_their_cosines() -> None:
    head = CosineHead(2, 2, scale=1.0, gamma=0.0).half()
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    # The squares of these numbers are 0 in float16.
    logits = head(torch.tensor([[3e-5, 4e-5]], dtype=torch.float16))
    assert logits.dtype == torch.float32
    assert logits[0].tolist() == pytest.approx([0.6, 0.8], abs=0.01)


def test_a_class_weight_of_length_0_without_gamma_gives_logits_of_0() -> None:
    head = _head(np.array([[0.0, 0.0], [1.0, 1.0]]), scale=10.0, gamma=0.0)
    logits = head(torch.tensor([[1.0, 1.0]], dtype=torch.float64))
    assert logits[0, 0].item() == 0.0 and logits[0, 1].item() == pytest.approx(10.0)
    logits.sum().backward()
    assert head.weight.grad is not None and bool(head.weight.grad.isfinite().all())


def test_the_weight_starts_uniform_in_1_by_the_root_of_d_and_there_is_no_bias() -> None:
    torch.manual_seed(0)
    head = CosineHead(64, 100)
    assert head.weight.shape == (100, 64)
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    # 1/sqrt(64) = 0.125, and the std of a uniform number is that by sqrt(3).
    assert 0.124 < float(head.weight.detach().abs().max()) <= 0.125
    assert float(head.weight.detach().std()) == pytest.approx(0.125 / 3**0.5, rel=0.03)
