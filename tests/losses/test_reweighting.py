"""Class weights against numbers worked by hand."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from ltat_tune.config.sections import ReweightConfig
from ltat_tune.errors import ConfigError
from ltat_tune.losses import class_weights
from ltat_tune.losses.reweighting import REWEIGHTINGS

STEP_100 = torch.tensor([5000] * 5 + [50] * 5)


def _weights(counts: Tensor, **values: object) -> list[float]:
    weights = class_weights(ReweightConfig.model_validate(values), counts)
    assert weights is not None and weights.dtype == torch.float32
    numbers: list[float] = weights.tolist()
    return numbers


def test_the_table_holds_what_the_configuration_offers() -> None:
    assert set(REWEIGHTINGS) == set(get_args(ReweightConfig.model_fields["name"].annotation))


def test_no_reweighting_gives_none() -> None:
    assert class_weights(ReweightConfig(), STEP_100) is None


@pytest.mark.parametrize(
    ("beta", "ratio", "tolerance"),
    [(0.9, 1.005, 5e-4), (0.99, 2.53, 5e-3), (0.999, 20.36, 5e-3), (0.9999, 78.8899, 5e-5)],
)
def test_class_balanced_weights_of_step_100_are_those_of_srat(
    beta: float, ratio: float, tolerance: float
) -> None:
    # 78 in SRAT's release is E(5000) / E(50) at beta 0.9999.
    weights = _weights(STEP_100, name="class_balanced", beta=beta)
    assert weights == pytest.approx([1.0] * 5 + [ratio] * 5, abs=tolerance)


def test_class_balanced_weights_of_step_10_end_at_8_07() -> None:
    weights = _weights(torch.tensor([5000, 500]), name="class_balanced", beta=0.9999)
    assert weights == pytest.approx([1.0, 8.07], abs=5e-3)


def test_class_balanced_weights_are_worked_by_hand() -> None:
    # beta 1/2, counts 2 and 1: E = 1.5 and 1.
    assert _weights(torch.tensor([2, 1]), name="class_balanced", beta=0.5) == [1.0, 1.5]


def test_beta_0_weighs_all_classes_alike() -> None:
    assert _weights(STEP_100, name="class_balanced", beta=0.0) == [1.0] * 10


def test_beta_close_to_1_gives_the_inverse_counts() -> None:
    # 1 - beta = 1e-12: float32, or 1 - beta**N written out, would lose the difference.
    weights = _weights(torch.tensor([5000, 50]), name="class_balanced", beta=1 - 1e-12)
    assert weights == pytest.approx([1.0, 100.0], rel=1e-6)


def test_class_balanced_weights_without_beta_take_it_from_the_data() -> None:
    # Counts 2 and 1: N = 3, beta 2/3, E = 5/3 and 1.
    weights = _weights(torch.tensor([2, 1]), name="class_balanced", beta=None)
    assert weights == pytest.approx([1.0, 5 / 3])
    n = np.array([50.0, 5000.0, 700.0])
    beta = (n.sum() - 1) / n.sum()
    effective = (1 - beta**n) / (1 - beta)
    weights = _weights(torch.tensor([50, 5000, 700]), name="class_balanced", beta=None)
    assert weights == pytest.approx((effective.max() / effective).tolist(), rel=1e-6)


def test_inverse_weights_are_n_max_over_n() -> None:
    assert _weights(torch.tensor([10, 40, 5]), name="inverse") == [4.0, 1.0, 8.0]


def test_inverse_sqrt_weights_are_the_roots_of_n_max_over_n() -> None:
    assert _weights(torch.tensor([16, 36, 4]), name="inverse_sqrt") == [1.5, 1.0, 3.0]


@pytest.mark.parametrize("classes", [2, 3, 100, 200])
@pytest.mark.parametrize("name", ["class_balanced", "inverse", "inverse_sqrt"])
def test_rarer_classes_weigh_more_and_the_most_frequent_weighs_1(name: str, classes: int) -> None:
    counts = torch.tensor([(37 * c) % 211 + 1 for c in range(classes)])  # all different
    weights = torch.tensor(_weights(counts, name=name))
    assert bool((weights[counts.argsort(descending=True)].diff() > 0).all())
    assert weights.min().item() == 1.0


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([40, 30, 20, 10], [1, 1, 9, 9]),
        ([10, 40, 20, 30], [9, 1, 9, 1]),  # by count, not by index
        ([30, 20, 10], [1, 1, 9]),  # 3 // 2 = 1
        ([5, 5, 5, 5], [1, 1, 9, 9]),  # ties: the later class counts as the rarer
        ([5, 9, 5, 5], [1, 1, 9, 9]),
        ([7, 3], [1, 9]),
    ],
)
def test_the_rarer_half_gets_the_given_weight(counts: list[int], expected: list[float]) -> None:
    config = {"name": "under_represented", "under_weight": 9}
    assert _weights(torch.tensor(counts), **config) == expected


@pytest.mark.parametrize("name", sorted(set(REWEIGHTINGS) - {"none"}))
def test_counts_are_checked_and_left_alone(name: str) -> None:
    counts = torch.tensor([5, 3, 2])
    _weights(counts, name=name)
    assert counts.tolist() == [5, 3, 2]
    with pytest.raises(ConfigError, match=r"got \[5, 0\]"):
        _weights(torch.tensor([5, 0]), name=name)
