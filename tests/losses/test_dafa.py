"""DAFA's weights by hand."""

from __future__ import annotations

import pytest
import torch

from ltat_tune.losses import bounded_weights, dafa_weights

CONFUSION = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.7, 0.2], [0.2, 0.2, 0.6]], dtype=torch.float64)


def test_the_harder_class_of_each_pair_gains_what_the_easier_one_loses() -> None:
    # 0 from 1: .3 * .7 = .21; 0 from 2: .2 * .6 = .12; 2 from 1: .2 * .7 = .14
    weights = dafa_weights(CONFUSION, 1.0)
    assert weights.tolist() == pytest.approx([1.33, 0.65, 1.02], abs=1e-15)
    half = dafa_weights(CONFUSION, 0.5)
    assert half.tolist() == pytest.approx([1.165, 0.825, 1.01], abs=1e-15)


def test_without_strength_and_between_classes_of_equal_recall_nothing_moves() -> None:
    assert dafa_weights(CONFUSION, 0.0).tolist() == [1.0, 1.0, 1.0]
    tie = torch.tensor([[0.6, 0.4], [0.4, 0.6]])
    assert dafa_weights(tie, 1.0).tolist() == [1.0, 1.0]


def test_two_classes_exchange_the_product_of_the_formula() -> None:
    # the hard class 1 gains S_10 S_00 = .45 * .8
    confusion = torch.tensor([[0.8, 0.2], [0.45, 0.55]], dtype=torch.float64)
    assert dafa_weights(confusion, 1.0).tolist() == pytest.approx([0.64, 1.36])


def test_the_sum_stays_the_number_of_classes_and_names_do_not_matter() -> None:
    confusion = torch.rand(7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    confusion /= confusion.sum(dim=1, keepdim=True)
    weights = dafa_weights(confusion, 1.5)
    assert weights.sum().item() == pytest.approx(7)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    renamed = dafa_weights(confusion[order][:, order], 1.5)
    assert torch.allclose(renamed, weights[order], atol=1e-15)


def test_a_negative_weight_is_raised_and_the_others_pay_for_it_alike() -> None:
    # 1 + 3 (.33, -.35, .02) = (1.99, -.05, 1.06); at .2 for class 1, the others give .125 each
    weights = bounded_weights(dafa_weights(CONFUSION, 3.0), 0.2, 2.0)
    assert weights.tolist() == pytest.approx([1.865, 0.2, 0.935], abs=1e-12)


def test_both_bounds_at_once_keep_the_sum() -> None:
    # 5 is cut to 2 and -3 is raised to .2; the other two share 1.8 at the distance .4
    weights = bounded_weights(torch.tensor([5.0, -3.0, 1.2, 0.8]), 0.2, 2.0)
    assert weights.tolist() == pytest.approx([2.0, 0.2, 1.1, 0.7], abs=1e-6)


def test_weights_within_the_bounds_are_left_as_they_are() -> None:
    weights = dafa_weights(CONFUSION, 1.0)
    assert torch.equal(bounded_weights(weights, 0.2, 2.0), weights)
