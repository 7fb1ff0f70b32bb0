"""A short real training: what it measures, and that it says why where it cannot."""

from __future__ import annotations

from typing import Any

import pytest

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import StudyError
from ltat_tune.planning.calibration import calibrate, measure_training
from tests.drive import MINI

CONFIG = TrialConfig.from_flat({**MINI["fixed"], "data.imbalance_ratio": 2})


def _measured(**changes: Any) -> Any:
    config = CONFIG.replace(changes)
    return measure_training(config, device="cpu", threads=1, cache_dir=None, seconds=0.3)


def test_an_epoch_is_its_images_times_a_pass() -> None:
    found = _measured()
    # 20 images of the most frequent of ten classes down to 10 of the rarest
    images = sum(round(20 * 2 ** (-k / 9)) for k in range(10))
    assert found.epoch_s == pytest.approx(found.pass_s * images * 4.5, rel=0.05)
    assert 0 < found.epoch_s < 10
    assert 50 < found.memory_mib < 20_000
    assert not found.gpu


def test_a_longer_attack_takes_longer() -> None:
    assert _measured(**{"attack.steps": 20}).epoch_s > 1.5 * _measured().epoch_s


def test_what_acts_late_is_measured_too() -> None:
    late = {"method.name": "srat", "reweight.name": "class_balanced",
            "reweight.schedule": "deferred", "optim.warmup_epochs": 2}  # fmt: skip
    assert _measured(**late).pass_s > 0


def test_what_takes_too_long_is_not_waited_for() -> None:
    with pytest.raises(StudyError, match="nothing was measured: this machine did not train 16"):
        calibrate(CONFIG, device="cpu", threads=1, limit_s=0.01)


def test_a_training_that_fails_says_why() -> None:
    missing = CONFIG.replace({"data.name": "image_folder", "data.root": "/nowhere"})
    with pytest.raises(StudyError, match=r"measured, because the training failed: .*nowhere"):
        calibrate(missing, device="cpu", threads=1)


def test_the_rule_of_thumb_knows_the_memory_of_a_training() -> None:
    """A training in a process of its own, as a trial is, within 15 % of what `plan` says."""
    from ltat_tune.planning.cost import cost_of

    found = calibrate(CONFIG, device="cpu", threads=1)
    rule = cost_of(CONFIG, ("clean",)).memory_mib(gpu=False)
    assert rule == pytest.approx(found.memory_mib, rel=0.15)


def test_a_part_of_a_batch_stands_for_a_whole_one() -> None:
    from ltat_tune.planning.cost import training_mib

    wide = CONFIG.replace({"model.width": 64, "optim.batch_size": 150})
    part = measure_training(
        wide, device="cpu", threads=1, cache_dir=None, seconds=1e-6
    )  # 16 images
    few = training_mib(wide.replace({"optim.batch_size": 16}))
    whole = training_mib(wide)
    assert whole > 1.5 * few
    assert part.memory_mib > whole - few + 50
