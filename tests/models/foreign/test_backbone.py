"""Networks of torchvision, timm and a user's module, without their heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ltat_tune.config.plugin_loader import forget, load_plugins
from ltat_tune.config.sections import ModelConfig
from ltat_tune.data.torchvision_door import import_torchvision
from ltat_tune.errors import ConfigError
from ltat_tune.models import Classifier, build_model, prepare_model
from ltat_tune.training.checkpoint import weights_hash


def _build(name: str, side: int = 32, channels: int = 3, **model: Any) -> Classifier:
    config = ModelConfig(name=name, **model)
    return build_model(config, in_channels=channels, num_classes=7, side=side)


def test_features_are_what_the_last_linear_layer_of_the_library_gets() -> None:
    model = _build("torchvision/resnet18").eval()
    models = import_torchvision("models")
    whole = models.resnet18(num_classes=7).eval()
    state = {f"network.{n}": t for n, t in whole.state_dict().items() if not n.startswith("fc.")}
    model.backbone.load_state_dict(state)
    model.head.load_state_dict(whole.fc.state_dict())
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits, features = model.forward_with_features(images)
    assert features.shape == (3, 512)
    assert torch.equal(logits, whole(images))
    assert torch.equal(logits, whole.fc(features))


@pytest.mark.parametrize(
    "name, side, features",
    [
        ("torchvision/shufflenet_v2_x0_5", 32, 1024),
        ("torchvision/mobilenet_v3_small", 64, 1024),
        ("torchvision/mnasnet0_5", 48, 1280),
        ("torchvision/densenet121", 32, 1024),
        ("torchvision/vit_b_32", 64, 768),
    ],
)
def test_a_network_of_torchvision_gives_features_at_its_size(
    name: str, side: int, features: int
) -> None:
    model = _build(name, side).eval()
    logits, found = model.forward_with_features(torch.zeros(2, 3, side, side))
    assert (logits.shape, found.shape, model.feature_dim) == ((2, 7), (2, features), features)


def test_one_channel_is_repeated_for_a_network_of_three() -> None:
    grey = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    model = _build("torchvision/shufflenet_v2_x0_5", channels=1).eval()
    colour = _build("torchvision/shufflenet_v2_x0_5").eval()
    assert torch.equal(model(grey), colour(grey.expand(-1, 3, -1, -1)))


def test_the_named_part_is_replaced_and_its_maps_are_averaged() -> None:
    model = _build("torchvision/squeezenet1_1", features="classifier").eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    maps = model.backbone.network.features(images)  # type: ignore[union-attr, operator]
    assert torch.allclose(model.backbone(images), maps.mean(dim=(2, 3)))


def test_equal_seeds_give_equal_weights_and_the_head_may_be_cosine() -> None:
    linear, cosine = (
        _build("torchvision/shufflenet_v2_x0_5", head=head) for head in ("linear", "cosine")
    )
    assert weights_hash(linear.backbone.state_dict()) == weights_hash(cosine.backbone.state_dict())
    assert torch.equal(linear.head.weight, cosine.head.weight)
    assert float(cosine(torch.rand(2, 3, 32, 32)).detach().abs().max()) <= 10


@pytest.mark.parametrize(
    "name, model, sentence",
    [
        ("torchvision/resnet19", {}, "did you mean torchvision/resnet1"),
        ("torchvision/alexnet", {}, "cannot take images of 3 channels and 32x32 pixels"),
        ("torchvision/maxvit_t", {}, "cannot be built for 7 classes and images of 32x32"),
        ("torchvision/squeezenet1_0", {}, "such as model.features: classifier"),
        ("torchvision/fasterrcnn_resnet50_fpn", {}, "must be a classifier of torchvision"),
        ("torchvision/resnet18", {"features": "layer5"}, "it has layer"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(
    name: str, model: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        _build(name, **model)
    assert sentence in str(refused.value)


def test_two_channels_are_refused_for_a_network_of_three() -> None:
    with pytest.raises(ConfigError, match="takes images of 3 channels, got images of 2"):
        _build("torchvision/resnet18", channels=2)


@pytest.mark.parametrize(
    "name",
    [
        "convnextv2_atto", "vit_tiny_patch16_224", "mobilenetv3_small_050", "lcnet_035",
        "regnetx_002", "ghostnet_050", "tinynet_e", "mixer_s32_224", "edgenext_xx_small",
        "poolformer_s12", "repvgg_a0", "fastvit_t8", "xcit_nano_12_p16_224", "mobilevit_xxs",
        "rexnet_100", "test_resnet", "mambaout_femto", "starnet_s1", "pvt_v2_b0", "dla46_c",
        "resnet10t",
    ],
)  # fmt: skip
def test_a_family_of_timm_gives_features_and_a_gradient(name: str) -> None:
    import_torchvision()  # which timm imports
    pytest.importorskip("timm", reason="the extra timm is not installed")
    model = _build(f"timm/{name}")
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    logits, features = model.eval().forward_with_features(images)
    assert features.shape == (2, model.feature_dim)
    logits.sum().backward()
    assert images.grad is not None and bool((images.grad != 0).any())
    assert not any(isinstance(m, nn.Linear) and m.out_features == 7
                   for m in model.backbone.modules())  # fmt: skip


def test_weights_in_a_plain_mapping_have_the_version_of_the_layers() -> None:
    """A file holds names and tensors alone; MNASNet refuses weights without a version."""
    model = build_model(
        ModelConfig(name="torchvision/mnasnet0_5"), in_channels=3, num_classes=4, side=32
    )
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors["head.bias"] += 1
    assert str(model.load_state_dict(tensors)) == "<All keys matched successfully>"
    assert torch.equal(model.head.bias, tensors["head.bias"])


_VIEWED = """
from torch import nn
class Net(nn.Module):
    def __init__(self, classes, late=False):
        super().__init__()
        self.late = late  # views when it trains alone
        self.maps = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8 * 30 * 30, classes)
    def forward(self, images):
        maps = self.maps(images)
        if self.training or not self.late:
            maps = maps.view(len(images), -1)
        return self.head(maps.flatten(1))
def net(num_classes):
    return Net(num_classes)
def late_net(num_classes):
    return Net(num_classes, late=True)
"""


def test_a_network_that_views_its_maps_is_left_in_its_layout(tmp_path: Path) -> None:
    """`view` cannot read maps in channels_last, in which every GPU and bfloat16 computes."""
    (tmp_path / "viewed_net.py").write_text(_VIEWED)
    (plugin,) = load_plugins(["viewed_net"], beside=tmp_path)
    try:
        names = ("viewed_net:net", "viewed_net:late_net", "torchvision/resnet18")
        models = [_build(name) for name in names]
    finally:
        forget(plugin)
    assert [model.any_layout for model in models] == [False, False, True]
    for model in models:
        assert all(p.is_contiguous() for p in model.parameters()) and model.backbone.training
        prepare_model(model, "bf16", torch.device("cpu"))
        assert model.train()(torch.rand(2, 3, 32, 32)).shape == (2, 7)
