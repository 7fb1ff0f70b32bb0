"""FAAL's margins and weights: by hand, by the conditions of the optimum, and as released."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from ltat_tune.losses import faal_coefficients, faal_weights

ALL3 = torch.ones(3, dtype=torch.bool)


def _weights(*values: float, radius: float) -> Tensor:
    present = torch.ones(len(values), dtype=torch.bool)
    return faal_weights(torch.tensor(values, dtype=torch.float64), present, radius)


@pytest.mark.parametrize("radius", [1e-6, 0.02, 0.5, 1.0, 5.0])
def test_two_classes_have_the_weights_of_the_quadratic(radius: float) -> None:
    # KL(u || p) = -ln 2 - ln(p (1 - p)) / 2 = r, so p (1 - p) = exp(-2 r) / 4
    p = (1 + math.sqrt(1 - math.exp(-2 * radius))) / 2
    assert _weights(1.0, 0.0, radius=radius).tolist() == pytest.approx([2 * p, 2 - 2 * p], 1e-9)


@pytest.mark.parametrize("radius", [0.05, 0.5])
def test_the_weights_are_those_of_a_general_solver(radius: float) -> None:
    a = np.array([0.3, -0.9, 0.1, -0.2])

    def divergence(p: np.ndarray) -> float:
        return float(radius - np.mean(np.log(0.25 / p)))

    found = minimize(
        lambda p: -a @ p, np.full(4, 0.25), bounds=[(1e-6, 1)] * 4, method="SLSQP",
        constraints=[{"type": "eq", "fun": lambda p: p.sum() - 1},
                     {"type": "ineq", "fun": divergence}],
        options={"ftol": 1e-14, "maxiter": 500},
    )  # fmt: skip
    assert _weights(*a, radius=radius).numpy() / 4 == pytest.approx(found.x, abs=1e-5)


@pytest.mark.parametrize("classes", [3, 10, 100])
@pytest.mark.parametrize("radius", [1e-4, 0.5, 2.0])
def test_the_mean_is_1_and_the_divergence_the_radius(classes: int, radius: float) -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(classes, generator=generator, dtype=torch.float64)
    weights = faal_weights(a, torch.ones(classes, dtype=torch.bool), radius)
    assert weights.mean().item() == pytest.approx(1)
    assert -weights.log().mean().item() == pytest.approx(radius, rel=1e-7)
    assert torch.equal(weights.argsort(), a.argsort())
    moved = faal_weights(3 * a - 5, torch.ones(classes, dtype=torch.bool), radius)
    assert torch.allclose(moved, weights, rtol=1e-8)  # only the shape of a counts


def test_with_many_classes_one_class_outweighs_all_others() -> None:
    # one class above 99 equal ones: p = w / 100 and the others (1 - p) / 99
    a = torch.zeros(100, dtype=torch.float64)
    a[0] = 1
    assert faal_weights(a, torch.ones(100, dtype=torch.bool), 0.5)[0].item() > 35


def test_equal_margins_give_equal_weights() -> None:
    assert _weights(0.25, 0.25, 0.25, radius=0.5).tolist() == pytest.approx([1.0] * 3)


def test_absent_classes_take_no_part() -> None:
    present = torch.tensor([True, False, True])
    weights = faal_weights(torch.tensor([1.0, 7.0, 0.0]), present, 0.5)
    alone = _weights(1.0, 0.0, radius=0.5).tolist()
    assert weights.tolist() == pytest.approx([alone[0], 0.0, alone[1]])
    one = faal_weights(torch.tensor([1.0, 7.0, 0.0]), torch.tensor([False, False, True]), 0.5)
    assert one.tolist() == pytest.approx([0.0, 0.0, 1.0])


def test_a_class_has_the_mean_margin_of_its_images() -> None:
    # probabilities (1/2, 1/3, 1/6): margins -1/6 for class 0, 1/6 for class 1
    logits = torch.tensor([[3.0, 2.0, 1.0]], dtype=torch.float64).log().repeat(4, 1)
    targets = torch.tensor([0, 1, 1, 1])
    means, present = faal_coefficients(logits, targets)
    assert means.tolist() == pytest.approx([-1 / 6, 1 / 6, 0])
    assert present.tolist() == [True, True, False]
    sums, all_present = faal_coefficients(logits, targets, released=True)
    assert sums.tolist() == pytest.approx([-1 / 6, 1 / 2, 0])
    assert all_present.tolist() == [True, True, True]


def test_as_released_an_absent_class_beats_one_that_is_answered_right() -> None:
    logits = torch.tensor([[9.0, 0.0, 0.0]] * 3 + [[0.0, 9.0, 0.0]])
    targets = torch.tensor([0, 0, 0, 1])
    weights = faal_weights(*faal_coefficients(logits, targets, released=True), 0.5)
    assert weights.argmax().item() == 2  # no image has this weight
    own = faal_weights(*faal_coefficients(logits, targets), 0.5)
    assert own[:2].tolist() == pytest.approx([1.0, 1.0], abs=1e-6)


def test_margins_have_no_gradient() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    coefficients, _ = faal_coefficients(logits, torch.tensor([0, 1, 2, 0]))
    assert not coefficients.requires_grad
