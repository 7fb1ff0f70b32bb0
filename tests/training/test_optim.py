"""The optimiser's settings and the learning rate of each epoch, as the papers' releases."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ltat_tune.config import OptimConfig
from ltat_tune.training.optim import build_optimizer, learning_rate

REAT = OptimConfig(epochs=80, lr=0.1, milestones=(0.75, 0.9375), lr_decay=0.1)
SRAT = OptimConfig(epochs=200, lr=0.1, milestones=(0.8, 0.9), lr_decay=0.01, warmup_epochs=5)


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 0.1), (59, 0.1), (60, 0.01), (74, 0.01), (75, 0.001), (79, 0.001)]
)
def test_reat_drops_at_60_and_75(epoch: int, rate: float) -> None:
    assert learning_rate(REAT, epoch) == pytest.approx(rate)


def test_reat_is_the_default() -> None:
    assert OptimConfig() == REAT


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(0, 0.02), (1, 0.04), (4, 0.1), (5, 0.1), (159, 0.1), (160, 1e-3), (179, 1e-3),
     (180, 1e-5), (199, 1e-5)],
)  # fmt: skip
def test_srat_warms_up_for_5_epochs_and_drops_at_160_and_180(epoch: int, rate: float) -> None:
    assert learning_rate(SRAT, epoch) == pytest.approx(rate)


def test_every_epochs_rate_is_that_of_torchs_schedule_stepped_once_an_epoch() -> None:
    optimizer = build_optimizer(REAT, nn.Linear(1, 1))
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [60, 75], gamma=0.1)
    for epoch in range(80):
        assert learning_rate(REAT, epoch) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()


def test_milestones_are_shares_of_the_run() -> None:
    short = OptimConfig(epochs=8, lr=1.0)
    assert [learning_rate(short, epoch) for epoch in range(8)] == pytest.approx(
        [1.0] * 6 + [0.1, 0.1]
    )
    # round(0.9375 * 8) is 8, the epoch after the last: the second drop falls away


def test_cosine_falls_from_lr_through_half_towards_0() -> None:
    """0.5 (1 + cos(pi e / 6)) at e = 0, 2, 3, 4: 1, 0.75, 0.5, 0.25."""
    config = OptimConfig(epochs=6, lr=0.2, lr_schedule="cosine")
    rates = [learning_rate(config, epoch) for epoch in (0, 2, 3, 4)]
    assert rates == pytest.approx([0.2, 0.15, 0.1, 0.05])
    assert 0 < learning_rate(config, 5) < 0.05


def test_constant_stays() -> None:
    config = OptimConfig(epochs=6, lr=0.2, lr_schedule="constant")
    assert {learning_rate(config, epoch) for epoch in range(6)} == {0.2}


@pytest.mark.parametrize("schedule", ["multistep", "cosine", "constant"])
def test_warm_up_is_linear_under_every_schedule(schedule: str) -> None:
    config = OptimConfig.model_validate(
        {"epochs": 100, "lr": 0.4, "lr_schedule": schedule, "warmup_epochs": 4}
    )
    rates = [learning_rate(config, epoch) for epoch in range(4)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_sgd_takes_every_parameter_and_the_configured_settings() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    config = OptimConfig(lr=0.3, momentum=0.8, nesterov=True, weight_decay=0.002)
    optimizer = build_optimizer(config, model)
    (group,) = optimizer.param_groups
    assert isinstance(optimizer, torch.optim.SGD)
    assert group["params"] == list(model.parameters())  # BatchNorm and biases are decayed too
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.3, 0.8, 0.002)
    assert (group["nesterov"], group["dampening"]) == (True, 0)


def test_nesterov_without_momentum_is_plain_sgd() -> None:
    optimizer = build_optimizer(OptimConfig(nesterov=True, momentum=0), nn.Linear(1, 1))
    assert optimizer.param_groups[0]["nesterov"] is False


def test_two_steps_by_hand() -> None:
    """w = 1, gradient 2, lr 0.1, momentum 0.5, decay 0.1: v = 2.1, w = 0.79; v = 1.05 + 2.079."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    config = OptimConfig(lr=0.1, momentum=0.5, weight_decay=0.1)
    optimizer = build_optimizer(config, model)
    for expected in (0.79, 0.79 - 0.1 * (0.5 * 2.1 + 2 + 0.1 * 0.79)):
        model.weight.grad = torch.full((1, 1), 2.0)
        optimizer.step()
        assert model.weight.item() == pytest.approx(expected)
