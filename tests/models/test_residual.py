"""What the residual networks have in common: the public definitions, folding, small images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.models import Classifier, PreActResNet18, ResNet18, WideResNet
from ltat_tune.models.conv_bn import ConvBN, folded_once
from tests.models.reference import public_net

NETWORKS: dict[str, tuple[Callable[[int], nn.Module], int, int]] = {
    # images' channels -> backbone, its features, blocks of a stage
    "resnet18": (lambda channels: ResNet18(channels, width=4), 32, 2),
    "preact_resnet18": (lambda channels: PreActResNet18(channels, width=4), 32, 2),
    "preact_resnet18_final_bn": (
        lambda channels: PreActResNet18(channels, width=4, final_bn=True), 32, 2,
    ),
    "wrn10": (lambda channels: WideResNet(channels, depth=10, width=8), 32, 1),
    "wrn16": (lambda channels: WideResNet(channels, depth=16, width=8), 32, 2),
    # The first stage is as wide as the stem, so its first block keeps its shape.
    "wrn16_width_16": (lambda channels: WideResNet(channels, depth=16, width=16), 64, 2),
}  # fmt: skip


def _trained(name: str, *, channels: int = 3) -> Classifier:
    """Float64, with BatchNorms that are not where they start."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    build, features, _ = NETWORKS[name]
    model = Classifier(build(channels), features, 5, in_channels=channels).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def _images(side: int, *, channels: int = 3, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(side)
    return torch.rand(count, channels, side, side, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_logits_features_and_gradients_are_the_public_networks(
    name: str, side: int, training: bool
) -> None:
    model = _trained(name).train(training)
    public = public_net(model, in_channels=3, blocks=NETWORKS[name][2]).train(training)
    ours, theirs = (_images(side).requires_grad_(True) for _ in range(2))
    weighing = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits, features = model.forward_with_features(ours)
    public_logits, public_features = public(theirs)
    assert torch.allclose(logits, public_logits, rtol=1e-9, atol=1e-9)
    assert torch.allclose(features, public_features, rtol=1e-9, atol=1e-9)
    (gradient,) = torch.autograd.grad((logits * weighing).sum(), ours)
    (public_gradient,) = torch.autograd.grad((public_logits * weighing).sum(), theirs)
    scale = float(public_gradient.abs().max())
    assert torch.allclose(gradient, public_gradient, rtol=0, atol=1e-8 * scale)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_training_step_moves_weights_and_statistics_as_the_public_networks(name: str) -> None:
    model = _trained(name).train()
    blocks = NETWORKS[name][2]
    public = public_net(model, in_channels=3, blocks=blocks).train()
    model(_images(16)).square().sum().backward()
    public(_images(16))[0].square().sum().backward()
    for network in (model, public):
        torch.optim.SGD(network.parameters(), lr=1e-3).step()
    # The state of ours after the step, under the public names.
    stepped = public_net(model, in_channels=3, blocks=blocks).state_dict()
    for key, value in public.state_dict().items():
        assert torch.allclose(stepped[key], value, rtol=1e-7, atol=1e-9), key


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_folding_leaves_logits_and_image_gradients_to_round_off(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _trained(name).eval()
    images = _images(16).requires_grad_(True)
    folded = model(images)
    (folded_gradient,) = torch.autograd.grad(folded.sum(), images)
    with folded_once(model):
        kept = model(images)
    monkeypatch.setattr(ConvBN, "forward", lambda module, maps: module.bn(module.conv(maps)))
    plain = model(images)
    (gradient,) = torch.autograd.grad(plain.sum(), images)
    assert torch.allclose(folded, plain, rtol=1e-9, atol=1e-9)
    assert torch.allclose(kept, plain, rtol=1e-9, atol=1e-9)
    assert torch.allclose(folded_gradient, gradient, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_images_of_4_8_and_28_pixels_and_of_unequal_sides_work_in_both_modes(name: str) -> None:
    model = _trained(name, channels=1)
    for height, width in ((4, 4), (8, 8), (5, 7), (28, 28)):
        images = torch.rand(2, 1, height, width, dtype=torch.float64)
        for training in (True, False):
            logits = model.train(training)(images)
            assert logits.shape == (2, 5) and bool(logits.isfinite().all())


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_channels_last_gives_the_same_logits_and_gradients(name: str) -> None:
    for training in (True, False):
        model = _trained(name).train(training)
        images = _images(16).requires_grad_(True)
        plain = model(images)
        (gradient,) = torch.autograd.grad(plain.square().sum(), images)
        model = _trained(name).train(training).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = _images(16).contiguous(memory_format=torch.channels_last).requires_grad_(True)
        last = model(images)
        (last_gradient,) = torch.autograd.grad(last.square().sum(), images)
        assert torch.allclose(plain, last, rtol=1e-9, atol=1e-9)
        assert torch.allclose(gradient, last_gradient, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_forward_and_backward_are_repeatable_and_leave_the_images_alone(name: str) -> None:
    gradients = []
    for _ in range(2):
        model = _trained(name).float().train()
        images = _images(16).float()
        kept = images.clone()
        model(images).sum().backward()
        assert torch.equal(images, kept)
        gradients.append([parameter.grad for parameter in model.parameters()])
    for first, second in zip(*gradients, strict=True):
        assert first is not None and second is not None and torch.equal(first, second)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_state_travels_to_a_network_with_other_weights(name: str) -> None:
    source, images = _trained(name).eval(), _images(16)
    build, features, _ = NETWORKS[name]
    other = Classifier(build(3), features, 5, in_channels=3).double().eval()
    assert not torch.allclose(other(images), source(images))
    other.load_state_dict(source.state_dict())
    assert torch.equal(other(images), source(images))
