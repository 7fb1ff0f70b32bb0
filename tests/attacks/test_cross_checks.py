"""Our attacks beside implementations that are not ours: same model, same images, same start."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.attacks import autoattack, pgd
from ltat_tune.attacks.named import parse_attack
from tests.attacks.short_autoattack import shorten_autoattack
from tests.attacks.toys import undecided

torchattacks = pytest.importorskip("torchattacks")

EPS, STEP = 0.1, 0.025


def _batch(n: int = 16, *, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor, Tensor]:
    """A small network of float64, in which no rounding turns the sign of a gradient."""
    generator = torch.Generator().manual_seed(6)
    # off 0 and 1, where the C&W of torchattacks cannot move a pixel
    images = torch.rand(n, 1, 16, 16, generator=generator) * 0.9 + 0.05
    model, images = undecided(4, images).to(dtype), images.to(dtype)
    with torch.no_grad():
        return model, images, model(images).argmax(dim=1)


def _theirs(attack: Any, images: Tensor, targets: Tensor, seed: int = 0) -> Tensor:
    """Its global noise from `seed`; our generator of the same seed draws the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found: Tensor = attack(images, targets)
    return found


@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize(("norm", "eps", "step_size"), [("linf", EPS, STEP), ("l2", 1.0, 0.2)])
def test_pgd_from_the_same_random_start(
    norm: str, eps: float, step_size: float, steps: int
) -> None:
    model, images, targets = _batch()
    family = torchattacks.PGD if norm == "linf" else torchattacks.PGDL2
    theirs = _theirs(
        family(model, eps=eps, alpha=step_size, steps=steps, random_start=True), images, targets
    )
    ours = pgd(
        model, images, targets, eps=eps, step_size=step_size, steps=steps, norm=norm,
        start="uniform_clipped", generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=0)


def test_fgsm() -> None:
    model, images, targets = _batch()
    theirs = _theirs(torchattacks.FGSM(model, eps=EPS), images, targets)
    ours = pgd(model, images, targets, eps=EPS, step_size=EPS, steps=1, start="none")
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_mim() -> None:
    model, images, targets = _batch()
    attack = torchattacks.MIFGSM(model, eps=EPS, alpha=STEP, steps=10, decay=1.0)
    ours = pgd(
        model, images, targets, eps=EPS, step_size=STEP, steps=10, start="none", momentum=1.0
    )
    torch.testing.assert_close(ours, _theirs(attack, images, targets), atol=1e-12, rtol=0)


class _Raised(nn.Module):
    """Logits above 0, because torchattacks reads 0 in the label's place; the differences grow.

    With `falls` logit 0 of the first image loses a great constant in each forward: no gradient has
    it, but the sum of losses always falls, and torchattacks stops when that sum rises.
    """

    def __init__(self, model: nn.Module, factor: float, *, falls: bool) -> None:
        super().__init__()
        self.model, self.factor, self.falls = model, factor, falls
        self.forwards = 0

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.factor * self.model(images) + 1000
        if self.falls:
            shift = torch.zeros_like(logits)
            shift[0, 0] = 1e6 * (100 - self.forwards)
            self.forwards += 1
            logits = logits + shift
        return logits


@pytest.mark.parametrize(("factor", "broken"), [(20.0, 22), (100.0, 38)])
def test_cwl2_fixed_is_the_attack_of_torchattacks_to_its_last_iteration(
    factor: float, broken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All images but the first, which keeps its sum of losses falling, in all 50 iterations.

    Ours otherwise begins a millionth off in tanh space, where 0 and 1 are at a finite place.
    """
    monkeypatch.setattr(sys.modules["ltat_tune.attacks.cw_l2"], "INSIDE", 1.0)
    model, images, targets = _batch(40)
    targets[0] = 0
    falling = _Raised(model, factor, falls=True)
    attack = torchattacks.CW(falling, c=1, kappa=0, steps=50, lr=0.01)
    theirs = _theirs(attack, images, targets)
    assert falling.forwards == 50
    fixed = parse_attack("cwl2_fixed")
    ours = fixed.nearest(_Raised(model, factor, falls=False), images, targets)
    assert torch.equal(ours.distances[1:].isfinite(), (theirs != images).flatten(1).any(dim=1)[1:])
    assert int(ours.distances[1:].isfinite().sum()) == broken
    torch.testing.assert_close(ours.adv_images[1:], theirs[1:], atol=1e-12, rtol=0)


def test_cwl2_fixed_goes_on_where_torchattacks_stops_because_the_loss_of_a_batch_rose() -> None:
    """The same images are broken; by nearer ones where it stopped."""
    model, images, targets = _batch(12)
    raised = _Raised(model, 20.0, falls=False)
    theirs = _theirs(torchattacks.CW(raised, c=1, kappa=0, steps=50, lr=0.01), images, targets)
    ours = parse_attack("cwl2_fixed").nearest(raised, images, targets)
    hit = (theirs != images).flatten(1).any(dim=1)
    assert torch.equal(ours.distances.isfinite(), hit) and hit.sum() == 4
    same = (ours.adv_images - theirs).abs().flatten(1).amax(dim=1) < 1e-5
    assert same[hit].sum() == 3
    lengths = (theirs - images).flatten(1).norm(dim=1)
    assert bool((ours.distances < lengths)[~same].all())


def test_autoattacks_numbers_are_those_of_the_package_run_directly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pyautoattack import AutoAttack

    # four classes have three wrong ones
    shorten_autoattack(monkeypatch, iterations=10, queries=50, wrong_classes=3)
    model, images, targets = _batch(12, dtype=torch.float32)
    for norm, eps in (("Linf", 0.02), ("L2", 0.2)):
        with torch.random.fork_rng(devices=[]):
            adversary = AutoAttack(model, norm=norm, eps=eps, seed=5, version="standard")
            expected, _ = adversary.run_standard_evaluation(images, targets, batch_size=12)
        ours = autoattack(model, images, targets, eps=eps, seed=5, norm=norm)
        with torch.no_grad():
            right = [(model(found).argmax(dim=1) == targets).sum() for found in (ours, expected)]
        assert right[0] == right[1]
        assert not torch.equal(expected, images)


def test_strong_pgd_breaks_about_what_apgd_breaks() -> None:
    from pyautoattack.autopgd_base import APGDAttack

    model, images, targets = _batch(64, dtype=torch.float32)
    eps = 0.02
    with torch.random.fork_rng(devices=[]):
        apgd = APGDAttack(
            model, n_iter=50, norm="Linf", n_restarts=1, eps=eps, seed=0, device="cpu"
        )
        theirs: Tensor = apgd.perturb(images, targets)
    ours = pgd(
        model, images, targets, eps=eps, step_size=eps / 10, steps=50, start="uniform_clipped",
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    with torch.no_grad():
        right = [(model(found).argmax(dim=1) == targets).sum() for found in (ours, theirs)]
    assert 0 < right[1] < 64
    assert abs(int(right[0]) - int(right[1])) <= 2
