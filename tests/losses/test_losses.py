"""`build_loss`: the table and what reaches the losses."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from ltat_tune.config import LossConfig
from ltat_tune.losses import LOSSES, BalancedSoftmax, FocalLoss, LDAMLoss, build_loss

COUNTS = torch.tensor([16, 1])


def test_the_table_holds_what_the_configuration_offers() -> None:
    assert set(LOSSES) == set(get_args(LossConfig.model_fields["name"].annotation))


def test_the_parameters_of_the_configuration_reach_the_losses() -> None:
    focal = build_loss(LossConfig(name="focal", gamma=2.0), COUNTS)
    assert isinstance(focal, FocalLoss) and focal.gamma == 2.0
    ldam = build_loss(LossConfig(name="ldam", max_margin=0.4, scale=5.0), COUNTS)
    assert isinstance(ldam, LDAMLoss) and ldam.scale == 5.0
    assert ldam.margins.tolist() == pytest.approx([0.2, 0.4])
    balanced = build_loss(LossConfig(name="balanced_softmax", tau=0.5), COUNTS)
    assert isinstance(balanced, BalancedSoftmax)
    expected = 0.5 * (torch.tensor([16.0, 1.0]) / 17).log()
    assert balanced.shift.tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_takes_logits_targets_and_optional_weights(name: str) -> None:
    loss = build_loss(LossConfig.model_validate({"name": name}), COUNTS)
    logits, targets = torch.randn(3, 2), torch.tensor([0, 1, 1])
    assert loss(logits, targets).shape == ()
    assert loss(logits, targets, torch.tensor([1.0, 5.0])).shape == ()
