"""The rule of thumb, by hand: passes of a configuration, and what they take."""

from __future__ import annotations

import pytest

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.planning.cost import attack_steps, cost_of, passes

DIGITS = TrialConfig.from_flat(
    {
        "data.name": "digits",
        "data.max_per_class": 20,
        "data.val_per_class": 10,
        "data.profile": "balanced",
        "optim.batch_size": 64,
        "optim.epochs": 10,
        "attack.steps": 3,
        "evaluation.val_attack": "pgd5",
        "evaluation.aa_images": 50,
    }
)
CIFAR = {"data.name": "cifar10", "model.name": "resnet18", "attack.steps": 10}


def test_passes_of_digits_are_counted_by_hand() -> None:
    cost = cost_of(DIGITS, ("clean", "pgd20", "aa"))
    assert cost.train_images == 200
    assert cost.update == 200 * (3 + 1.5)  # three steps, and an update of three forwards
    assert cost.validation == 100 * (0.5 + 0.5 + 5)
    # 400 test images; AutoAttack on 50 of them
    assert cost.test == 400 * 0.5 + 400 * 20.5 + 50 * 3600.5
    assert cost.batch == 64
    assert cost.data_mib == pytest.approx(1797 * 64 * 4 / 2**20)  # 8x8, four bytes a pixel


def test_passes_of_an_attack_are_its_steps_and_restarts() -> None:
    assert [passes(a) for a in ("clean", "fgsm", "pgd20", "cw10x3")] == [0.5, 1.5, 20.5, 30.5]


def test_clean_epochs_and_natural_training_have_no_attack() -> None:
    assert attack_steps(DIGITS) == 3
    assert attack_steps(DIGITS.replace({"method.name": "natural"})) == 0
    taet = DIGITS.replace({"method.name": "taet", "method.clean_fraction": 0.4})
    assert attack_steps(taet) == pytest.approx(0.6 * 3)


def test_resnet18_takes_three_seconds_for_100_000_passes_on_a_gpu() -> None:
    cost = cost_of(TrialConfig.from_flat(CIFAR), ("clean",))
    assert cost.macs == pytest.approx(555.4e6, rel=1e-3)  # 0.56 G
    assert cost.parameters == 11_173_962
    # and half a millisecond for each batch of 128
    assert cost.pass_seconds(gpu=True) == pytest.approx(3e-5 + 5e-4 / 128, rel=1e-3)
    one = cost.pass_seconds(gpu=False) - 2e-3 / 128
    assert one == pytest.approx(2e-2, rel=1e-3)
    assert cost.pass_seconds(gpu=False, threads=4) - 2e-3 / 128 == pytest.approx(one / 4)


def test_a_checkpoint_holds_weights_and_momentum_and_what_is_kept() -> None:
    last = TrialConfig.from_flat({**CIFAR, "evaluation.select_epoch": "last"})
    mib = 4 * 11_173_962 / 2**20
    assert cost_of(last, ("clean",)).checkpoint_mib == pytest.approx(2 * mib)
    best = last.replace({"evaluation.select_epoch": "best", "optim.ema_decay": 0.99})
    assert cost_of(best, ("clean",)).checkpoint_mib == pytest.approx(4 * mib)


def test_the_statistics_of_an_average_cost_an_attack_on_2048_training_images() -> None:
    """Ten steps of a pass each, and one forward pass, a third of one, beside what is validated."""
    average = TrialConfig.from_flat({**CIFAR, "optim.ema_epochs": 2.0})
    anew = average.replace({"optim.ema_statistics": "adversarial"})
    more = cost_of(anew, ("clean",)).validation - cost_of(average, ("clean",)).validation
    assert more == pytest.approx(2048 * (10 + passes("clean")))
    few = {"data.name": "digits", "data.imbalance_ratio": 10, "data.val_per_class": 30}
    digits = [TrialConfig.from_flat({**few, **config.flat(), **few}) for config in (average, anew)]
    plain, costly = (cost_of(config, ("clean",)) for config in digits)
    assert costly.validation - plain.validation == pytest.approx(
        plain.train_images * (10 + passes("clean"))
    )


def test_a_gpu_also_holds_the_recorded_attacks_and_the_larger_batches_of_tests() -> None:
    """128 images in training, 300 in validation, 400 in a test.

    A test's batch has 272 images more than a training's, and the graphs hold 128 + 300 others.
    """
    config = TrialConfig.from_flat(
        {"data.name": "digits", "data.imbalance_ratio": 10, "data.val_per_class": 30,
         "optim.batch_size": 128}
    )  # fmt: skip
    cost = cost_of(config, ("clean",))
    plain = cost_of(config.replace({"compute.graphs": "off"}), ("clean",))
    assert plain.gpu_only_mib / cost.gpu_only_mib == pytest.approx(272 / (272 + 128 + 300))
    cuda = 500 + 128  # and four workspaces of cuBLAS
    assert cost.memory_mib(gpu=True) == pytest.approx(cost.training_mib + cost.gpu_only_mib + cuda)
    assert cost.memory_mib(gpu=False) == pytest.approx(cost.training_mib + 480)
    for values, images in (
        ({"method.name": "natural"}, 300),
        ({"evaluation.val_attack": "clean"}, 128),
        ({"evaluation.batch_size": 200}, 128),  # 200 fewer in a test's batch, and 200 recorded
    ):
        other = cost_of(config.replace(values), ("clean",))
        assert other.gpu_only_mib / plain.gpu_only_mib == pytest.approx((272 + images) / 272)
