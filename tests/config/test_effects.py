"""Which parameters act, and from which epoch."""

from __future__ import annotations

from typing import Any

import pytest

from ltat_tune.config.effects import acts_from_epoch, why_inert
from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.timeline import deferral_epoch, drop_epochs
from ltat_tune.config.trial_config import TrialConfig

DRW = {"reweight.name": "class_balanced", "optim.epochs": 200}  # SRAT: from 160 of 200


def _config(values: dict[str, Any]) -> TrialConfig:
    return TrialConfig.from_flat({"data.root": "images", **values})


@pytest.mark.parametrize(
    ("path", "values", "reason"),
    [
        ("data.root", {}, "data.name is digits, and only image_folder or npz or csv reads it"),
        ("data.root", {"data.name": "image_folder"}, None),
        ("data.image_size", {}, "data.image_size is null"),
        ("data.image_size", {"data.image_size": 16}, None),
        (
            "data.imbalance_ratio",
            {"data.profile": "balanced"},
            "data.profile is balanced, and only exp or step or linear or balanced_small reads it",
        ),
        ("data.imbalance_ratio", {"data.profile": "step"}, None),
        ("data.max_per_class", {"data.profile": "full"}, "data.profile is full"),
        (
            "data.val_per_class",
            {"data.val_source": "test"},
            "data.val_source is test, and only train reads it",
        ),
        ("data.crop_padding", {}, "data.augmentation is none"),
        ("data.crop_padding", {"data.augmentation": "crop_flip"}, None),
        (
            "model.stem",
            {"model.name": "resnet18"},
            "model.name is resnet18, and only small_cnn reads it",
        ),
        ("method.separation_weight", {}, "method.name is pgd_at, and only srat reads it"),
        (
            "method.temperature",
            {"method.name": "srat", "method.separation_weight": 0},
            "method.separation_weight is 0",
        ),
        ("method.temperature", {"method.name": "srat"}, None),
        ("loss.gamma", {}, "loss.name is cross_entropy, and only focal reads it"),
        ("loss.scale", {"loss.name": "ldam"}, None),
        (
            "loss.tau",
            {"loss.name": "balanced_softmax", "data.imbalance_ratio": 1},
            "data.imbalance_ratio is 1, so all classes weigh the same",
        ),
        ("loss.tau", {"loss.name": "balanced_softmax", "data.profile": "full"}, None),
        (
            "reweight.name",
            {"reweight.name": "inverse", "data.profile": "balanced"},
            "data.profile is balanced, so all classes weigh the same",
        ),
        (
            "reweight.name",
            {"reweight.name": "under_represented", "data.profile": "balanced"},
            None,
        ),
        (
            "reweight.beta",
            {},
            "nothing reads it: reweight.name is not class_balanced, loss.name not "
            "effective_number",
        ),
        ("reweight.beta", {"loss.name": "effective_number"}, None),
        ("reweight.beta", {"attack.reweight": "class_balanced", "attack.bn_mode": "batch"}, None),
        (
            "attack.reweight",
            {"method.name": "reat"},
            "attack.bn_mode is eval, where a positive class weight changes no PGD step;"
            " use attack.bn_mode train or batch",
        ),
        ("attack.reweight", {"method.name": "reat", "attack.bn_mode": "batch"}, None),
        ("attack.reweight", {"attack.reweight": "balanced_softmax"}, None),
        (
            "attack.steps",
            {"method.name": "taet", "method.clean_fraction": 1.0},
            "method.clean_fraction leaves no adversarial stage",
        ),
        (
            "method.tail_kl_max",
            {"method.name": "reat", "method.tail_variant": "paper"},
            "method.tail_variant is paper, and only bounded reads it",
        ),
        ("method.tail_weight", {}, "method.name is pgd_at, and only reat reads it"),
        ("method.beta", {"method.name": "mart"}, None),
        ("model.head_gamma", {}, "model.head is linear, and only cosine reads it"),
        ("loss.focal_weight", {"loss.name": "focal"}, "reweight.name is none"),
        (
            "loss.focal_weight",
            {
                "loss.name": "focal",
                "attack.objective": "loss",
                "attack.reweight": "inverse",
                "attack.bn_mode": "batch",
            },
            None,
        ),
        ("loss.tau", {"loss.name": "balanced_softmax", "data.counts": [5, 5]}, None),
        (
            "loss.tau",
            {"loss.name": "balanced_softmax", "data.imbalance_ratio": 1, "data.base": "per_class"},
            None,
        ),
        ("data.base", {"data.max_per_class": 50}, "data.max_per_class is given"),
        (
            "attack.class_budget",
            {"data.profile": "balanced"},
            "data.profile is balanced, so all classes weigh the same",
        ),
        ("reweight.beta", DRW, None),
        (
            "reweight.under_weight",
            DRW,
            "reweight.name is class_balanced, and only under_represented reads it",
        ),
        ("reweight.schedule", {}, "reweight.name is none"),
        (
            "reweight.start_fraction",
            {**DRW, "reweight.schedule": "immediate"},
            "reweight.schedule is immediate",
        ),
        ("reweight.start_fraction", DRW, None),
        ("attack.eps", {"method.name": "natural"}, None),
        (
            "attack.eps",
            {"method.name": "natural", "evaluation.eps": 0.1},
            "method.name is natural and evaluation.eps is given",
        ),
        (
            "attack.eps",
            {"attack.steps": 0, "evaluation.eps": 0.1},
            "attack.steps is 0 and evaluation.eps is given",
        ),
        ("attack.steps", {"method.name": "natural"}, "method.name is natural"),
        ("attack.steps", {"attack.steps": 0}, None),
        ("attack.step_size", {"attack.steps": 0}, "attack.steps is 0"),
        ("attack.start", {"attack.steps": 0}, "attack.steps is 0"),
        ("attack.bn_mode", {"attack.steps": 0}, "attack.steps is 0"),
        ("attack.bn_mode", {}, None),
        ("optim.nesterov", {"optim.momentum": 0}, "optim.momentum is 0"),
        (
            "optim.lr_decay",
            {"optim.lr_schedule": "cosine"},
            "optim.lr_schedule is cosine, and only multistep or step or robal_release reads it",
        ),
        ("optim.lr_decay", {"optim.milestones": []}, "optim.milestones is empty"),
        ("optim.milestones", {"optim.milestones": []}, None),
        ("optim.lr", {}, None),
        ("seeds.seed", {}, None),
    ],
)
def test_a_parameter_that_nothing_reads_says_why(
    path: str, values: dict[str, Any], reason: str | None
) -> None:
    assert why_inert(_config(values), path) == reason


