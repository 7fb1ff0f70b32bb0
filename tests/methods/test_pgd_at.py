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
