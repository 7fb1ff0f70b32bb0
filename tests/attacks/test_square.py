"""Square alone, really run through pyautoattack."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.attacks import square
from ltat_tune.errors import ConfigError
from tests.attacks.toys import snapshot, undecided, unusual_state


def _batch(side: int = 8) -> tuple[nn.Module, Tensor, Tensor]:
    """A linear model and images that it classifies with a small margin."""
    generator = torch.Generator().manual_seed(3)
    linear = nn.Linear(side * side, 4, bias=False)
    model = nn.Sequential(nn.Flatten(), linear)
    with torch.no_grad():
        linear.weight.normal_(std=0.3, generator=generator)
        images = torch.rand(8, 1, side, side, generator=generator)
        targets = model(images).argmax(dim=1)
    return model, images, targets


@pytest.mark.parametrize(("norm", "eps", "side"), [("linf", 0.1, 8), ("l2", 1.0, 16)])
def test_broken_images_lie_in_the_ball_and_the_others_come_back(
    norm: str, eps: float, side: int
) -> None:
    model, images, targets = _batch(side)
    targets[0] = (targets[0] + 1) % 4  # wrong already
    adv_images = square(model, images, targets, eps=eps, seed=0, queries=60, norm=norm)
    shift = (adv_images - images).flatten(1)
    lengths = shift.abs().amax(1) if norm == "linf" else shift.norm(dim=1)
    assert lengths.max().item() <= eps + 1e-5
    assert adv_images.min().item() >= 0 and adv_images.max().item() <= 1
    with torch.no_grad():
        wrong = model(adv_images).argmax(dim=1) != targets
    assert torch.equal(adv_images[0], images[0])
    assert bool(wrong[1:].any())
    assert torch.equal(lengths[1:] > 0, wrong[1:])


@pytest.mark.parametrize(("norm", "theirs", "side"), [("linf", "Linf", 8), ("l2", "L2", 16)])
def test_it_is_the_square_of_autoattack(norm: str, theirs: str, side: int) -> None:
    """The package's own evaluation, restricted to Square, beside ours."""
    from pyautoattack import AutoAttack

    model, images, targets = _batch(side)
    eps = 0.1 if norm == "linf" else 1.0
    with torch.random.fork_rng(devices=[]):
        adversary = AutoAttack(
            model, norm=theirs, eps=eps, seed=7, version="custom", attacks=["square"]
        )
        adversary.square.n_queries = 60
        expected, _ = adversary.run_standard_evaluation(images, targets, batch_size=len(images))
    ours = square(model, images, targets, eps=eps, seed=7, queries=60, norm=norm)
    assert torch.equal(ours, expected)
    assert not torch.equal(ours, images)


def test_fewer_queries_are_the_first_of_more() -> None:
    model, images, targets = _batch()
    few, many = (square(model, images, targets, eps=0.15, seed=0, queries=q) for q in (2, 100))
    broken = (few != images).flatten(1).any(dim=1)
    assert torch.equal(few[broken], many[broken])
    assert (many != images).flatten(1).any(dim=1).sum() > broken.sum()


def test_a_fitted_schedule_is_that_of_the_package_with_rescaling() -> None:
    from pyautoattack.square import SquareAttack

    model, images, targets = _batch()
    theirs = SquareAttack(
        model, norm="Linf", n_queries=40, eps=0.1, p_init=0.8, seed=7, resc_schedule=True
    )
    with torch.random.fork_rng(devices=[]):
        expected = theirs.perturb(images.clone(), targets.clone())
    fitted, plain = (
        square(model, images, targets, eps=0.1, seed=7, queries=40, fit_schedule=fit)
        for fit in (True, False)
    )
    assert torch.equal(fitted, expected)
    assert not torch.equal(fitted, plain)


def test_the_seed_decides_and_everything_is_left_as_found() -> None:
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    model = undecided(3, images)
    with torch.no_grad():
        targets = model(images).argmax(dim=1)
    unusual_state(model)
    before, random_state = snapshot(model), torch.get_rng_state()
    first = square(model, images, targets, eps=0.3, seed=1, queries=30)
    assert snapshot(model) == before
    assert torch.equal(torch.get_rng_state(), random_state)
    torch.rand(5)
    with torch.inference_mode():
        again = square(model, images.clone(), targets.clone(), eps=0.3, seed=1, queries=30)
    assert torch.equal(first, again)
    other = square(model, images, targets, eps=0.3, seed=2, queries=30)
    assert not torch.equal(first, other)


def test_a_model_of_equal_logits_breaks_nothing_and_fails_nowhere() -> None:
    """Every margin is 0, which is neither won nor lost: a saturated model answers so."""
    linear = nn.Linear(64, 3, bias=False)
    nn.init.zeros_(linear.weight)
    model = nn.Sequential(nn.Flatten(), linear)
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    adv_images = square(
        model, images, torch.zeros(3, dtype=torch.int64), eps=0.1, seed=0, queries=20
    )
    assert torch.equal(adv_images, images)


def test_eps_0_and_an_empty_batch_return_the_images() -> None:
    model, images, targets = _batch()
    assert torch.equal(square(model, images, targets, eps=0.0, seed=0), images)
    assert square(model, images[:0], targets[:0], eps=0.1, seed=0).shape == (0, 1, 8, 8)


def test_what_it_cannot_do_is_refused() -> None:
    model, images, targets = _batch()
    with pytest.raises(
        ConfigError, match="l2 needs images with sides of at least 15 pixels, got 8x8"
    ):
        square(model, images, targets, eps=0.5, seed=0, norm="l2")
    with pytest.raises(ConfigError, match="unknown norm 'l1' for square; choose from: linf, l2"):
        square(model, images, targets, eps=0.5, seed=0, norm="l1")
    with pytest.raises(ConfigError, match="queries of square must be >= 1, got 0"):
        square(model, images, targets, eps=0.5, seed=0, queries=0)
