"""The benchmark runs and says what it measured on what; no test looks at a time."""

from __future__ import annotations

import json
import math

import pytest
import torch

from ltat_tune.attacks.frozen import frozen
from ltat_tune.methods import METHODS
from ltat_tune.models.conv_bn import ConvBN
from scripts import bench_step


def test_quick_measures_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_step.main(["--quick", "--format", "json", "--width", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"machine", "device", "threads", "commit", "versions", "rounds"} <= set(found)
    assert found["quick"] is True
    variants = {"as Trainer does it", "every image attacked", "right images attacked"}
    by_setting: dict[str, set[str]] = {}
    for row in found["validation"]:
        by_setting.setdefault(row["setting"], set()).add(row["validation"])
        assert row["low"] <= row["share_of_epoch"] <= row["high"]
        enough = row["every_epochs_for_a_quarter"]
        assert row["share_of_epoch"] / enough <= 0.25
    assert len(by_setting) == 10
    assert all(seen == variants for seen in by_setting.values())
    for part, key in (("evaluation", "attack"), ("methods", "batch_size")):
        for row in found[part]:
            assert set(row) >= {"setting", key, "name", "seconds", "ratio", "low", "high"}
            assert row["seconds"] > 0
            assert math.isfinite(row["ratio"])
    assert {row["name"] for row in found["methods"]} == {*METHODS, "pgd_at, awp"}
    pairs = {row["name"]: row["pairs"] for row in found["methods"]}  # one attack step here
    assert pairs["pgd_at"] == pairs["reat"] == pairs["srat"] == 2
    assert pairs["natural"] == 1 and pairs["mart"] == pairs["pgd_at, awp"] == 3
    assert pairs["trades"] == 3.5  # KL needs the clean prediction
    rows = {row["name"]: row for row in found["reference"]}
    assert list(rows) == ["plain reference", "fp32", "bf16"]
    assert rows["fp32"]["loss_difference"] < 1e-5
    assert rows["fp32"]["gradient_cosine"] > 0.99999
    assert rows["bf16"]["loss_difference"] < 0.05
    assert [row["at_once"] for row in found["together"]] == [1, 2]
    assert all(row["images_per_s"] > 0 for row in found["together"])
    counted = {row["every_epochs"]: row["validations"] for row in found["trial"]}
    assert counted == {"the end": 1, "null": 2, "8": 2, "1": 8}  # of 8 epochs


def test_counts_of_cifar10_at_its_defaults() -> None:
    """4,900 images are left of each class: 4900 * 50^(-i/9), cut off."""
    counts = bench_step.counts_of(10, 5000, 50, 100)
    assert counts[0] == 4900
    assert counts[-1] == 98
    assert sum(counts) == sum(int(4900 * (1 / 50) ** (i / 9)) for i in range(10))


def test_the_unfolded_copy_is_the_same_function_without_a_folded_layer() -> None:
    setting = bench_step.noise_images(width=2, images=6, batch_size=3, device=torch.device("cpu"))
    copied = bench_step.unfolded(setting.model)
    assert any(isinstance(module, ConvBN) for module in setting.model.modules())
    assert not any(isinstance(module, ConvBN) for module in copied.modules())
    images = setting.train.images.float() / 255
    with torch.no_grad(), frozen(setting.model, training=False), frozen(copied, training=False):
        torch.testing.assert_close(copied(images), setting.model(images))


def test_about_the_stated_share_of_the_noise_images_is_right() -> None:
    setting = bench_step.noise_images(
        width=2, images=200, batch_size=100, device=torch.device("cpu")
    )
    with torch.no_grad(), frozen(setting.model, training=False):
        answers = setting.model(setting.val.images.float() / 255).argmax(dim=1)
    share = (answers == setting.val.targets).float().mean().item()
    assert share == pytest.approx(bench_step.RIGHT_SHARE, abs=0.1)
