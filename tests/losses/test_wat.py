"""WAT's weights and costs by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ltat_tune.losses import wat_costs, wat_weights

LN2 = math.log(2)


def _costs(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_weights_are_a_softmax_of_the_costs_and_their_mean() -> None:
    # 2^1, 2^2, 2^3 and 2^2 of the mean, times 3/18
    weights = wat_weights(_costs(1, 2, 3), LN2, 3.0)
    assert weights.dtype == torch.float64
    assert weights.tolist() == pytest.approx([1 / 3, 2 / 3, 4 / 3, 2 / 3], abs=1e-15)


@pytest.mark.parametrize("classes", [2, 10])
def test_of_equal_costs_and_without_a_rate_all_weigh_the_same(classes: int) -> None:
    expected = pytest.approx([classes / (classes + 1)] * (classes + 1))
    assert wat_weights(torch.full((classes,), 7.0), 0.1, 3.0).tolist() == expected
    assert wat_weights(torch.arange(classes), 0.0, 3.0).tolist() == expected


def test_a_weight_above_the_bound_has_the_bound_and_the_others_share_the_rest() -> None:
    # 4/3 is cut to 1.2; 1/3, 2/3 and 2/3 grow by 1.8 / (5/3) = 1.08
    weights = wat_weights(_costs(1, 2, 3), LN2, 1.2)
    assert weights.tolist() == pytest.approx([0.36, 0.72, 1.2, 0.72], abs=1e-14)


def test_two_weights_at_the_bound() -> None:
    # 1, 8, 8 and 4 times 3/21; 1/7 and 4/7 grow by 1 / (5/7)
    weights = wat_weights(_costs(0, 3, 3), LN2, 1.0)
    assert weights.tolist() == pytest.approx([0.2, 1.0, 1.0, 0.8], abs=1e-14)


def test_weights_that_grow_above_the_bound_have_it_too() -> None:
    # exponents 0, 4.5, 6, 5.5, 0 and 3.2: cut and grown until all keep the bound
    costs = np.array([0.0, 4.5, 6.0, 5.5, 0.0])
    w = np.exp(np.append(costs, costs.mean()))
    w *= 5 / w.sum()
    held = np.zeros(6, dtype=bool)
    while (w > 1.5 + 1e-12).any():
        held |= w > 1.5
        w[held] = 1.5
        w[~held] *= (5 - 1.5 * held.sum()) / w[~held].sum()
    assert held.sum() == 3  # the third of them only after two have been cut
    assert wat_weights(_costs(*costs), 1.0, 1.5).tolist() == pytest.approx(w.tolist(), abs=1e-12)


def test_costs_far_apart_leave_the_worst_classes_at_the_bound() -> None:
    # without a bound below 3 the worst class has everything
    weights = wat_weights(_costs(0, 3000, 0), 1.0, 3.0).tolist()
    assert weights == pytest.approx([0, 3, 0, 0], abs=1e-12)
    # the mean, 1000, comes next
    weights = wat_weights(_costs(0, 3000, 0), 1.0, 2.0).tolist()
    assert weights == pytest.approx([0, 2, 0, 1], abs=1e-12)


def test_names_do_not_matter() -> None:
    costs = torch.rand(7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    weights, renamed = wat_weights(9 * costs, 1.0, 2.0), wat_weights(9 * costs[order], 1.0, 2.0)
    assert weights.sum().item() == pytest.approx(7)
    assert torch.allclose(renamed[:-1], weights[:-1][order], atol=1e-12)


def test_a_cost_is_cross_entropy_plus_the_weighted_divergence_without_a_gradient() -> None:
    logits = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]], dtype=torch.float64)
    logits.requires_grad_()
    divergences = torch.tensor([0.25, 0.5], dtype=torch.float64, requires_grad=True)
    costs = wat_costs(logits, torch.tensor([0, 1]), divergences, 6.0)
    assert costs.tolist() == pytest.approx([math.log(4 / 3) + 1.5, math.log(2) + 3.0])
    assert not costs.requires_grad
