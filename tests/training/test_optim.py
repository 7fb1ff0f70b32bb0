"""The optimiser's settings and the learning rate of each epoch, as the papers' releases."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ltat_tune.config.sections import OptimConfig
from ltat_tune.config.timeline import deferral_epoch
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.training.optim import (
    build_optimizer,
    clip_gradients,
    learning_rate,
)

torch.set_num_threads(1)

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


def test_a_line_falls_from_lr_to_0_after_the_last_epoch() -> None:
    config = OptimConfig(epochs=5, lr=0.5, lr_schedule="linear")
    rates = [learning_rate(config, epoch) for epoch in range(5)]
    assert rates == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1])


def test_constant_stays() -> None:
    config = OptimConfig(epochs=6, lr=0.2, lr_schedule="constant")
    assert {learning_rate(config, epoch) for epoch in range(6)} == {0.2}


def test_step_falls_every_share_of_the_run() -> None:
    """0.3 of 10 epochs is 3: falls at 3, 6 and 9."""
    config = OptimConfig(epochs=10, lr=1.0, lr_schedule="step", lr_decay=0.5)
    rates = [learning_rate(config, epoch) for epoch in range(10)]
    assert rates == pytest.approx([1.0] * 3 + [0.5] * 3 + [0.25] * 3 + [0.125])


def test_a_step_shorter_than_an_epoch_falls_every_epoch() -> None:
    config = OptimConfig(epochs=4, lr=1.0, lr_schedule="step", step_fraction=0.01)
    rates = [learning_rate(config, epoch) for epoch in range(4)]
    assert rates == pytest.approx([1.0, 0.1, 0.01, 0.001])


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(0, 0.02), (4, 0.1), (5, 0.1), (159, 0.1), (160, 1e-3), (179, 1e-3), (180, 1e-5),
     (199, 1e-5)],
)  # fmt: skip
def test_ldam_drw_sets_shares_of_the_peak_at_160_and_180(epoch: int, rate: float) -> None:
    """Warm-up: lr e / 5 for e = 1..5, then 0.1, times 0.01 for e > 160, times 0.0001 for > 180."""
    config = OptimConfig(
        epochs=200, lr=0.1, lr_schedule="piecewise", milestones=(0.8, 0.9),
        lr_factors=(0.01, 0.0001), warmup_epochs=5,
    )  # fmt: skip
    assert learning_rate(config, epoch) == pytest.approx(rate)


def test_piecewise_may_rise_again_and_counts_milestones_of_the_same_epoch_together() -> None:
    config = OptimConfig(
        epochs=4, lr=1.0, lr_schedule="piecewise", milestones=(0.25, 0.5, 0.51),
        lr_factors=(0.1, 7.0, 0.5),
    )  # fmt: skip
    assert [learning_rate(config, epoch) for epoch in range(4)] == [1.0, 0.1, 0.5, 0.5]


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(1, 0.1), (74, 0.1), (75, 0.01), (89, 0.01), (90, 1e-3), (99, 1e-3), (100, 1e-4)],
)
def test_at_bsl_counts_its_75_90_and_100_from_1(epoch: int, rate: float) -> None:
    config = OptimConfig(epochs=100, lr=0.1, milestones=(0.74, 0.89, 0.99))
    assert learning_rate(config, epoch - 1) == pytest.approx(rate)


@pytest.mark.parametrize("epochs", [20, 80, 160, 4000])
@pytest.mark.parametrize("schedule", ["multistep", "step", "piecewise", "cosine", "linear"])
def test_schedules_scale_with_the_epochs(schedule: str, epochs: int) -> None:
    def rates(length: int) -> list[float]:
        config = OptimConfig.model_validate(
            {"epochs": length, "lr_schedule": schedule, "milestones": [0.4, 0.75],
             "step_fraction": 0.2}
        )  # fmt: skip
        return [learning_rate(config, tenth * length // 10) for tenth in range(10)]

    assert rates(epochs) == pytest.approx(rates(10))
    assert rates(epochs)[0] == 0.1 > rates(epochs)[9]


def _as_in_robals_release(
    epochs: int, milestones: tuple[int, ...], warmup: int, lr: float = 0.1
) -> list[float]:
    """The rate that each epoch, counted from 1, leaves to the next one."""
    rates = []
    for epoch in range(1, epochs + 1):
        factor = math.prod(0.1 for milestone in milestones if epoch >= milestone)
        if epoch < warmup:
            factor = (epoch + 1) / warmup
        lr *= factor
        rates.append(lr)
    return rates


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(1, 0.1), (59, 0.1), (60, 1e-2), (61, 1e-3), (62, 1e-4), (74, 1e-16), (75, 1e-18),
     (76, 1e-20), (80, 1e-28)],
)  # fmt: skip
def test_robals_release_multiplies_in_every_epoch_after_a_milestone(
    epoch: int, rate: float
) -> None:
    """Epochs are counted from 1. From 75 on both milestones multiply, so by 0.01."""
    config = OptimConfig(lr_schedule="robal_release")
    assert learning_rate(config, epoch - 1) == pytest.approx(rate, rel=1e-9)


def test_robals_release_with_a_warm_up_of_5_is_stuck_at_0_0192() -> None:
    """0.1 times 2/5, 3/5, 4/5 and 5/5 of the rate before it, each time."""
    config = OptimConfig(lr_schedule="robal_release", warmup_epochs=5)
    rates = [learning_rate(config, epoch) for epoch in range(61)]
    assert rates[:4] == pytest.approx([0.04, 0.024, 0.0192, 0.0192])
    assert rates[4:59] == pytest.approx([0.0192] * 55)
    assert rates[59:] == pytest.approx([0.00192, 0.000192])


@pytest.mark.parametrize("warmup", [0, 1, 2, 5, 15, 19])
def test_robals_release_equals_its_running_product(warmup: int) -> None:
    config = OptimConfig(
        epochs=20, lr_schedule="robal_release", milestones=(0.01, 0.5, 0.9), warmup_epochs=warmup
    )
    rates = [learning_rate(config, epoch) for epoch in range(20)]
    expected = _as_in_robals_release(20, (0, 10, 18), warmup)
    assert rates == pytest.approx(expected, rel=1e-9, abs=0)


def test_class_weights_are_deferred_to_the_first_epoch_of_the_low_rate() -> None:
    """DRW begins at epoch 160 of 200, counted from 0, where SRAT's rate falls."""
    config = TrialConfig.model_validate(
        {"optim": SRAT.model_dump(),
         "reweight": {"name": "class_balanced", "schedule": "deferred", "start_fraction": 0.8}}
    )  # fmt: skip
    switch = deferral_epoch(config)
    assert switch == 160
    assert learning_rate(config.optim, switch - 1) == pytest.approx(0.1)
    assert learning_rate(config.optim, switch) == pytest.approx(0.001)


