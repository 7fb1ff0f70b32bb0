"""Training networks that other people wrote: every method, every BatchNorm mode, resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from ltat_tune.config.plugin_loader import forget, load_plugins
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.datasets import LabelledImages, Splits, load_splits
from ltat_tune.data.torchvision_door import import_torchvision
from ltat_tune.methods import METHODS
from ltat_tune.planning.measured_pass import measured_pass
from ltat_tune.training.trainer import Trainer
from ltat_tune.training.weights_file import read_weights, save_weights

_SMALL = {
    "data.name": "digits", "data.imbalance_ratio": 4, "data.max_per_class": 8,
    "data.val_per_class": 4, "optim.epochs": 1, "optim.lr": 0.001, "optim.warmup_epochs": 0,
    "attack.steps": 1, "evaluation.val_attack": "pgd1",
}  # fmt: skip


def _splits(config: TrialConfig, side: int) -> Splits:
    """The digits, enlarged."""
    splits = load_splits(config)

    def larger(part: LabelledImages) -> LabelledImages:
        return replace(part, images=F.interpolate(part.images, side))

    return replace(splits, train=larger(splits.train), val=larger(splits.val))


@pytest.mark.parametrize("network", ["timm/test_convnext", "timm/test_vit"])
def test_networks_without_batch_norm_train_with_every_method_and_mode(network: str) -> None:
    import_torchvision()  # which timm imports
    pytest.importorskip("timm", reason="the extra timm is not installed")
    modes = [*((method, "eval") for method in METHODS), ("pgd_at", "train"), ("pgd_at", "batch")]
    weights = {}
    for method, mode in modes:
        config = TrialConfig.from_flat(
            {**_SMALL, "model.name": network, "method.name": method, "attack.bn_mode": mode}
        )
        trained = Trainer(config, splits=_splits(config, 32)).fit()
        weights[method, mode] = trained.weights
    assert weights["pgd_at", "eval"] == weights["pgd_at", "train"] == weights["pgd_at", "batch"]
    # in its one epoch dafa knows nothing of the classes yet
    assert weights["dafa", "eval"] == weights["trades", "eval"]
    assert len(set(weights.values())) == len(METHODS) - 1


@pytest.fixture
def plugin(tmp_path: Path) -> object:
    """A plugin whose function builds a network that draws."""
    (tmp_path / "drawing_net.py").write_text(
        "from torch import nn\n\n\n"
        "def build(num_classes, in_channels=3):\n"
        '    """A network with dropout."""\n'
        "    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.ReLU(), nn.Flatten(),\n"
        "        nn.Dropout(0.5), nn.Linear(144, num_classes))\n"
    )
    (plugin,) = load_plugins(["drawing_net"], beside=tmp_path)
    yield plugin
    forget(plugin)


class _StoppedError(Exception):
    pass


def test_dropout_draws_the_same_after_a_resume_and_disturbs_nobody(
    plugin: object, tmp_path: Path
) -> None:
    config = TrialConfig.from_flat(
        {**_SMALL, "model.name": "drawing_net:build", "optim.epochs": 3}
    )
    before = torch.get_rng_state()
    whole = Trainer(config).fit()
    assert torch.equal(torch.get_rng_state(), before)

    def stop(metrics: object) -> None:
        raise _StoppedError

    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(_StoppedError):
        Trainer(config).fit(stop, checkpoint=checkpoint)
    torch.rand(5)  # another process would have another state
    assert Trainer(config).fit(checkpoint=checkpoint).weights == whole.weights
    silent = config.replace({"seeds.seed": config.seeds.seed + 1})
    assert Trainer(silent).fit().weights != whole.weights


def test_an_exported_network_of_a_plugin_is_equal_to_the_bit(
    plugin: object, tmp_path: Path
) -> None:
    config = TrialConfig.from_flat({**_SMALL, "model.name": "drawing_net:build"})
    assert [entry["name"] for entry in config.plugins] == ["drawing_net"]
    trainer = Trainer(config)
    trained = trainer.fit()
    path = tmp_path / "best.safetensors"
    save_weights(
        path, trained.model, identity=config.identity, subset_hash=trainer.splits.subset_hash,
        epoch=trained.epoch, classes=trainer.splits.classes, image_shape=(1, 8, 8), about={},
    )  # fmt: skip
    images = torch.rand(5, 1, 8, 8)
    trained.model.eval()
    assert torch.equal(read_weights(path).build(config)(images), trained.model(images))


def test_a_pass_is_measured_by_what_the_backward_pass_needs() -> None:
    """A 3x3 convolution of 2 images 1x8x8 to 4x6x6, then ReLU: 4*36*9 multiply-adds by image.

    Kept are the convolution's input (64 numbers by image) and ReLU's output (144).
    """
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU())
    assert measured_pass(model, torch.rand(2, 1, 8, 8)) == (4 * 36 * 9, 64 + 144)


def test_what_another_library_defines_acts_in_the_identity_and_nothing_else_does() -> None:
    own = TrialConfig.from_flat({"model.features": "x"})
    assert own.identity == TrialConfig().identity
    named = TrialConfig.from_flat({"model.name": "torchvision/resnet18"})
    assert named.identity not in (
        own.identity,
        named.replace({"model.features": "layer4"}).identity,
    )
    assert named.identity == named.replace({"model.width": 8}).identity
