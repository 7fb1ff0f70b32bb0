"""The AutoAttack adapter, really run on tiny models."""

from __future__ import annotations

import logging
import sys
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.attacks import autoattack, standard_attacks
from ltat_tune.errors import ConfigError
from tests.attacks.short_autoattack import shorten_autoattack
from tests.attacks.toys import snapshot, tiny_cnn, unusual_state

FOUR = ("apgd-ce", "apgd-t", "fab-t", "square")


class Prototypes(nn.Module):
    """Logit k is pixel k."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(num_classes, 64))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T


@pytest.fixture
def shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attack of the standard version really runs, but for few iterations."""
    shorten_autoattack(monkeypatch, iterations=10, queries=50)


def _image(target: int, lead: float) -> Tensor:
    """8x8 grey, the target's pixel higher by `lead`: any eps above lead / 2 can break it."""
    image = torch.full((64,), 0.4)
    image[target] += lead
    return image.view(1, 8, 8)


def _batch() -> tuple[Tensor, Tensor]:
    """Two images that eps 0.1 breaks, one that it cannot, and one that is wrong already."""
    leads = [0.1, 0.15, 0.3, 0.2]
    images = torch.stack([_image(k % 3, lead) for k, lead in enumerate(leads)])
    return images, torch.tensor([0, 1, 2, 1])  # the last image shows class 0


@pytest.mark.parametrize(
    ("num_classes", "expected"),
    [
        (2, ("apgd-ce", "fab-t", "square")),
        (3, ("apgd-ce", "fab-t", "square")),
        (4, FOUR),
        (10, FOUR),
    ],
)
def test_below_four_classes_apgd_t_is_left_out(
    num_classes: int, expected: tuple[str, ...]
) -> None:
    assert standard_attacks(num_classes) == expected


def test_one_class_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2 classes, got 1"):
        standard_attacks(1)


@pytest.mark.usefixtures("shortened")
@pytest.mark.parametrize("num_classes", [2, 3, 4, 10])
def test_breakable_images_break_inside_the_ball_and_the_others_come_back(num_classes: int) -> None:
    images, targets = _batch()
    if num_classes == 2:  # no class 2: the robust image shows class 0
        images[2], targets[2] = _image(0, 0.3), 0
    model = Prototypes(num_classes)
    adv_images = autoattack(model, images, targets, eps=0.1, seed=0)
    predictions = model(adv_images).argmax(1)
    assert (predictions != targets).tolist() == [True, True, False, True]
    assert torch.equal(adv_images[2:], images[2:])
    assert (adv_images - images).abs().max().item() <= 0.1 + 1e-6
    assert adv_images.min().item() >= 0 and adv_images.max().item() <= 1
    assert not adv_images.requires_grad


def test_three_classes_survive_the_full_length() -> None:
    model, (images, targets) = Prototypes(3), _batch()
    adv_images = autoattack(model, images, targets, eps=0.1, seed=0)
    assert (model(adv_images).argmax(1) != targets).tolist() == [True, True, False, True]


@pytest.mark.usefixtures("shortened")
def test_ten_classes_get_the_packages_own_standard_version() -> None:
    from pyautoattack import AutoAttack

    model, (images, targets) = Prototypes(10), _batch()
    with torch.random.fork_rng(devices=[]):
        adversary = AutoAttack(model, norm="Linf", eps=0.1, seed=5, version="standard")
        expected, _ = adversary.run_standard_evaluation(images, targets, batch_size=500)
    assert not torch.equal(expected, images)
    assert torch.equal(autoattack(model, images, targets, eps=0.1, seed=5), expected)


