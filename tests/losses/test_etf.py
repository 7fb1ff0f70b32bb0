"""MCAT's penalty against NumPy float64 and the geometries whose value is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ltat_tune.losses import etf_penalty
from tests.losses.numeric import Array, central_differences


def _reference(weight: Array) -> float:
    """R_geom as two loops over classes."""
    k, total = len(weight), 0.0
    for a in range(k):
        for b in range(k):
            cosine = weight[a] @ weight[b] / np.linalg.norm(weight[a]) / np.linalg.norm(weight[b])
            total += (cosine - (1 if a == b else -1 / (k - 1))) ** 2
    return float(total / k**2)


def _simplex(k: int) -> Array:
    """K rows in K dimensions: the corners of a simplex around its centre."""
    corners: Array = np.eye(k) - 1 / k
    return corners


@pytest.mark.parametrize(("k", "d"), [(2, 3), (3, 1), (3, 8), (10, 4)])
def test_value_and_gradient_agree_with_numpy(k: int, d: int) -> None:
    weight = np.random.RandomState(0).normal(size=(k, d))
    tensor = torch.tensor(weight, requires_grad=True)
    value = etf_penalty(tensor)
    (gradient,) = torch.autograd.grad(value, tensor)
    assert value.shape == ()
    assert value.item() == pytest.approx(_reference(weight), rel=1e-9)
    expected = central_differences(_reference, weight)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("k", [2, 3, 10, 100, 200])
def test_known_geometries_have_known_penalties(k: int) -> None:
    simplex = etf_penalty(torch.tensor(_simplex(k)))
    assert simplex.item() == pytest.approx(0, abs=1e-15)
    orthogonal = etf_penalty(torch.eye(k, dtype=torch.float64))
    assert orthogonal.item() == pytest.approx(1 / (k * (k - 1)), rel=1e-12)  # .011111 for 10
    identical = etf_penalty(torch.ones(k, 5, dtype=torch.float64))
    assert identical.item() == pytest.approx(k / (k - 1), rel=1e-12)  # 1.1111 for 10


def test_lengths_of_rows_and_a_rotation_do_not_matter() -> None:
    random = np.random.RandomState(0)
    weight = random.normal(size=(6, 4))
    rotation, _ = np.linalg.qr(random.normal(size=(4, 4)))
    scaled = random.uniform(0.1, 9, size=(6, 1)) * weight @ rotation
    assert etf_penalty(torch.tensor(scaled)).item() == pytest.approx(
        etf_penalty(torch.tensor(weight)).item(), rel=1e-12
    )


def test_a_step_down_brings_random_rows_closer_to_a_simplex() -> None:
    weight = torch.tensor(np.random.RandomState(0).normal(size=(10, 16)), requires_grad=True)
    before = etf_penalty(weight)
    (gradient,) = torch.autograd.grad(before, weight)
    assert etf_penalty(weight.detach() - 0.1 * gradient).item() < before.item()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_become_a_float32_penalty(dtype: torch.dtype) -> None:
    weight = torch.randn(5, 8).to(dtype)
    value = etf_penalty(weight)
    assert value.dtype == torch.float32
    assert value.item() == etf_penalty(weight.float()).item()


def test_the_weight_is_not_edited_and_no_value_fetched_from_the_device() -> None:
    weight = torch.randn(5, 8)
    copy = weight.clone()
    for device in ("cpu", "meta"):
        etf_penalty(weight.clone().to(device).requires_grad_()).backward()
    assert torch.equal(weight, copy)