@pytest.mark.parametrize(
    "schedule", ["multistep", "step", "piecewise", "cosine", "linear", "constant"]
)
def test_warm_up_is_linear_under_every_schedule_but_robals(schedule: str) -> None:
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


def _with_gradients(*gradients: list[float]) -> nn.ParameterList:
    model = nn.ParameterList([torch.zeros(len(gradient)) for gradient in gradients])
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    return model


def _gradients(model: nn.Module) -> list[list[float]]:
    return [p.grad.tolist() for p in model.parameters() if p.grad is not None]


def test_gradients_are_scaled_together_to_the_largest_norm() -> None:
    """The norm of (3, 0) and (0, 4) together is 5; at most 1 leaves a fifth of them."""
    model = _with_gradients([3.0, 0.0], [0.0, 4.0])
    clip_gradients(model, 1.0)
    assert _gradients(model) == [pytest.approx([0.6, 0]), pytest.approx([0, 0.8])]


@pytest.mark.parametrize("max_norm", [None, 5.1, 1e6])
def test_gradients_below_the_largest_norm_stay(max_norm: float | None) -> None:
    model = _with_gradients([3.0, 0.0], [0.0, 4.0])
    clip_gradients(model, max_norm)
    assert _gradients(model) == [[3, 0], [0, 4]]


@pytest.mark.parametrize("broken", [math.inf, math.nan])
def test_a_gradient_that_is_not_finite_stays_so(broken: float) -> None:
    model = _with_gradients([broken, 1.0])
    clip_gradients(model, 1.0)
    assert math.isnan(_gradients(model)[0][0])
