"""Which parameters act, and from which epoch."""

from __future__ import annotations

from typing import Any

import pytest

from ltat_tune.config import TrialConfig
from ltat_tune.parameters import PARAMETERS
from ltat_tune.relevance import acts_from_epoch, deferral_epoch, drop_epochs, why_inert

DRW = {"reweight.name": "class_balanced", "optim.epochs": 200}  # SRAT: from 160 of 200


def _config(values: dict[str, Any]) -> TrialConfig:
    return TrialConfig.from_flat({"data.root": "images", **values})


@pytest.mark.parametrize(
    ("path", "values", "reason"),
    [
        ("data.root", {}, "data.name is digits, and only image_folder reads it"),
        ("data.root", {"data.name": "image_folder"}, None),
        ("data.image_size", {}, "data.name is digits, and only image_folder reads it"),
        (
            "data.imbalance_ratio",
            {"data.profile": "balanced"},
            "data.profile is balanced, and only exp or step reads it",
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
        ("reweight.beta", {}, "reweight.name is none, and only class_balanced reads it"),
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
            "optim.lr_schedule is cosine, and only multistep reads it",
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
    from ltat_tune.relevance import _RULES

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


def test_reat_s_rate_drops_at_60_and_75_of_80() -> None:
    assert drop_epochs(_config({"optim.epochs": 80}).optim) == [60, 75]


def test_other_schedules_have_no_drop() -> None:
    assert drop_epochs(_config({"optim.lr_schedule": "cosine"}).optim) == []
    assert drop_epochs(_config({"optim.milestones": []}).optim) == []