def test_every_rule_belongs_to_a_parameter() -> None:
    from ltat_tune.config.effects import _RULES

    assert set(_RULES) <= set(PARAMETERS)


def test_deferred_weights_begin_at_160_of_200() -> None:
    assert deferral_epoch(_config(DRW)) == 160


def test_weights_that_are_immediate_or_none_begin_at_0() -> None:
    assert deferral_epoch(_config({**DRW, "reweight.schedule": "immediate"})) == 0
    assert deferral_epoch(_config({"optim.epochs": 200})) == 0


@pytest.mark.parametrize(
    ("path", "epoch"),
    [
        ("reweight.name", 160),
        ("reweight.beta", 160),
        ("reweight.under_weight", 160),
        ("reweight.start_fraction", 160),  # until then all later starts look alike
        ("reweight.schedule", 0),  # immediate weights act at once
        ("optim.lr", 0),
        ("method.temperature", 0),
    ],
)
def test_what_belongs_to_the_weights_acts_from_the_deferral_on(path: str, epoch: int) -> None:
    assert acts_from_epoch(_config(DRW), path) == epoch
    immediate = _config({**DRW, "reweight.schedule": "immediate"})
    assert acts_from_epoch(immediate, path) == 0


def test_what_belongs_to_the_adversarial_stage_of_taet_acts_from_there_on() -> None:
    config = _config({"method.name": "taet", "optim.epochs": 100})
    for path in ("attack.steps", "attack.eps", "method.hdl_weight", "method.clean_fraction"):
        assert acts_from_epoch(config, path) == 40  # of 100, the release's
    assert acts_from_epoch(config, "optim.lr") == 0
    assert acts_from_epoch(_config({"optim.epochs": 100}), "attack.steps") == 0


def test_weight_perturbation_acts_from_its_start_on() -> None:
    values = {"method.awp_gamma": 0.005, "method.awp_start_fraction": 0.05, "optim.epochs": 200}
    assert acts_from_epoch(_config(values), "method.awp_gamma") == 10  # TRADES-AWP's release


def test_the_effective_number_of_the_loss_acts_at_once() -> None:
    assert acts_from_epoch(_config({"loss.name": "effective_number"}), "reweight.beta") == 0
    both = {**DRW, "attack.reweight": "class_balanced", "attack.bn_mode": "train"}
    assert acts_from_epoch(_config(both), "reweight.beta") == 0


def test_reat_s_rate_drops_at_60_and_75_of_80() -> None:
    assert drop_epochs(_config({"optim.epochs": 80}).optim) == [60, 75]


def test_a_step_schedule_drops_at_every_step() -> None:
    step = {"optim.lr_schedule": "step", "optim.step_fraction": 0.3, "optim.epochs": 100}
    assert drop_epochs(_config(step).optim) == [30, 60, 90]


def test_robals_release_drops_an_epoch_earlier_because_it_counts_from_1() -> None:
    robal = {"optim.lr_schedule": "robal_release", "optim.epochs": 80}
    assert drop_epochs(_config(robal).optim) == [59, 74]


def test_other_schedules_have_no_drop() -> None:
    assert drop_epochs(_config({"optim.lr_schedule": "cosine"}).optim) == []
    assert drop_epochs(_config({"optim.milestones": []}).optim) == []
