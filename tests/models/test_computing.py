"""bfloat16 against float32: the loss to 1e-3, the gradient in its direction."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from ltat_tune.attacks import pgd
from ltat_tune.attacks.frozen import frozen
from ltat_tune.config.sections import ModelConfig
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.methods import METHODS, build_method, needs_projection
from ltat_tune.models import Classifier, build_model, exactly, measured, prepare_model
from ltat_tune.models.computing import chosen_precision

CPU = torch.device("cpu")


def _resnet(precision: str) -> Classifier:
    model = build_model(ModelConfig(name="resnet18", width=8), in_channels=3, num_classes=4)
    prepare_model(model, precision, CPU)
    return model


def _batch(n: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(n, 3, 16, 16, generator=generator)
    return images, torch.randint(0, 4, (n,), generator=generator)


def _gradient(model: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def _digits(n: int) -> tuple[Tensor, Tensor]:
    data = load_digits()
    images = torch.tensor(data.images[:n] / 16, dtype=torch.float32)[:, None]
    return images, torch.tensor(data.target[:n])


@pytest.mark.parametrize("name", METHODS)
def test_a_step_in_bfloat16_is_the_float32_step(name: str) -> None:
    """All methods on real images: the loss to 1e-3, and the gradient's direction."""
    given = {"method.name": name, "attack.steps": 0, "model.width": 32}
    if name == "taet":
        given["method.clean_fraction"] = 0.0
    config = TrialConfig.from_flat(given)
    images, targets = _digits(256)
    counts = torch.arange(100, 0, -10)
    losses, gradients = [], []
    for precision in ("fp32", "bf16"):
        model = build_model(
            config.model, in_channels=1, num_classes=10, projection=needs_projection(config)
        )
        prepare_model(model, precision, CPU)
        step = build_method(config, counts).training_step(
            model, images, targets, class_weights=None, generator=torch.Generator()
        )
        step.loss.backward()
        assert step.loss.dtype == step.logits.dtype == torch.float32
        assert all(p.dtype == torch.float32 for p in model.parameters())
        losses.append(step.loss.item())
        gradients.append(_gradient(model))
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert losses[1] != losses[0]  # it did compute in less
    assert torch.cosine_similarity(gradients[0], gradients[1], dim=0).item() > 0.999


def test_a_deep_network_feels_bfloat16_as_it_feels_images_of_nine_bits() -> None:
    """Untrained and on a small batch, it turns its gradient for less than that: no bound near 1
    holds for any arithmetic of eight bits."""
    images, targets = _digits(32)
    images = nn.functional.interpolate(images, scale_factor=4.0).repeat(1, 3, 1, 1)
    drawn = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    found = []
    for precision, given in (
        ("fp32", images), ("bf16", images), ("fp32", images * (1 + 2**-9 * drawn))
    ):  # fmt: skip
        model = build_model(
            ModelConfig(name="resnet18", width=8), in_channels=3, num_classes=10
        )  # fmt: skip
        prepare_model(model, precision, CPU)
        nn.functional.cross_entropy(model(given), targets).backward()
        found.append(_gradient(model))
    exact, coarse, shaken = found
    cosine = torch.cosine_similarity
    assert cosine(exact, coarse, dim=0) > 0.5
    assert 1 - cosine(exact, coarse, dim=0) < 3 * (1 - cosine(exact, shaken, dim=0))


def test_an_attack_in_bfloat16_raises_the_loss_as_one_in_float32() -> None:
    images, targets = _batch()
    losses = []
    for precision in ("fp32", "bf16"):
        model = _resnet(precision).eval()
        adv_images = pgd(model, images, targets, eps=0.3, step_size=0.06, steps=5, start="none")
        assert adv_images.dtype == torch.float32
        with exactly(model), torch.no_grad():
            losses.append(nn.functional.cross_entropy(model(adv_images), targets).item())
            clean = nn.functional.cross_entropy(model(images), targets).item()
    assert losses[0] - clean > 0.005
    assert losses[1] - clean == pytest.approx(losses[0] - clean, rel=0.05)


@pytest.mark.parametrize(("channels", "device", "precision", "last"), [
    (1, "cpu", "fp32", False), (3, "cpu", "fp32", True),
    (1, "cpu", "bf16", True), (1, "cuda", "fp32", True),
])  # fmt: skip
def test_only_float32_of_grey_images_on_a_cpu_keeps_torchs_layout(
    channels: int, device: str, precision: str, last: bool
) -> None:
    """And computes what the plain model does, to the bit, whatever it was prepared for before."""
    built = [
        build_model(ModelConfig(name="resnet18", width=8), in_channels=channels, num_classes=4)
        for _ in range(2)
    ]
    prepare_model(built[0], "bf16", torch.device(device))
    prepare_model(built[0], precision, torch.device(device))
    maps = [p for p in built[0].parameters() if p.dim() == 4 and p[0, 0].numel() > 1]
    assert all(p.is_contiguous() is not last for p in maps if p.shape[1] > 1)
    images = torch.rand(4, channels, 16, 16, generator=torch.Generator().manual_seed(1))
    with exactly(built[0]):
        if last:
            torch.testing.assert_close(built[0](images), built[1](images), rtol=0, atol=1e-4)
        else:
            assert torch.equal(built[0](images), built[1](images))


def test_exactly_computes_in_float32_inside_alone_folded_weights_included() -> None:
    model, plain = _resnet("bf16").eval(), _resnet("fp32").eval()
    wrapped = measured(model, scale=2.0)
    images, _ = _batch(4)
    with torch.no_grad(), frozen(wrapped, training=False):
        coarse = wrapped(images)
        with exactly(wrapped):
            torch.testing.assert_close(wrapped(images), 2 * plain(images), rtol=0, atol=1e-5)
        assert torch.equal(wrapped(images), coarse)
    assert not torch.allclose(coarse, 2 * plain(images), rtol=0, atol=1e-5)
    assert coarse.dtype == torch.float32


def test_auto_is_float32_on_a_cpu_and_a_wish_is_a_wish() -> None:
    assert chosen_precision("auto", CPU) == "fp32"
    assert chosen_precision("bf16", CPU) == "bf16"
    assert chosen_precision("fp32", torch.device("cuda")) == "fp32"
