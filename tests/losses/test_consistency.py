"""TRADES, RoBal and MART terms against NumPy float64 and numbers worked by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ltat_tune.losses import kl_consistency, mart_consistency, mart_margin
from tests.losses.numeric import Array, central_differences, log_softmax

BATCHES = [(2, [1, 0, 1]), (3, [0, 2, 1, 2]), (3, [2]), (100, [7, 99]), (200, [150, 3])]
each_batch = pytest.mark.parametrize(("classes", "targets"), BATCHES)


def _divergences(clean: Array, adv: Array, floor: float) -> Array:
    p, q = np.exp(log_softmax(clean)), np.exp(log_softmax(adv))
    kl: Array = (p * (np.log(p) - np.log(q + floor))).sum(axis=1)
    return kl


def _logits(n: int, classes: int) -> tuple[Array, Array]:
    random = np.random.RandomState(0)
    return random.normal(size=(n, classes)), random.normal(size=(n, classes))


def _agrees(
    loss: Callable[[Tensor, Tensor], Tensor],
    reference: Callable[[Array, Array], float],
    clean: Array,
    adv: Array,
) -> None:
    """Value, and the gradients with respect to either argument."""
    tensors = [torch.tensor(z, requires_grad=True) for z in (clean, adv)]
    value = loss(*tensors)
    gradients = torch.autograd.grad(value, tensors)
    assert value.shape == ()
    assert value.item() == pytest.approx(reference(clean, adv), rel=1e-9)
    expected = (
        central_differences(lambda z: reference(z, adv), clean),
        central_differences(lambda z: reference(clean, z), adv),
    )
    for gradient, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient.numpy(), wanted, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("floor", [0.0, 1e-12, 1e-2])
@each_batch
def test_kl_consistency_agrees_with_numpy(classes: int, targets: list[int], floor: float) -> None:
    clean, adv = _logits(len(targets), classes)
    _agrees(
        lambda p, q: kl_consistency(p, q, floor=floor),
        lambda p, q: float(_divergences(p, q, floor).mean()),
        clean,
        adv,
    )


@each_batch
def test_mart_consistency_agrees_with_numpy(classes: int, targets: list[int]) -> None:
    clean, adv = _logits(len(targets), classes)

    def reference(p: Array, q: Array) -> float:
        true = np.exp(log_softmax(p))[range(len(targets)), targets]
        return float((_divergences(p, q, 1e-12) * (1.0000001 - true)).mean())

    labels = torch.tensor(targets)
    _agrees(lambda p, q: mart_consistency(p, q, labels), reference, clean, adv)


@each_batch
def test_mart_margin_agrees_with_numpy(classes: int, targets: list[int]) -> None:
    _, adv = _logits(len(targets), classes)

    def reference(z: Array) -> float:
        q = np.exp(log_softmax(z))
        wrong = [max(np.delete(row, y)) for row, y in zip(q, targets, strict=True)]
        return float(np.mean([-math.log(1.0001 - r + 1e-12) for r in wrong]))

    tensor = torch.tensor(adv, requires_grad=True)
    value = mart_margin(tensor, torch.tensor(targets))
    (gradient,) = torch.autograd.grad(value, tensor)
    assert value.shape == ()
    assert value.item() == pytest.approx(reference(adv), rel=1e-9)
    np.testing.assert_allclose(
        gradient.numpy(), central_differences(reference, adv), rtol=1e-5, atol=1e-8
    )


def test_kl_of_two_coins_is_worked_by_hand() -> None:
    # p = (3/4, 1/4), q = (1/4, 3/4): log(3) / 2; the other image agrees with itself.
    clean = torch.tensor([[math.log(3), 0.0], [1.0, -1.0]], dtype=torch.float64)
    adv = torch.tensor([[0.0, math.log(3)], [1.0, -1.0]], dtype=torch.float64)
    assert kl_consistency(clean, adv).item() == pytest.approx(math.log(3) / 4, rel=1e-12)
    # MART: weights 1 - 1/4 on class 1.
    labels = torch.tensor([1, 0])
    assert mart_consistency(clean, adv, labels).item() == pytest.approx(
        math.log(3) / 4 * 0.75, rel=1e-6
    )


def test_mart_margin_of_equal_logits_is_worked_by_hand() -> None:
    # Four classes: the likeliest wrong one has 1/4, whichever it is.
    value = mart_margin(torch.zeros(3, 4, dtype=torch.float64), torch.tensor([0, 1, 3]))
    assert value.item() == pytest.approx(-math.log(0.7501), rel=1e-9)


def test_mart_margin_never_takes_the_true_class() -> None:
    # The true class has almost everything: the other's probability is about 0, and the loss
    # -log(1.0001). Were it the true class, the loss would be -log(0.0001).
    logits, targets = torch.tensor([[20.0, 0.0]]), torch.tensor([0])
    assert mart_margin(logits, targets).item() == pytest.approx(-math.log(1.0001), abs=1e-6)
    assert mart_margin(logits, 1 - targets).item() == pytest.approx(-math.log(0.0001), rel=1e-3)


def test_equal_predictions_cost_nothing() -> None:
    logits = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    value = kl_consistency(logits, logits + 3)  # softmax does not see the shift
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.item() == pytest.approx(0, abs=1e-15)
    assert gradient.abs().max().item() < 1e-15


def test_ten_times_the_logits_change_the_direction_of_the_gradient() -> None:
    clean, adv = (torch.tensor(z) for z in _logits(1, 5))
    directions = []
    for scale in (1.0, 10.0):
        z = (scale * adv).requires_grad_()
        (gradient,) = torch.autograd.grad(kl_consistency(scale * clean, z), z)
        directions.append(gradient[0] / gradient.norm())
    assert float(directions[0] @ directions[1]) < 0.99


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_of_ten_thousand_give_finite_values_and_gradients(dtype: torch.dtype) -> None:
    # Sure of class 0 when clean, of class 1 when attacked: KL is 1e4 exactly, and -log(1e-12)
    # where a floor stops the logarithm.
    clean = torch.tensor([[1e4, 0.0]], dtype=dtype, requires_grad=True)
    adv = torch.tensor([[0.0, 1e4]], dtype=dtype, requires_grad=True)
    targets = torch.tensor([0])
    for value, expected in (
        (kl_consistency(clean, adv), 1e4),
        (kl_consistency(clean, adv, floor=1e-12), -math.log(1e-12)),
        (mart_margin(adv, targets), -math.log(0.0001)),
        (mart_consistency(clean, adv, 1 - targets), -math.log(1e-12)),
    ):
        assert value.item() == pytest.approx(expected, rel=1e-3)
        for gradient in torch.autograd.grad(value, (clean, adv), allow_unused=True):
            assert gradient is None or bool(gradient.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_become_a_float32_loss(dtype: torch.dtype) -> None:
    clean, adv = torch.randn(3, 4).to(dtype), torch.randn(3, 4).to(dtype)
    targets = torch.tensor([0, 3, 1])
    for half, single in (
        (kl_consistency(clean, adv), kl_consistency(clean.float(), adv.float())),
        (mart_margin(adv, targets), mart_margin(adv.float(), targets)),
        (
            mart_consistency(clean, adv, targets),
            mart_consistency(clean.float(), adv.float(), targets),
        ),
    ):
        assert half.dtype == torch.float32
        assert half.item() == single.item()


def test_nothing_is_edited_and_no_value_fetched_from_the_device() -> None:
    clean, adv, targets = torch.randn(3, 4), torch.randn(3, 4), torch.tensor([0, 3, 1])
    copies = [tensor.clone() for tensor in (clean, adv, targets)]
    for device in ("cpu", "meta"):
        p, y = clean.to(device), targets.to(device)
        q = adv.clone().to(device).requires_grad_()
        for value in (
            kl_consistency(p, q),
            kl_consistency(p, q, floor=1e-12),
            mart_margin(q, y),
            mart_consistency(p, q, y),
        ):
            value.backward()
    for tensor, copy in zip((clean, adv, targets), copies, strict=True):
        assert torch.equal(tensor, copy)
