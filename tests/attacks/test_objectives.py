"""What attacks raise, against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ltat_tune.attacks import pgd
from ltat_tune.attacks.objectives import OBJECTIVES, cross_entropy, kl, margin
from tests.attacks.toys import LinearModel

LOGITS = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, math.log(2)]], dtype=torch.float64)
TARGETS = torch.tensor([0, 2])


def test_cross_entropy_of_each_image() -> None:
    # softmax of (0, 0, ln 2) is (1/4, 1/4, 1/2)
    first = math.log(math.e + math.e**2 + math.e**3) - 1
    assert cross_entropy(LOGITS, TARGETS, None).tolist() == pytest.approx([first, math.log(2)])


def test_margin_is_the_largest_other_logit_minus_the_labels() -> None:
    assert margin(LOGITS, TARGETS, None).tolist() == pytest.approx([3 - 1, 0 - math.log(2)])


def test_margin_keeps_its_gradient_once_the_image_is_misclassified() -> None:
    logits = LOGITS.clone().requires_grad_()
    margin(logits, TARGETS, None).sum().backward()
    assert logits.grad is not None
    assert logits.grad[0].tolist() == [-1, 1, 0]


def test_kl_is_that_from_the_clean_prediction() -> None:
    # KL((1/2, 1/4, 1/4) || (1/4, 1/4, 1/2)) = 1/2 ln 2 - 1/4 ln 2
    clean = torch.tensor([[math.log(2), 0.0, 0.0]], dtype=torch.float64)
    found = kl(LOGITS[1:], TARGETS[1:], clean).item()
    assert found == pytest.approx(math.log(2) / 4)
    assert kl(clean, TARGETS[1:], clean).item() == 0.0


def _attack(objective: str, factor: float = 1.0) -> Tensor:
    model = LinearModel()
    with torch.no_grad():
        model.weight.mul_(factor)
    images = torch.rand(
        8, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    return pgd(model, images, torch.arange(8) % 3, eps=0.2, step_size=0.05, steps=6,
               objective=objective, start="gaussian",
               generator=torch.Generator().manual_seed(1))  # fmt: skip


def test_logits_times_ten_leave_the_margin_attack_as_it_is_and_not_the_cross_entropy_one() -> None:
    # The margin is linear in the logits, so its direction does not change
    assert torch.equal(_attack("margin"), _attack("margin", factor=10))
    assert not torch.equal(_attack("cross_entropy"), _attack("cross_entropy", factor=10))


def test_the_objectives_give_different_images() -> None:
    found = {name: _attack(name) for name in OBJECTIVES}
    assert not torch.equal(found["cross_entropy"], found["kl"])
    assert not torch.equal(found["cross_entropy"], found["margin"])
