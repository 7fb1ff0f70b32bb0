"""The attacks of the gradient-masking sentinel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltat_tune.attacks.frozen import frozen
from ltat_tune.attacks.heartbeat import beat
from ltat_tune.attacks.named import STEPS_IN_EPS, noise_seed, parse_attack
from ltat_tune.attacks.noise import start_noise
from ltat_tune.attacks.objectives import cross_entropy, margin
from ltat_tune.attacks.pgd import pgd
from ltat_tune.attacks.square import square
from ltat_tune.errors import CheckpointError, ConfigError
from ltat_tune.losses.precision import full_precision

RANDOM_DIRECTIONS = 20  # as many queries of the model as PGD-20 makes
_UNBOUNDED_STEPS = 40
_UNBOUNDED_STRIDE = 20  # steps that cross all of [0, 1]
_DOWN = 0.1


class Batch(NamedTuple):
    """Images attacked together, and their `places` in the split, on which their noise depends."""

    images: Tensor  # (N, C, H, W)
    targets: Tensor  # (N,)
    places: Tensor  # (N,) int64


# maps a batch to the margins after the attack, (N,)
MarginAttack = Callable[[Batch], Tensor]


def margins(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Return the label's logit minus the largest other one, (N,); an answer is right above 0.

    Raises:
        CheckpointError: one is not finite; such an image would count as one that withstands.
    """
    beat()
    with torch.no_grad(), frozen(model, training=False):
        left = -margin(full_precision(model(images)), targets, None)
    if not bool(left.isfinite().all()):
        raise CheckpointError("the model's logits are not finite; it cannot be watched")
    return left


def build_attacks(
    model: nn.Module,
    *,
    eps: float,
    norm: str,
    step_size: float | None,
    seed: int,
    split: str,
    queries: int,
) -> dict[str, MarginAttack]:
    """Return all attacks that the checks compare, by name, in the order of the run.

    They have the steps and the noise of `ltat-tune evaluate`: `pgd20` is its PGD-20.
    """
    stride = eps / STEPS_IN_EPS[norm] if step_size is None else step_size
    own_seed = noise_seed(seed, split)

    def named(name: str, radius: float = eps) -> MarginAttack:
        attack = parse_attack(name)

        def run(batch: Batch) -> Tensor:
            images, targets, places = batch
            adv_images = attack.run(
                model, images, targets, eps=radius, norm=norm, step_size=stride * (radius / eps),
                seed=seed, split=split, places=places,
            )  # fmt: skip
            return margins(model, adv_images, targets)

        return run

    def noise(batch: Batch) -> Tensor:
        left = [
            margins(model, (batch.images + _direction(batch, k)).clamp(0, 1), batch.targets)
            for k in range(RANDOM_DIRECTIONS)
        ]
        return torch.stack(left).amin(dim=0)

    def _direction(batch: Batch, number: int) -> Tensor:
        """Return a shift of length eps: a corner of the L-inf ball, a point on the L2 sphere."""
        shift = start_noise(
            batch.images,
            batch.places,
            eps,
            norm=norm,
            seed=own_seed,
            stream=f"direction/{number}",
        )
        if norm == "linf":
            return eps * shift.sign()
        return eps * F.normalize(shift.flatten(1), dim=1).view_as(shift)

    def down(batch: Batch) -> Tensor:
        images, targets, places = batch
        start = images + start_noise(
            images, places, eps, norm=norm, seed=own_seed, stream="adaptive_down20"
        )
        adv_images = pgd(
            model, images, targets, eps=eps, step_size=stride, steps=20, norm=norm,
            start=start.clamp_(0, 1),
            objective=lambda logits, t: cross_entropy(_DOWN * logits, t, None).sum(),
        )  # fmt: skip
        return margins(model, adv_images, targets)

    def unbounded(batch: Batch) -> Tensor:
        # From the image itself: noise of this size is no longer an image of the class.
        images, targets, _ = batch
        radius = 1.0 if norm == "linf" else math.sqrt(images.shape[1:].numel())
        adv_images = pgd(
            model, images, targets, eps=radius, step_size=radius / _UNBOUNDED_STRIDE,
            steps=_UNBOUNDED_STEPS, norm=norm, start="none",
        )  # fmt: skip
        return margins(model, adv_images, targets)

    def black_box(batch: Batch) -> Tensor:
        images, targets, _ = batch
        adv_images = square(
            model, images, targets, eps=eps, seed=seed, queries=queries, norm=norm,
            fit_schedule=True,
        )  # fmt: skip
        return margins(model, adv_images, targets)

    return {
        "fgsm": named("fgsm"),
        "noise": noise,
        "pgd20": named("pgd20"),
        "cw20": named("cw20"),
        "adaptive20": named("adaptive20"),
        "adaptive_down20": down,
        "pgd20_2eps": named("pgd20", 2 * eps),
        "pgd20_4eps": named("pgd20", 4 * eps),
        "unbounded": unbounded,
        "pgd100": named("pgd100"),
        "square": black_box,
    }


def slope_and_pull(model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return `Evidence.slope` and `Evidence.pull`, both (N,) float64.

    With two classes the slope is 1 - p(label), whatever the size of the logits, and the pull is
    infinite: there is no other wrong class.

    Raises:
        ConfigError: the logits have no gradient at all.
    """
    of_loss, of_margin, pull = gradient_lengths(model, images, targets)
    return torch.where(of_margin > 0, of_loss / of_margin, torch.zeros_like(of_loss)), pull


def gradient_lengths(
    model: nn.Module, images: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the L1 lengths of the gradients of cross-entropy and of the margin, and the pull.

    All are (N,) float64; `slope_and_pull` explains the pull, and what it raises.
    """
    beat()
    lengths = []
    with torch.inference_mode(False), torch.enable_grad(), frozen(model, training=False):
        images, targets = images.clone().requires_grad_(True), targets.clone()
        for objective in (cross_entropy, margin):
            logits = full_precision(model(images))
            loss = objective(logits, targets, None).sum()
            if not loss.requires_grad:
                raise ConfigError(
                    "the logits have no gradient with respect to the images (is the input "
                    "detached?): no white-box attack can run on this model"
                )
            (gradient,) = torch.autograd.grad(loss, images)
            lengths.append(gradient.flatten(1).abs().sum(dim=1, dtype=torch.float64))
    return lengths[0], lengths[1], _pull(logits.detach().double(), targets)


def _pull(logits: Tensor, targets: Tensor) -> Tensor:
    at_label = F.one_hot(targets, logits.shape[1]).bool()
    wrong = logits.masked_fill(at_label, -torch.inf)
    first, runner_up = wrong.max(dim=1, keepdim=True)
    others = wrong.scatter(1, runner_up, -torch.inf)
    average = others.logsumexp(dim=1, keepdim=True) - math.log(max(1, logits.shape[1] - 2))
    return (first - average).exp().squeeze(1)
