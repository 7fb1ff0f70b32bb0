"""PGD: its contract, and the images of an independent implementation."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltat_tune.attacks import pgd
from ltat_tune.attacks.balls import BALLS, STARTS
from ltat_tune.attacks.objectives import OBJECTIVES
from ltat_tune.attacks.pgd import BN_MODES
from ltat_tune.config.sections import AttackConfig
from ltat_tune.errors import ConfigError
from tests.attacks.toys import LinearModel, snapshot, tiny_cnn, unusual_state

EPS, STEP = 0.1, 0.03
each_start = pytest.mark.parametrize("start", STARTS)
each_mode = pytest.mark.parametrize("bn_mode", BN_MODES)


def _batch(n: int = 6, num_classes: int = 3) -> tuple[Tensor, Tensor]:
    """Images with many pixels at 0 and 1, so that clipping matters."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(n, 1, 8, 8, generator=generator).mul_(1.4).sub_(0.2).clamp_(0, 1)
    return images, torch.arange(n) % num_classes


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Recorder(nn.Module):
    """Keeps every batch that the model is shown."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach().clone())
        logits: Tensor = self.model(images)
        return logits


def test_the_choices_are_those_of_the_configuration() -> None:
    def offered(name: str) -> set[str]:
        return set(get_args(AttackConfig.model_fields[name].annotation))

    assert offered("start") == set(STARTS)
    assert offered("bn_mode") == set(BN_MODES)
    assert offered("norm") == set(BALLS)
    assert offered("objective") == {*OBJECTIVES, "loss"}


@each_mode
@each_start
def test_the_result_is_detached_and_inside_the_ball_and_the_unit_interval(
    start: str, bn_mode: str
) -> None:
    images, targets = _batch()
    adv_images = pgd(
        tiny_cnn(), images, targets, eps=EPS, step_size=STEP, steps=7, start=start,
        bn_mode=bn_mode, generator=_seeded(),
    )  # fmt: skip
    assert not adv_images.requires_grad and adv_images.grad_fn is None
    assert (adv_images - images).abs().max().item() <= EPS + 1e-7
    assert adv_images.min().item() >= 0 and adv_images.max().item() <= 1
    assert not torch.equal(adv_images, images)


@each_mode
@each_start
def test_zero_steps_return_the_images_and_touch_nothing(start: str, bn_mode: str) -> None:
    model, (images, targets) = tiny_cnn(), _batch()
    before = snapshot(model)
    result = pgd(
        model, images, targets, eps=EPS, step_size=STEP, steps=0, start=start, bn_mode=bn_mode
    )
    assert torch.equal(result, images)
    assert snapshot(model) == before


def test_eps_0_returns_the_images() -> None:
    images, targets = _batch()
    result = pgd(tiny_cnn(), images, targets, eps=0.0, step_size=STEP, steps=2)
    assert torch.equal(result, images)


def test_the_images_are_not_edited() -> None:
    images, targets = _batch()
    copy = images.clone()
    pgd(tiny_cnn(), images, targets, eps=EPS, step_size=STEP, steps=2)
    assert torch.equal(images, copy)


def test_eval_mode_leaves_modes_gradients_and_running_statistics_as_found() -> None:
    model = tiny_cnn()
    unusual_state(model)
    before = snapshot(model)
    pgd(model, *_batch(), eps=EPS, step_size=STEP, steps=3)
    assert snapshot(model) == before


def test_train_mode_moves_the_running_statistics_once_a_step_and_nothing_else() -> None:
    model = tiny_cnn()
    unusual_state(model)
    before = snapshot(model)
    pgd(model, *_batch(), eps=EPS, step_size=STEP, steps=3, bn_mode="train")
    after = snapshot(model)
    counters = [name for name in before["state"] if name.endswith("num_batches_tracked")]
    assert len(counters) == 3
    assert all(after["state"][n] == before["state"][n] + 3 for n in counters)
    running = [name for name in before["state"] if ".running_" in name]
    assert all(after["state"][name] != before["state"][name] for name in running)
    for name in (*counters, *running):
        after["state"][name] = before["state"][name]
    assert after == before


def test_batch_mode_normalises_by_the_batch_and_moves_nothing() -> None:
    model = tiny_cnn()
    unusual_state(model)
    before = snapshot(model)

    def attack(bn_mode: str) -> Tensor:
        return pgd(
            model, *_batch(), eps=EPS, step_size=STEP, steps=3, start="none", bn_mode=bn_mode
        )

    batch = attack("batch")
    assert snapshot(model) == before
    assert not torch.equal(batch, attack("eval"))
    assert torch.equal(batch, attack("train"))


@each_mode
def test_a_model_that_fails_midway_is_left_as_found(bn_mode: str) -> None:
    class Failing(Recorder):
        def forward(self, images: Tensor) -> Tensor:
            if len(self.seen) == 2:
                raise RuntimeError("third forward")
            return super().forward(images)

    inner = tiny_cnn()
    unusual_state(inner)
    model = Failing(inner)
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="third forward"):
        pgd(model, *_batch(), eps=EPS, step_size=STEP, steps=5, bn_mode=bn_mode)
    after = snapshot(model)
    assert {k: v for k, v in after.items() if k != "state"} == {
        k: v for k, v in before.items() if k != "state"
    }


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(
    context: type[torch.no_grad] | type[torch.inference_mode],
) -> None:
    model, (images, targets) = tiny_cnn(), _batch()
    expected = pgd(model, images, targets, eps=EPS, step_size=STEP, steps=3, generator=_seeded())
    with context():
        result = pgd(
            model, images.clone(), targets.clone(), eps=EPS, step_size=STEP, steps=3,
            generator=_seeded(),
        )  # fmt: skip
    assert torch.equal(result, expected)


def _numpy_pgd(
    weight: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    images: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    targets: list[int],
    steps: int,
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """PGD without a random start on logits x W^T, its gradient (softmax - onehot) W by hand."""
    x = images.copy()
    for _ in range(steps):
        logits = x @ weight.T
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        gradient = (p - np.eye(len(weight))[targets]) @ weight
        x = x + STEP * np.sign(gradient)
        x = np.minimum(np.maximum(x, images - EPS), images + EPS)
        x = np.clip(x, 0, 1)
    return x


@pytest.mark.parametrize("scale", [1.0, 25.0])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_images_of_a_linear_model_are_those_of_numpy(num_classes: int, scale: float) -> None:
    # At the larger scale p rounds to 1 in float32: a float64 model is attacked in float64.
    model = LinearModel(num_classes)
    with torch.no_grad():
        model.weight.mul_(scale)
    images = torch.rand(5, 1, 2, 2, dtype=torch.float64, generator=_seeded())
    targets = torch.arange(5) % num_classes
    result = pgd(model, images, targets, eps=EPS, step_size=STEP, steps=4, start="none")
    weight = model.weight.detach().numpy()
    expected = _numpy_pgd(weight, images.flatten(1).numpy(), targets.tolist(), 4)
    np.testing.assert_allclose(result.flatten(1).numpy(), expected, rtol=0, atol=1e-15)


def test_one_step_goes_step_size_up_the_gradient_and_is_clipped() -> None:
    # Logits (x, -x), target 0: the loss falls with x, so x goes down, and 0.01 is clipped at 0.
    class Signed(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            x = images.flatten(1)
            return torch.cat([x, -x], dim=1)

    images = torch.tensor([0.5, 0.01]).view(2, 1, 1, 1)
    targets = torch.tensor([0, 0])
    result = pgd(Signed(), images, targets, eps=0.1, step_size=0.03, steps=1, start="none")
    assert result.flatten().tolist() == pytest.approx([0.47, 0.0])
    result = pgd(Signed(), images, 1 - targets, eps=0.1, step_size=0.3, steps=2, start="none")
    assert result.flatten().tolist() == pytest.approx([0.6, 0.11])


def test_the_size_of_the_batch_does_not_drown_the_gradient_of_a_confident_image() -> None:
    # Logits (0, x - 102): p_1 is about e^-101.5 = 8e-45, near float32's least number. Divided by
    # the 64 images of the batch, as in a mean, the gradient would be 0 and so would its sign.
    class Confident(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            x = images.flatten(1)
            return torch.cat([torch.zeros_like(x), x - 102], dim=1)

    images = torch.full((64, 1, 1, 1), 0.5)
    targets = torch.zeros(64, dtype=torch.long)
    result = pgd(Confident(), images, targets, eps=0.1, step_size=0.05, steps=1, start="none")
    assert torch.allclose(result, torch.full_like(images, 0.55))


def test_a_model_whose_gradient_is_a_broadcast_view_can_be_attacked() -> None:
    class Sum(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            total = images.sum(dim=(1, 2, 3))
            return torch.stack([total, torch.zeros_like(total)], dim=1)

    images = torch.full((2, 1, 2, 2), 0.5)
    targets = torch.zeros(2, dtype=torch.long)
    result = pgd(Sum(), images, targets, eps=0.1, step_size=0.05, steps=1, start="none")
    assert torch.allclose(result, torch.full_like(images, 0.45))


def test_the_attack_raises_the_loss() -> None:
    model, (images, targets) = tiny_cnn().eval(), _batch()
    adv_images = pgd(model, images, targets, eps=EPS, step_size=STEP, steps=10)
    with torch.no_grad():
        clean = F.cross_entropy(model(images), targets)
        attacked = F.cross_entropy(model(adv_images), targets)
    assert attacked > clean


def test_uniform_starts_anywhere_in_the_ball_even_outside_the_unit_interval() -> None:
    images = torch.cat([torch.zeros(8, 1, 8, 8), torch.ones(8, 1, 8, 8)])
    model = Recorder(tiny_cnn())
    targets = torch.zeros(16, dtype=torch.long)
    pgd(model, images, targets, eps=EPS, step_size=STEP, steps=1, generator=_seeded())
    noise = model.seen[0] - images
    assert noise.min().item() == pytest.approx(-EPS, abs=0.01)
    assert noise.max().item() == pytest.approx(EPS, abs=0.01)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.01)
    assert model.seen[0].min().item() < 0 and model.seen[0].max().item() > 1


def test_uniform_clipped_is_the_same_noise_clipped_before_the_first_gradient() -> None:
    images, targets = _batch()
    free, clipped = Recorder(tiny_cnn()), Recorder(tiny_cnn())
    pgd(free, images, targets, eps=EPS, step_size=STEP, steps=1, generator=_seeded())
    pgd(
        clipped, images, targets, eps=EPS, step_size=STEP, steps=1, start="uniform_clipped",
        generator=_seeded(),
    )  # fmt: skip
    assert torch.equal(clipped.seen[0], free.seen[0].clamp(0, 1))
    assert not torch.equal(clipped.seen[0], free.seen[0])


def test_without_a_start_the_first_gradient_is_taken_at_the_images() -> None:
    model, (images, targets) = Recorder(tiny_cnn()), _batch()
    pgd(model, images, targets, eps=EPS, step_size=STEP, steps=2, start="none")
    assert torch.equal(model.seen[0], images) and len(model.seen) == 2


def test_noise_comes_from_the_generator_alone() -> None:
    model, (images, targets) = tiny_cnn(), _batch()
    before = torch.get_rng_state()
    first, again, other = (
        pgd(model, images, targets, eps=EPS, step_size=STEP, steps=1, generator=_seeded(seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_an_unknown_start_or_mode_is_refused_with_the_choices() -> None:
    images, targets = _batch()
    with pytest.raises(ConfigError, match="unknown start 'unifrom'; choose from: none, uniform"):
        pgd(tiny_cnn(), images, targets, eps=EPS, step_size=STEP, steps=1, start="unifrom")
    with pytest.raises(
        ConfigError, match="unknown bn_mode 'frozen'; choose from: eval, train, batch"
    ):
        pgd(tiny_cnn(), images, targets, eps=EPS, step_size=STEP, steps=1, bn_mode="frozen")
    with pytest.raises(ConfigError, match="unknown norm 'l1'; choose from: linf, l2"):
        pgd(tiny_cnn(), images, targets, eps=EPS, step_size=STEP, steps=1, norm="l1")
    with pytest.raises(ConfigError, match="unknown objective 'ce'; choose from: cross_entropy"):
        pgd(tiny_cnn(), images, targets, eps=EPS, step_size=STEP, steps=1, objective="ce")


def _weighted_pgd(
    model: nn.Module, images: Tensor, targets: Tensor, weights: Tensor, steps: int = 5
) -> Tensor:
    """PGD on torch's weighted-mean cross-entropy, in the mode the model is in."""
    adv_images = images.clone()
    for _ in range(steps):
        adv_images = adv_images.detach().requires_grad_()
        loss = F.cross_entropy(model(adv_images), targets, weight=weights)
        (gradient,) = torch.autograd.grad(loss, adv_images)
        adv_images = adv_images + STEP * gradient.sign()
        adv_images = torch.min(torch.max(adv_images, images - EPS), images + EPS).clamp(0, 1)
    return adv_images.detach()


