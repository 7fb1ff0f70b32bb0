"""MIM and FGSM, which are PGD with momentum and with one step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ltat_tune.attacks import pgd
from tests.attacks.toys import LinearModel, snapshot, tiny_cnn, unusual_state

EPS, STEP = 0.1, 0.03


def _grey(n: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(n, 1, 2, 2, generator=generator, dtype=torch.float64) * 0.6 + 0.2
    return images, torch.arange(n) % 3


def _gradient(weight: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of -log softmax(W x)_y with respect to x, (N, 4)."""
    z = x @ weight.T
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return p @ weight  # type: ignore[no-any-return]


def _mim(weight: np.ndarray, x: np.ndarray, y: np.ndarray, steps: int, norm: str) -> np.ndarray:
    """Dong et al., Algorithm 1, decay 1, in NumPy."""
    adv, total = x.copy(), np.zeros_like(x)
    for _ in range(steps):
        g = _gradient(weight, adv, y)
        total = total + g / np.abs(g).sum(1, keepdims=True)
        if norm == "linf":
            adv = np.clip(np.clip(adv + STEP * np.sign(total), x - EPS, x + EPS), 0, 1)
            continue
        shift = adv + STEP * total / np.linalg.norm(total, axis=1, keepdims=True) - x
        length = np.linalg.norm(shift, axis=1, keepdims=True)
        adv = np.clip(x + shift * np.minimum(1, EPS / length), 0, 1)
    return adv


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_momentum_gives_the_images_of_numpy(norm: str) -> None:
    model, (images, targets) = LinearModel(), _grey()
    ours = pgd(
        model, images, targets, eps=EPS, step_size=STEP, steps=6, start="none", norm=norm,
        momentum=1.0,
    )  # fmt: skip
    theirs = _mim(
        model.weight.detach().numpy(), images.flatten(1).numpy(), targets.numpy(), 6, norm
    )
    np.testing.assert_allclose(ours.flatten(1).numpy(), theirs, atol=1e-12)


def test_one_step_with_momentum_is_one_step_without() -> None:
    model, (images, targets) = LinearModel(), _grey()
    plain, mim = (
        pgd(model, images, targets, eps=EPS, step_size=STEP, steps=1, start="none", momentum=m)
        for m in (None, 1.0)
    )
    assert torch.equal(plain, mim)


def test_decay_0_forgets_and_gives_plain_sign_steps() -> None:
    model, (images, targets) = LinearModel(), _grey()
    plain, mim = (
        pgd(model, images, targets, eps=EPS, step_size=STEP, steps=5, start="none", momentum=m)
        for m in (None, 0.0)
    )
    assert torch.equal(plain, mim)


def test_tiny_gradients_count_as_much_as_large_ones_and_zero_ones_move_nothing() -> None:
    class Scaled(LinearModel):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.weight.data.mul_(factor)

    images, targets = _grey()
    # At 1e-100 the softmax is even to the last digit: the gradient has one direction throughout.
    tiny = pgd(
        Scaled(1e-100), images, targets, eps=EPS, step_size=0.01, steps=3, start="none",
        momentum=1.0,
    )  # fmt: skip
    assert torch.allclose((tiny - images).abs(), torch.full_like(images, 0.03))
    none = pgd(
        Scaled(0.0), images, targets, eps=EPS, step_size=STEP, steps=3, start="none", momentum=1.0
    )
    assert torch.equal(none, images)


def test_momentum_leaves_the_model_as_found_and_stays_in_the_ball() -> None:
    model = tiny_cnn()
    unusual_state(model)
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    before = snapshot(model)
    adv_images = pgd(
        model, images, torch.arange(6) % 3, eps=EPS, step_size=STEP, steps=5, start="none",
        momentum=1.0,
    )  # fmt: skip
    assert snapshot(model) == before
    assert (adv_images - images).abs().max().item() <= EPS + 1e-7
    assert adv_images.min().item() >= 0 and adv_images.max().item() <= 1


def test_fgsm_on_a_linear_model_is_the_image_plus_eps_times_the_sign() -> None:
    model, (images, targets) = LinearModel(), _grey()
    ours = pgd(model, images, targets, eps=EPS, step_size=EPS, steps=1, start="none")
    x = images.flatten(1).numpy()
    theirs = x + EPS * np.sign(_gradient(model.weight.detach().numpy(), x, targets.numpy()))
    np.testing.assert_allclose(ours.flatten(1).numpy(), theirs, atol=1e-15)
