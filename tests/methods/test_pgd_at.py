"""PGD adversarial training."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltat_tune.attacks import pgd
from ltat_tune.losses import CrossEntropy
from ltat_tune.methods import PGDAT, build_method
from tests.methods.toys import COUNTS, batch, config, gradients, model, seeded


def test_the_loss_and_its_gradient_are_those_of_the_adversarial_images() -> None:
    images, targets = batch()
    trained, reference = model(), model()
    attack = partial(pgd, eps=0.1, step_size=0.03, steps=3)
    output = PGDAT(CrossEntropy(), attack).training_step(
        trained, images, targets, class_weights=None, generator=seeded()
    )
    output.loss.backward()
    adv_images = attack(reference, images, targets, generator=seeded())
    expected = F.cross_entropy(reference(adv_images), targets)
    expected.backward()
    assert output.loss.item() == pytest.approx(expected.item())
    wanted = gradients(reference)
    assert all(torch.allclose(g, wanted[n]) for n, g in gradients(trained).items())
    assert not torch.equal(adv_images, images)


def test_batch_norm_sees_the_adversarial_images_only() -> None:
    images, targets = batch()
    trained, reference = model(), model()

    def brighten(
        model: nn.Module, images: Tensor, targets: Tensor, *, generator: torch.Generator
    ) -> Tensor:
        return (images + 0.3).clamp(0, 1)

    PGDAT(CrossEntropy(), brighten).training_step(
        trained, images, targets, class_weights=None, generator=seeded()
    )
    reference((images + 0.3).clamp(0, 1))
    assert all(
        torch.equal(a, b) for a, b in zip(trained.buffers(), reference.buffers(), strict=True)
    )


@pytest.mark.parametrize("loss", ["ldam", "balanced_softmax", "focal"])
def test_the_attack_climbs_plain_cross_entropy_whatever_the_loss(loss: str) -> None:
    images, targets = batch()
    plain, other = (
        build_method(config(method__name="pgd_at", loss__name=name), COUNTS).training_step(
            model(), images, targets, class_weights=None, generator=seeded()
        )
        for name in ("cross_entropy", loss)
    )
    assert torch.equal(plain.logits, other.logits)
    assert plain.loss.item() != other.loss.item()


def _budgeted(epoch: int, **values: object) -> tuple[Tensor, Tensor, Tensor]:
    """Clean images, adversarial ones and targets of an epoch with RobustLT's budgets."""
    method = build_method(config(optim__epochs=10, **values), COUNTS, epoch=epoch)
    assert isinstance(method, PGDAT)
    images, targets = batch()
    return images, method.attack(model(), images, targets, generator=seeded()), targets


def test_a_radius_that_grows_from_0_leaves_the_first_epoch_clean() -> None:
    images, adv_images, _ = _budgeted(0, attack__class_budget_warmup=0.8)
    assert torch.equal(adv_images, images)
    _, half, _ = _budgeted(4, attack__class_budget_warmup=0.8)
    assert (half - images).abs().max().item() == pytest.approx(0.05, rel=1e-4)
    for epoch in (8, 9):
        _, whole, _ = _budgeted(epoch, attack__class_budget_warmup=0.8)
        _, plain, _ = _budgeted(epoch)
        assert torch.allclose(whole, plain, atol=1e-7)


def test_class_budgets_move_the_radius_to_the_rare_classes() -> None:
    # counts 40, 20, 5: s = (0, sqrt(ln 2), sqrt(ln 8)) = (0, .832555, 1.442027) and the mean over
    # images D = (20 * .832555 + 5 * 1.442027) / 65 = .367096; share .4 gives .6 + .4 s / D.
    images, adv_images, targets = _budgeted(0, attack__class_budget=0.4, attack__steps=10)
    radii = [0.1 * share for share in (0.6, 1.507179, 2.171286)]
    for target, radius in enumerate(radii):
        reached = (adv_images - images)[targets == target].abs().max().item()
        assert reached == pytest.approx(radius, rel=1e-4)
    assert sum(n * r for n, r in zip((40, 20, 5), radii, strict=True)) / 65 == pytest.approx(0.1)