@pytest.mark.parametrize(("bn_mode", "equal"), [("eval", True), ("train", False)])
def test_class_weights_change_sign_pgd_in_train_mode_only(bn_mode: str, equal: bool) -> None:
    # In eval mode samples are independent, so a positive weight only rescales each
    # gradient, and the sign forgets it; in train mode BatchNorm couples them. float64, no start.
    images, targets = _batch()
    images = images.double()
    weights = torch.tensor([1.0, 8.5, 78.9], dtype=torch.float64)
    plain = pgd(
        tiny_cnn().double(), images, targets, eps=EPS, step_size=STEP, steps=5, start="none",
        bn_mode=bn_mode,
    )  # fmt: skip
    model = tiny_cnn().double().train(bn_mode == "train")
    weighted = _weighted_pgd(model, images, targets, weights)
    assert torch.allclose(weighted, plain, rtol=0, atol=1e-12) is equal


def test_shifting_the_logits_by_the_log_counts_does_change_the_images() -> None:
    # The counterpart of the test above: BRW / balanced softmax is no rescaling.
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = tiny_cnn()

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.model(images) + torch.tensor([5000.0, 500.0, 50.0]).log()
            return logits

    images, targets = _batch()
    plain = pgd(tiny_cnn(), images, targets, eps=EPS, step_size=STEP, steps=5, start="none")
    shifted = pgd(Shifted(), images, targets, eps=EPS, step_size=STEP, steps=5, start="none")
    assert not torch.allclose(plain, shifted)


def test_logits_of_ten_thousand_give_finite_images() -> None:
    model = LinearModel()
    with torch.no_grad():
        model.weight.mul_(1e5)
    images = torch.rand(4, 1, 2, 2, dtype=torch.float64, generator=_seeded())
    result = pgd(model, images, torch.tensor([0, 1, 2, 0]), eps=EPS, step_size=STEP, steps=3)
    assert bool(result.isfinite().all())
