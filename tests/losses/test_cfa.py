"""CFA's recalls, radii and betas by hand."""

from __future__ import annotations

import pytest
import torch

from ltat_tune.losses import cfa_radii, cfa_shares, smoothed_recalls

COUNTS = torch.tensor([10, 4])
CORRECT = [[5, 1], [8, 2]]


def test_a_recall_is_of_the_class_itself_and_not_of_a_mean_count() -> None:
    assert smoothed_recalls(CORRECT, COUNTS, 0.0).tolist() == [0.8, 0.5]


def test_smoothing_mixes_in_the_epochs_before() -> None:
    # .5 (.5, .25) + .5 (.8, .5)
    assert smoothed_recalls(CORRECT, COUNTS, 0.5).tolist() == pytest.approx([0.65, 0.375])
    assert smoothed_recalls(CORRECT[:1], COUNTS, 0.5).tolist() == [0.5, 0.25]


def test_the_radius_follows_the_recall_in_either_direction() -> None:
    recalls = torch.tensor([0.75, 0.25], dtype=torch.float64)
    assert cfa_radii(recalls, 0.5, larger="easy").tolist() == [1.25, 0.75]
    assert cfa_radii(recalls, 0.5, larger="hard").tolist() == [0.75, 1.25]
    half = torch.full((2,), 0.5)
    for larger in ("easy", "hard"):
        assert cfa_radii(half, 0.5, larger=larger).tolist() == [1.0, 1.0]


def test_the_share_of_the_kl_is_that_of_beta() -> None:
    factors = torch.tensor([1.0, 1.25, 0.5], dtype=torch.float64)
    # 6/7, 7.5/8.5, 3/4
    assert cfa_shares(factors, 6.0).tolist() == pytest.approx([6 / 7, 15 / 17, 3 / 4])
    assert cfa_shares(factors, 0.0).tolist() == [0.0, 0.0, 0.0]
