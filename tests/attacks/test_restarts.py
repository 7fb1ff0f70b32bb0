"""Restarts: the worst attempt of each image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltat_tune.attacks import pgd, worst_of_restarts
from ltat_tune.attacks.objectives import cross_entropy
from ltat_tune.attacks.restarts import Attempt
from tests.attacks.toys import snapshot, tiny_cnn, unusual_state


class FirstTwoPixels(nn.Module):
    """Logits are the first two pixels."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :2]


def _image(first: float, second: float) -> Tensor:
    return torch.tensor([first, second, 0.0, 0.0]).view(1, 2, 2)


def _given(attempts: list[list[Tensor]], seen: list[int]) -> Attempt:
    """Attempts by number and image; the image's number stands in its last pixel."""

    def attempt(images: Tensor, targets: Tensor, number: int) -> Tensor:
        seen.append(len(images))
        return torch.stack([attempts[number][int(image[0, 1, 1])] for image in images])

    return attempt


def test_the_first_success_is_kept_else_the_highest_loss() -> None:
    right, closer, wrong, worse = (
        _image(1.0, 0.0), _image(1.0, 0.5), _image(0.4, 0.6), _image(0.0, 1.0)
    )  # fmt: skip
    numbered = torch.zeros(4, 1, 2, 2)
    numbered[:, 0, 1, 1] = torch.arange(4.0)
    attempts = [
        [wrong, right, closer, right],
        [worse, closer, right, right],
        [worse, right, right, wrong],
    ]
    seen: list[int] = []
    worst = worst_of_restarts(
        FirstTwoPixels(), numbered, torch.zeros(4, dtype=torch.int64),
        attempt=_given(attempts, seen), restarts=3, objective=cross_entropy,
    )  # fmt: skip
    assert torch.equal(worst, torch.stack([wrong, closer, closer, wrong]))
    assert seen == [4, 3, 3]  # the image that was fooled at once is attacked no further


def test_nothing_is_attempted_once_all_are_fooled() -> None:
    seen: list[int] = []
    attempts = [[_image(0.0, 1.0)]] * 5
    worst_of_restarts(
        FirstTwoPixels(), torch.zeros(1, 1, 2, 2), torch.zeros(1, dtype=torch.int64),
        attempt=_given(attempts, seen), restarts=5, objective=cross_entropy,
    )  # fmt: skip
    assert seen == [1]


def _pgd(model: nn.Module, generator: torch.Generator) -> Attempt:
    def attempt(images: Tensor, targets: Tensor, number: int) -> Tensor:
        return pgd(
            model, images, targets, eps=0.05, step_size=0.05, steps=2, generator=generator,
            start="uniform_clipped",
        )  # fmt: skip

    return attempt


def test_more_restarts_are_never_weaker_and_one_is_pgd_to_the_bit() -> None:
    model = tiny_cnn()
    unusual_state(model)
    images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    judge = tiny_cnn().eval()
    with torch.no_grad():
        targets = judge(images).argmax(dim=1)
    before = snapshot(model)
    losses, fooled = [], []
    for restarts in (1, 2, 6):
        worst = worst_of_restarts(
            model, images, targets, attempt=_pgd(model, torch.Generator().manual_seed(0)),
            restarts=restarts, objective=cross_entropy,
        )  # fmt: skip
        with torch.no_grad():
            logits = judge(worst)
        losses.append(cross_entropy(logits, targets, None))
        fooled.append(logits.argmax(dim=1) != targets)
        assert (worst - images).abs().max().item() <= 0.05 + 1e-7
        if restarts == 1:
            alone = _pgd(model, torch.Generator().manual_seed(0))(images, targets, 0)
            assert torch.equal(worst, alone)
    for few, many in ((0, 1), (0, 2)):
        assert bool((fooled[many] | ~fooled[few]).all())
        stands = ~fooled[many]
        assert bool((losses[many][stands] >= losses[few][stands] - 1e-6).all())
    assert bool((losses[2] > losses[0] + 1e-4).any())
    assert snapshot(model) == before
