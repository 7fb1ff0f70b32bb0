"""The attack of Carlini and Wagner, which searches for the nearest adversarial image in L2."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ltat_tune.attacks.frozen import frozen
from ltat_tune.attacks.heartbeat import beat
from ltat_tune.attacks.objectives import margin
from ltat_tune.errors import ConfigError
from ltat_tune.losses.precision import full_precision

INSIDE = 0.999999  # keeps black and white pixels at finite values in tanh space
_CHECKS = 10  # number of progress checks in a search step
_NO_PROGRESS = 0.9999  # share of the loss at the last check
_BETA1, _BETA2, _ADAM_EPS = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Nearest:
    """The nearest adversarial images that the attack found."""

    adv_images: Tensor  # (N, C, H, W); the clean image where the attack failed
    distances: Tensor  # (N,), L2 in pixel units; 0: misclassified anyway, inf: the attack failed

    def within(self, images: Tensor, eps: float) -> Tensor:
        """Return adversarial images of distance <= eps, and `images` elsewhere: (N, C, H, W)."""
        near = (self.distances <= eps)[:, None, None, None]
        return torch.where(near, self.adv_images, images)

    def robust(self, eps: float) -> Tensor:
        """Return which images have no adversarial image within eps (may be inf): (N,) bool."""
        return (self.distances > eps) | self.distances.isinf()


def cw_l2(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    search_steps: int = 9,
    iterations: int = 10000,
    first_c: float = 1e-3,
    lr: float = 0.01,
    confidence: float = 0.0,
    abort_early: bool = True,
) -> Nearest:
    """Search for adversarial images of small L2 distance: (N, C, H, W), (N,) -> `Nearest`.

    Adam over w lowers ||x' - x||^2 + c max(z_y - max_{j != y} z_j + confidence, 0), where
    x' = (tanh w + 1) / 2 lies in [0, 1] by construction. c is searched for each image: it is
    multiplied by 10 until an adversarial image is found, and then lies halfway between the last
    failure and the last success. An image counts as adversarial if another logit exceeds the
    label's by more than `confidence`, at any distance. A radius matters only when distances are
    counted (`robust`).

    Two readings of the attack are in use. The defaults are those of the authors' implementation.
    `search_steps=1, first_c=1, iterations=50, abort_early=False` is the fixed reading of
    torchattacks. It is a far weaker attack, and its accuracies mostly show its failures.

    Images are attacked independently, so the batch size changes only the last digits. The model is
    attacked in eval mode, and its modes and parameters are restored.

    Source: Carlini2017Towards, arXiv:1608.04644, section VI.A, f_6; carlini/nn_robust_attacks
        `l2_attack.py`; Harry24k/adversarial-attacks-pytorch `cw.py` (the fixed reading).
    Deviations: progress is checked for each image, not for the sum over the batch. An image that
        is already misclassified has distance 0 and is not attacked. Distances are to the image
        itself, not to its reconstruction from tanh space. torchattacks does not move pixels at 0
        and 1, and stops the whole batch when its loss rises.

    Args:
        model: images in [0, 1] to logits (N, K).
        images: shape (N, C, H, W), float, in [0, 1].
        targets: classes, shape (N,).
        search_steps: number of values of c that are tried, >= 1; 1 is no search.
        iterations: iterations of Adam for each c, >= 1.
        first_c: first value of c, > 0.
        lr: learning rate of Adam in tanh space, no unit.
        confidence: kappa, in logits.
        abort_early: gives up on an image and c when a tenth of the iterations lowered the loss by
            less than a ten-thousandth.

    Raises:
        ConfigError: there are no search steps or no iterations, or the first c is not above 0.
    """
    if search_steps < 1 or iterations < 1 or not first_c > 0:
        raise ConfigError(
            "`search_steps >= 1`, `iterations >= 1` and `first_c > 0` must hold, got "
            f"{search_steps}, {iterations} and {first_c}"
        )
    with torch.inference_mode(False), torch.enable_grad(), frozen(model, training=False):
        # Copies made outside inference mode can take part in autograd, whatever the originals are.
        images, targets = images.detach().clone(), targets.clone()
        with torch.no_grad():
            right = full_precision(model(images)).argmax(dim=1) == targets
        nearest = images.clone()
        distances = torch.zeros(len(images), dtype=images.dtype, device=images.device)
        distances[right] = math.inf
        standing = right.nonzero().squeeze(1)
        c = torch.full_like(distances[standing], first_c)
        failed, succeeded = torch.zeros_like(c), torch.full_like(c, math.inf)
        for _ in range(search_steps if len(standing) else 0):
            closest, lengths = _descend(
                model, images[standing], targets[standing], c, iterations=iterations, lr=lr,
                confidence=confidence, abort_early=abort_early,
            )  # fmt: skip
            nearer = lengths < distances[standing]
            nearest[standing[nearer]] = closest[nearer]
            distances[standing[nearer]] = lengths[nearer]
            hit = lengths.isfinite()
            succeeded = torch.where(hit, torch.minimum(succeeded, c), succeeded)
            failed = torch.where(hit, failed, torch.maximum(failed, c))
            c = torch.where(succeeded.isfinite(), (failed + succeeded) / 2, 10 * c)
        return Nearest(nearest, distances)


def _descend(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    c: Tensor,
    *,
    iterations: int,
    lr: float,
    confidence: float,
    abort_early: bool,
) -> tuple[Tensor, Tensor]:
    """Run Adam with one c for each image; return the nearest images and distances (N,).

    Images without progress leave the batch, so that the rest runs faster.
    """
    nearest = images.clone()
    lengths = torch.full_like(c, math.inf)
    going = torch.arange(len(images), device=images.device)
    w = ((2 * images - 1) * INSIDE).atanh()
    first, second = torch.zeros_like(w), torch.zeros_like(w)
    last_loss = torch.full_like(c, math.inf)
    every = max(1, iterations // _CHECKS)
    for iteration in range(iterations):
        beat()
        w.requires_grad_(True)
        adv_images = (w.tanh() + 1) / 2
        squared = (adv_images - images[going]).square().sum(dim=(1, 2, 3))
        exceeds = margin(full_precision(model(adv_images)), targets[going], None)
        loss = squared + c[going] * (confidence - exceeds).clamp_min(0)
        (gradient,) = torch.autograd.grad(loss.sum(), w)
        w = w.detach()
        with torch.no_grad():
            length = squared.sqrt()
            nearer = (exceeds > confidence) & (length < lengths[going])
            nearest[going] = torch.where(nearer[:, None, None, None], adv_images, nearest[going])
            lengths[going] = torch.where(nearer, length, lengths[going])
            if abort_early and iteration % every == 0:
                keeps = loss <= last_loss[going] * _NO_PROGRESS
                last_loss[going] = loss
                if not keeps.all():
                    going, w, gradient = going[keeps], w[keeps], gradient[keeps]
                    first, second = first[keeps], second[keeps]
                    if len(going) == 0:
                        break
            first.lerp_(gradient, 1 - _BETA1)
            second.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
            size = lr / (1 - _BETA1 ** (iteration + 1))
            root = (second / (1 - _BETA2 ** (iteration + 1))).sqrt_().add_(_ADAM_EPS)
            w.addcdiv_(first, root, value=-size)
    return nearest, lengths