@pytest.mark.parametrize(("num_classes", "target_classes"), [(2, 1), (4, 3), (10, 9), (100, 9)])
def test_only_the_attacks_and_the_target_classes_depend_on_the_number_of_classes(
    num_classes: int, target_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyautoattack import AutoAttack

    seen: list[Any] = []

    def record(adversary: Any, x: Tensor, y: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
        seen.append(adversary)
        return x, y

    monkeypatch.setattr(AutoAttack, "run_standard_evaluation", record)
    images, targets = torch.rand(2, 1, 16, 16), torch.tensor([0, 1])
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, num_classes))
    autoattack(model, images, targets, eps=0.1, seed=5)
    (adversary,) = seen
    standard = AutoAttack(model, norm="Linf", eps=0.1, seed=5, version="standard")
    assert adversary.attacks_to_run == list(standard_attacks(num_classes))
    assert adversary.apgd_targeted.n_target_classes == target_classes
    assert adversary.fab.n_target_classes == target_classes
    assert (adversary.norm, adversary.epsilon, adversary.seed) == ("Linf", 0.1, 5)
    assert adversary.square.n_queries == standard.square.n_queries == 5000
    for ours, theirs in (
        (adversary.apgd, standard.apgd),
        (adversary.apgd_targeted, standard.apgd_targeted),
        (adversary.fab, standard.fab),
    ):
        assert (ours.n_iter, ours.n_restarts) == (theirs.n_iter, theirs.n_restarts) == (100, 1)


@pytest.mark.usefixtures("shortened")
def test_model_random_state_trace_function_and_logger_are_left_as_found(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    model = tiny_cnn(3)
    unusual_state(model)
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    targets = torch.tensor([0, 1, 2, 0])
    before, random_state = snapshot(model), torch.get_rng_state()
    level = logging.getLogger("auto-attack").level

    def trace(frame: FrameType, event: str, argument: Any) -> None:
        return None

    found = sys.gettrace()
    sys.settrace(trace)
    try:
        autoattack(model, images, targets, eps=0.3, seed=0)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(found)
    assert snapshot(model) == before
    assert torch.equal(torch.get_rng_state(), random_state)
    assert logging.getLogger("auto-attack").level == level
    assert caplog.records == [] and capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("shortened")
def test_warnings_of_the_package_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    # Probabilities instead of logits make it warn.
    autoattack(nn.Sequential(Prototypes(3), nn.Softmax(dim=1)), *_batch(), eps=0.1, seed=0)
    assert caplog.records == []


def test_all_is_as_found_when_the_model_fails() -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = tiny_cnn(3)
            self.calls = 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 12:
                raise RuntimeError("twelfth forward")
            logits: Tensor = self.inner(images)
            return logits

    model = Failing()
    before, random_state = snapshot(model), torch.get_rng_state()
    with pytest.raises(RuntimeError, match="twelfth forward"):
        autoattack(model, torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(3)),
                   torch.tensor([0, 1]), eps=0.1, seed=0)  # fmt: skip
    assert snapshot(model) == before
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.usefixtures("shortened")
def test_the_seed_decides_the_images_and_the_global_state_does_not() -> None:
    model, targets = tiny_cnn(3).eval(), torch.tensor([0, 1, 2, 0])
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    first = autoattack(model, images, targets, eps=0.3, seed=1)
    torch.rand(5)
    assert torch.equal(autoattack(model, images, targets, eps=0.3, seed=1), first)
    with torch.inference_mode():
        inside = autoattack(model, images.clone(), targets.clone(), eps=0.3, seed=1)
    assert torch.equal(inside, first)


def test_eps_0_and_an_empty_batch_return_the_images() -> None:
    model, (images, targets) = Prototypes(3), _batch()
    assert torch.equal(autoattack(model, images, targets, eps=0.0, seed=0), images)
    assert autoattack(model, images[:0], targets[:0], eps=0.1, seed=0).shape == (0, 1, 8, 8)


def test_another_norm_is_refused() -> None:
    images, targets = _batch()
    with pytest.raises(ConfigError, match="unknown norm 'L1' for autoattack; choose from: Linf"):
        autoattack(Prototypes(3), images, targets, eps=0.1, seed=0, norm="L1")


def test_in_l2_images_below_15_pixels_are_attacked_without_square() -> None:
    assert standard_attacks(10, norm="L2", side=14) == ("apgd-ce", "apgd-t", "fab-t")
    assert standard_attacks(10, norm="L2", side=15) == FOUR
    model, (images, targets) = Prototypes(3), _batch()
    adv_images = autoattack(model, images, targets, eps=0.5, seed=0, norm="L2")
    moved = (adv_images - images).flatten(1).norm(dim=1)
    assert bool((moved <= 0.5 + 1e-5).all()) and bool((moved > 0).any())
