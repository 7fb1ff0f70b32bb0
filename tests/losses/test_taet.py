"""TAET's class losses and terms against NumPy float64 and the numbers of the rivals' facts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ltat_tune.losses import class_losses, taet_terms
from tests.losses.numeric import Array, central_differences, cross_entropies

TERMS = ("bcl", "hdl", "rcel")


def _class_losses(logits: Array, targets: list[int], smoothing: float) -> Array:
    losses = cross_entropies(logits, targets, smoothing)
    found = np.zeros(logits.shape[1])
    for c in set(targets):
        found[c] = np.mean([loss for loss, y in zip(losses, targets, strict=True) if y == c])
    return found


def _term(losses: Array, name: str) -> float:
    mean = losses.mean()
    return {
        "bcl": float(mean),
        "hdl": float(((losses - mean) ** 2).mean()),
        "rcel": float(((losses / (losses.sum() + 1e-10)) ** 2).sum()),
    }[name]


def _total(terms: dict[str, Tensor], weight: float = 0.1) -> float:
    return weight * sum(terms[name].item() for name in TERMS)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize(
    ("classes", "targets"),
    [(2, [1, 0, 1]), (3, [0, 2, 2, 2]), (3, [2]), (100, [7, 99, 7]), (200, [150, 3])],
)
def test_value_and_gradient_agree_with_numpy(
    classes: int, targets: list[int], name: str, smoothing: float
) -> None:
    logits = np.random.RandomState(0).normal(size=(len(targets), classes))
    tensor = torch.tensor(logits, requires_grad=True)
    losses = class_losses(tensor, torch.tensor(targets), classes, label_smoothing=smoothing)
    np.testing.assert_allclose(
        losses.detach().numpy(), _class_losses(logits, targets, smoothing), rtol=1e-12
    )
    value = taet_terms(losses)[name]
    (gradient,) = torch.autograd.grad(value, tensor)

    def reference(z: Array) -> float:
        return _term(_class_losses(z, targets, smoothing), name)

    assert value.shape == ()
    assert value.item() == pytest.approx(reference(logits), rel=1e-9)
    expected = central_differences(reference, logits)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-5, atol=1e-8)


def test_the_terms_are_named_and_worked_by_hand() -> None:
    # L = 1, 2, 3, 4: mean 2.5, variance 1.25, squared shares 30 / 100.
    terms = taet_terms(torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))
    assert set(terms) == set(TERMS)
    assert _total(terms) == pytest.approx(0.25 + 0.125 + 0.03, rel=1e-9)


@pytest.mark.parametrize(("present", "total"), [(10, 0.240259), (5, 0.267677)])
def test_zero_logits_give_the_numbers_of_the_facts(present: int, total: float) -> None:
    targets = torch.arange(present).repeat(3)
    losses = class_losses(torch.zeros(3 * present, 10), targets, 10)
    expected = [math.log(10)] * present + [0.0] * (10 - present)
    assert losses.tolist() == pytest.approx(expected)
    assert _total(taet_terms(losses)) == pytest.approx(total, abs=1e-6)


def test_an_absent_class_has_the_loss_0_and_gets_no_gradient_of_its_own() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    losses = class_losses(logits, torch.tensor([0, 0, 2]), 4)
    assert losses[1].item() == 0.0 and losses[3].item() == 0.0
    (gradient,) = torch.autograd.grad(losses[1] + losses[3], logits)
    assert not gradient.any()


def test_rcel_lies_between_one_over_k_and_1_and_ignores_the_scale() -> None:
    for losses in ([3.0, 3.0, 3.0, 3.0], [0.1, 2.0, 5.0, 0.0], [0.0, 7.0, 0.0, 0.0]):
        tensor = torch.tensor(losses, dtype=torch.float64)
        rcel = taet_terms(tensor)["rcel"].item()
        assert 0.25 - 1e-9 <= rcel <= 1
        assert taet_terms(9 * tensor)["rcel"].item() == pytest.approx(rcel, rel=1e-8)


def test_no_loss_at_all_gives_zero_terms_and_a_finite_gradient() -> None:
    losses = torch.zeros(4, requires_grad=True)
    terms = taet_terms(losses)
    assert all(terms[name].item() == 0.0 for name in TERMS)
    (gradient,) = torch.autograd.grad(terms["bcl"] + terms["hdl"] + terms["rcel"], losses)
    assert bool(gradient.isfinite().all())


def test_bcl_of_equally_frequent_classes_is_cross_entropy() -> None:
    logits, targets = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, 0])
    bcl = taet_terms(class_losses(logits, targets, 3))["bcl"].item()
    assert bcl == pytest.approx(F.cross_entropy(logits, targets).item(), rel=1e-12)


def test_other_names_for_the_classes_leave_the_terms_as_they_are() -> None:
    logits, targets = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, 0])
    renamed = torch.tensor([2, 0, 3, 1])  # old class -> new class
    moved = torch.empty_like(logits)
    moved[:, renamed] = logits
    before = taet_terms(class_losses(logits, targets, 4))
    after = taet_terms(class_losses(moved, renamed[targets], 4))
    for name in TERMS:
        assert after[name].item() == pytest.approx(before[name].item(), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_become_float32_losses(dtype: torch.dtype) -> None:
    logits, targets = torch.randn(5, 3).to(dtype), torch.tensor([0, 1, 2, 2, 1])
    losses = class_losses(logits, targets, 3)
    assert losses.dtype == torch.float32
    assert torch.equal(losses, class_losses(logits.float(), targets, 3))


def test_nothing_is_edited_and_no_value_fetched_from_the_device() -> None:
    logits, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 2, 1])
    copies = [tensor.clone() for tensor in (logits, targets)]
    for device in ("cpu", "meta"):
        z = logits.clone().to(device).requires_grad_()
        terms = taet_terms(class_losses(z, targets.to(device), 3, label_smoothing=0.1))
        (terms["bcl"] + terms["hdl"] + terms["rcel"]).backward()
    for tensor, copy in zip((logits, targets), copies, strict=True):
        assert torch.equal(tensor, copy)
