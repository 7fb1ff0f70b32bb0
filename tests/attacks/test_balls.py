"""Starts and L2 steps, against NumPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ltat_tune.attacks import pgd
from ltat_tune.attacks.balls import BALLS, STARTS, first_images
from ltat_tune.errors import ConfigError
from tests.attacks.toys import LinearModel, tiny_cnn


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _noise(start: str, norm: str = "linf", eps: float = 0.1) -> Tensor:
    images = torch.full((64, 1, 8, 8), 0.5)
    return first_images(images, eps, start=start, norm=norm, generator=_seeded()) - images


def test_one_sided_noise_lies_between_0_and_the_radius() -> None:
    # RoBal's release: torch.rand, not 2 * rand - 1
    noise = _noise("one_sided")
    assert noise.min() >= -1e-7 and noise.max() <= 0.1 + 1e-7
    assert noise.mean().item() == pytest.approx(0.05, abs=0.002)


def test_gaussian_noise_has_a_standard_deviation_of_a_thousandth_whatever_the_radius() -> None:
    for eps in (0.01, 1.0):
        noise = _noise("gaussian", eps=eps)
        assert noise.std().item() == pytest.approx(0.001, rel=0.05)
        assert noise.mean().item() == pytest.approx(0.0, abs=1e-4)


def test_uniform_noise_in_l2_has_every_radius_alike() -> None:
    radii = _noise("uniform", norm="l2", eps=2.0).flatten(1).norm(dim=1)
    assert radii.max() <= 2.0 + 1e-5
    assert radii.mean().item() == pytest.approx(1.0, abs=0.2)  # of U(0, 2)


def test_one_sided_noise_in_l2_lies_in_the_positive_part_of_the_ball() -> None:
    noise = _noise("one_sided", norm="l2", eps=2.0)
    assert noise.min() >= 0 and noise.flatten(1).norm(dim=1).max() <= 2.0 + 1e-5


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("bn_mode", ["eval", "train", "batch"])
def test_l2_images_stay_in_the_ball_and_in_the_unit_interval(start: str, bn_mode: str) -> None:
    images = torch.rand(6, 1, 8, 8, generator=_seeded()).mul_(1.4).sub_(0.2).clamp_(0, 1)
    targets = torch.arange(6) % 3
    adv_images = pgd(
        tiny_cnn(), images, targets, eps=0.5, step_size=0.2, steps=6, norm="l2", start=start,
        bn_mode=bn_mode, generator=_seeded(),
    )  # fmt: skip
    moved = (adv_images - images).flatten(1).norm(dim=1)
    assert moved.max().item() <= 0.5 + 1e-5 and moved.min().item() > 0.1
    assert adv_images.min() >= 0 and adv_images.max() <= 1


def test_l2_images_of_a_linear_model_are_those_of_numpy() -> None:
    model = LinearModel()
    images = torch.rand(5, 1, 2, 2, dtype=torch.float64, generator=_seeded())
    targets = torch.arange(5) % 3
    found = pgd(model, images, targets, eps=0.4, step_size=0.15, steps=7, norm="l2", start="none")
    weight = model.weight.detach().numpy()
    clean = images.numpy().reshape(5, 4)
    adv = clean.copy()
    for _ in range(7):
        logits = adv @ weight.T
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        shares[np.arange(5), targets.numpy()] -= 1
        gradient = shares @ weight
        adv = adv + 0.15 * gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
        shift = adv - clean
        length = np.linalg.norm(shift, axis=1, keepdims=True)
        adv = np.clip(clean + shift * np.minimum(1, 0.4 / length), 0, 1)
    assert found.numpy().reshape(5, 4) == pytest.approx(adv, abs=1e-12)


def test_an_image_without_a_gradient_stays_where_it_is() -> None:
    images = torch.full((2, 1, 1, 2), 0.5)
    ball = BALLS["l2"].around(images, 0.3, 0.1)
    gradient = torch.tensor([0.0, 0.0, 3.0, 4.0]).reshape(2, 1, 1, 2)
    stepped = ball.step(images.clone(), gradient)
    assert stepped.flatten().tolist() == pytest.approx([0.5, 0.5, 0.56, 0.58])


@pytest.mark.parametrize("norm", sorted(BALLS))
def test_each_image_may_have_a_radius_and_a_step_of_its_own(norm: str) -> None:
    model, images = LinearModel(), torch.full((2, 1, 2, 2), 0.5, dtype=torch.float64)
    targets = torch.tensor([0, 1])
    eps, step = torch.tensor([0.1, 0.02]), torch.tensor([0.04, 0.008])

    def attack(
        images: Tensor, targets: Tensor, eps: float | Tensor, step: float | Tensor
    ) -> Tensor:
        return pgd(model, images, targets, eps=eps, step_size=step, steps=5, norm=norm,
                   start="none", start_eps=0.1)  # fmt: skip

    together = attack(images, targets, eps, step)
    for i in range(2):
        alone = attack(images[i : i + 1], targets[i : i + 1], eps[i].item(), step[i].item())
        assert torch.allclose(together[i : i + 1], alone, rtol=0, atol=1e-9)


def test_radii_of_images_need_a_radius_for_the_start() -> None:
    images = torch.full((2, 1, 2, 2), 0.5, dtype=torch.float64)
    with pytest.raises(ConfigError, match="start_eps must be given"):
        pgd(LinearModel(), images, torch.tensor([0, 1]), eps=torch.tensor([0.1, 0.1]),
            step_size=0.1, steps=1)  # fmt: skip
