"""REAT's weights for adversarial images against exact arithmetic and the paper's limits."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from torch import Tensor

from ltat_tune.errors import ConfigError
from ltat_tune.losses import rbl_weights
from tests.losses.numeric import Array

UR_50 = torch.tensor([5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100])  # CIFAR-10-LT


def _reference(counts: list[int], predicted: list[int]) -> Array:
    """REAT Eq. 1 with the release's 1e-5, in 60 digits."""
    with localcontext() as context:
        context.prec = 60
        inverses = []
        for size, n in zip(map(Decimal, counts), predicted, strict=True):
            beta = (size - 1) / size
            power = beta**n if n > 0 else Decimal(1)
            inverses.append(1 / ((1 - power) / (1 - beta) + Decimal("0.00001")))
        return np.array([float(len(counts) * w / sum(inverses)) for w in inverses])


@pytest.mark.parametrize(
    ("counts", "predicted"),
    [
        ([5000, 50], [4900, 150]),
        ([5000, 50], [15000, 1]),
        ([100, 5000, 7], [0, 5107, 0]),
        ([9, 9, 1], [3, 3, 3]),  # ties, and a class of a single image
        ([1, 1], [0, 2]),
        ([50000, 1], [3, 0]),
    ],
)
def test_weights_agree_with_exact_arithmetic(counts: list[int], predicted: list[int]) -> None:
    for dtype in (torch.int64, torch.float32):
        weights = rbl_weights(torch.tensor(counts), torch.tensor(predicted, dtype=dtype))
        assert weights.dtype == torch.float32
        np.testing.assert_allclose(weights.numpy(), _reference(counts, predicted), rtol=2e-7)


@pytest.mark.parametrize("classes", [2, 3, 100, 200])
def test_weights_of_many_classes_agree_with_exact_arithmetic(classes: int) -> None:
    random = np.random.RandomState(classes)
    counts = random.randint(1, 500, size=classes).tolist()
    predicted = random.randint(0, 900, size=classes).tolist()
    weights = rbl_weights(torch.tensor(counts), torch.tensor(predicted))
    np.testing.assert_allclose(weights.numpy(), _reference(counts, predicted), rtol=2e-7)
    assert weights.double().sum().item() == pytest.approx(classes, rel=1e-6)


def test_before_the_first_epoch_weights_are_nearly_those_of_the_inverse_counts() -> None:
    # n = N: E = N (1 - (1 - 1/N)^N), between 0.632 N and 0.634 N for N of 100 and more.
    weights = rbl_weights(UR_50, UR_50).double()
    effective = 1 / weights / (1 / weights).sum() * 13996 * 0.632
    np.testing.assert_allclose((effective / UR_50).numpy(), 0.632, atol=2e-3)
    inverse = 10 / UR_50 / (1 / UR_50).sum()
    np.testing.assert_allclose(weights.numpy(), inverse.numpy(), rtol=5e-3)


def test_a_class_that_nothing_was_predicted_as_takes_the_whole_sum() -> None:
    predicted = UR_50.clone()
    predicted[4] = 0
    weights = rbl_weights(UR_50, predicted)
    assert weights[4].item() == pytest.approx(10, rel=1e-5)
    others = weights[torch.arange(10) != 4]
    # 10 / (1e5 E) with E = 0.632 N: 1.6e-6 for 100 images, 3e-8 for 5000.
    assert others[-1].item() == pytest.approx(1.6e-6, rel=0.02)
    assert others[0].item() == pytest.approx(3.2e-8, rel=0.02)
    assert bool((others > 0).all())


def test_several_such_classes_share_it_alike() -> None:
    weights = rbl_weights(torch.tensor([500, 60, 7, 1]), torch.tensor([568, 0, 0, 0]))
    assert weights[1:].tolist() == pytest.approx([4 / 3] * 3, rel=1e-5)
    assert weights[1] == weights[2] == weights[3]


def test_no_predictions_at_all_give_ones() -> None:
    assert rbl_weights(torch.tensor([500, 60, 7, 1]), torch.zeros(4)).tolist() == [1.0] * 4


def test_a_class_of_one_image_has_an_effective_number_of_0_or_1() -> None:
    # E = 1 for either class in the first case; 0 and 1 in the second: 1e5 against 1.
    counts = torch.tensor([1, 1])
    assert rbl_weights(counts, torch.tensor([1, 9])).tolist() == [1.0, 1.0]
    weights = rbl_weights(counts, torch.tensor([0, 1]))
    assert weights.tolist() == pytest.approx([2, 2e-5], rel=1e-4)


@pytest.mark.parametrize("size", [2, 50, 5000])
def test_a_class_weighs_less_the_more_is_predicted_as_it(size: int) -> None:
    counts = torch.tensor([1000, size, 30])
    weights = [rbl_weights(counts, torch.tensor([800, n, 5]))[1].item() for n in range(0, 20)]
    assert all(after < before for before, after in zip(weights, weights[1:], strict=False))


def test_the_order_of_the_classes_does_not_matter() -> None:
    order = torch.tensor([3, 9, 0, 5, 1, 7, 2, 8, 4, 6])
    predicted = torch.arange(0, 1000, 100)
    expected = rbl_weights(UR_50, predicted)[order]
    torch.testing.assert_close(rbl_weights(UR_50[order], predicted[order]), expected)


def test_neither_input_is_edited() -> None:
    for dtype in (torch.int64, torch.float32, torch.float64):
        counts = torch.tensor([5, 1, 7], dtype=dtype)
        predicted = torch.tensor([0, 0, 13], dtype=dtype)
        rbl_weights(counts, predicted)
        assert counts.tolist() == [5, 1, 7] and predicted.tolist() == [0, 0, 13]


@pytest.mark.parametrize(
    ("predicted", "got"),
    [
        (torch.tensor([1, -1]), r"\[1, -1\]"),
        (torch.tensor([1, 2, 3]), r"\[1, 2, 3\]"),
        (torch.tensor([1.0, float("nan")]), r"\[1\.0, nan\]"),
    ],
)
def test_what_cannot_be_counts_of_predictions_is_refused(predicted: Tensor, got: str) -> None:
    rule = r"predicted must hold a number >= 0 for each of the 2 classes, got "
    with pytest.raises(ConfigError, match=rule + got):
        rbl_weights(torch.tensor([5, 5]), predicted)


def test_a_class_without_images_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"got \[5, 0\]"):
        rbl_weights(torch.tensor([5, 0]), torch.tensor([3, 2]))
