"""`build_model`: the table, the widths, the seeds."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from ltat_tune.config.sections import ModelConfig
from ltat_tune.models import MODELS, CosineHead, build_model


def test_the_table_holds_what_the_configuration_offers() -> None:
    assert set(MODELS) == set(get_args(ModelConfig.model_fields["name"].annotation))


@pytest.mark.parametrize(
    ("name", "width", "feature_dim"),
    [
        ("small_cnn", None, 256),
        ("small_cnn", 4, 32),
        ("resnet18", 4, 32),
        ("preact_resnet18", 4, 32),
        ("wrn28_10", 4, 16),
        ("wrn34_10", 4, 16),
    ],
)
def test_the_width_sets_the_features(name: str, width: int | None, feature_dim: int) -> None:
    config = ModelConfig.model_validate({"name": name, "width": width})
    model = build_model(config, in_channels=1, num_classes=3)
    logits, features = model.forward_with_features(torch.rand(2, 1, 8, 8))
    assert features.shape == (2, feature_dim) and model.feature_dim == feature_dim
    assert logits.shape == (2, 3) and model.num_classes == 3


@pytest.mark.parametrize("name", sorted(MODELS))
def test_equal_seeds_give_equal_weights_and_other_seeds_others(name: str) -> None:
    config = ModelConfig.model_validate({"name": name, "width": 4})
    first, again, other = (
        build_model(config, in_channels=1, num_classes=3, seed=seed) for seed in (1, 1, 2)
    )
    pairs = list(zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.head.weight, other.head.weight)


@pytest.mark.parametrize(("name", "blocks"), [("wrn28_10", 12), ("wrn34_10", 15)])
def test_a_wrn_has_the_depth_of_its_name(name: str, blocks: int) -> None:
    # 28 counts the stem, two convolutions a block, and the three shortcuts of stages.
    config = ModelConfig.model_validate({"name": name, "width": 2})
    model = build_model(config, in_channels=1, num_classes=3)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 1 + 2 * blocks + 3


@pytest.mark.parametrize("name", sorted(MODELS))
def test_images_of_8_and_64_pixels_work_with_every_network(name: str) -> None:
    config = ModelConfig.model_validate({"name": name, "width": 2})
    model = build_model(config, in_channels=3, num_classes=3).eval()
    for side in (8, 64):
        logits = model(torch.rand(2, 3, side, side))
        assert logits.shape == (2, 3) and bool(logits.isfinite().all())


@pytest.mark.parametrize("name", ["small_cnn", "wrn28_10"])
def test_the_weights_do_not_depend_on_the_head(name: str) -> None:
    linear, cosine = (
        build_model(
            ModelConfig.model_validate({"name": name, "width": 4, "head": head}),
            in_channels=1,
            num_classes=3,
            seed=1,
            projection=True,
        )
        for head in ("linear", "cosine")
    )
    shared = cosine.state_dict()
    # The cosine head starts at the linear one's weight, too; it has no bias.
    assert linear.state_dict().keys() - shared.keys() == {"head.bias"}
    assert all(torch.equal(value, linear.state_dict()[key]) for key, value in shared.items())


def test_the_head_is_the_configurations() -> None:
    config = ModelConfig(width=4, head="cosine", head_scale=3.0, head_gamma=0.5)
    model = build_model(config, in_channels=1, num_classes=3)
    assert isinstance(model.head, CosineHead)
    assert (model.head.scale, model.head.gamma) == (3.0, 0.5)
    assert model.head.weight.shape == (3, 32)
    assert model(torch.rand(5, 1, 8, 8)).abs().max() <= 3
    linear = build_model(ModelConfig(width=4), in_channels=1, num_classes=3)
    assert type(linear.head) is nn.Linear and linear.head.weight.shape == (3, 32)


def test_building_neither_reads_nor_moves_the_global_random_state() -> None:
    config = ModelConfig(width=4)
    before = torch.get_rng_state()
    first = build_model(config, in_channels=1, num_classes=3, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    again = build_model(config, in_channels=1, num_classes=3, seed=1)
    assert torch.equal(first.head.weight, again.head.weight)


def test_the_projection_head_leaves_the_other_weights_as_they_are() -> None:
    config = ModelConfig(width=4)
    plain = build_model(config, in_channels=1, num_classes=3, seed=1)
    projecting = build_model(config, in_channels=1, num_classes=3, seed=1, projection=True)
    shared = projecting.state_dict()
    assert all(torch.equal(value, shared[key]) for key, value in plain.state_dict().items())
    features = torch.rand(2, 32)
    assert plain.project(features).shape == (2, 32)
    assert projecting.project(features).shape == (2, 128)


def test_mean_and_std_reach_the_model() -> None:
    model = build_model(
        ModelConfig(width=4),
        in_channels=2,
        num_classes=3,
        mean=torch.tensor([0.5, 0.25]),
        std=torch.tensor([0.5, 0.125]),
    )
    assert model.mean.flatten().tolist() == [0.5, 0.25]
    assert model.std.flatten().tolist() == [0.5, 0.125]
