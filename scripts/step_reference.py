"""REAT's training step written plainly from the paper and its release: what ours is timed against.

It does what the release (GuanlinLee/REAT@a7909fd) does and no more: PGD in eval mode by the
gradient of the images alone, no clean forward, BatchNorm as a layer of its own, and TAIL as a loop
over anchors. The formulas are those of the package's defaults (balanced softmax, TAIL `bounded`),
so that both losses can be compared first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.methods import build_method
from ltat_tune.models import Classifier, prepare_model
from ltat_tune.training.optim import build_optimizer


@dataclass
class PlainStep:
    """One training step after the other on a batch; `loss` is the last one's.

    Args:
        model: a network without folded layers, changed by every step.
        config: REAT's, in L-inf from a uniform start on cross-entropy.
        counts: training images per class, shape (K,).
    """

    model: Classifier
    config: TrialConfig
    counts: Tensor

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=self.config.optim.lr,
            momentum=self.config.optim.momentum, weight_decay=self.config.optim.weight_decay,
        )  # fmt: skip
        self.loss = torch.tensor(math.nan)

    def __call__(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> None:
        """(N, C, H, W) and (N,): one step."""
        adv_images = self.attacked(images, targets, generator)
        self.model.train()
        logits, features = self.model.forward_with_features(adv_images)
        prior = (self.counts / self.counts.sum()).log()
        loss = F.cross_entropy(logits + prior, targets)
        loss = loss + self.config.method.tail_weight * self.tail(features, targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.loss = loss.detach()

    def attacked(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        """PGD in eval mode, by the gradient of the images alone."""
        attack = self.config.attack
        self.model.eval()
        noise = torch.empty(images.shape).uniform_(-attack.eps, attack.eps, generator=generator)
        adv_images = images + noise.to(images.device)
        for _ in range(attack.steps):
            adv_images = adv_images.detach().requires_grad_(True)
            loss = F.cross_entropy(self.model(adv_images), targets)
            (gradient,) = torch.autograd.grad(loss, adv_images)
            adv_images = adv_images.detach() + attack.step_size * gradient.sign()
            adv_images = torch.min(torch.max(adv_images, images - attack.eps), images + attack.eps)
            adv_images = adv_images.clamp(0, 1)
        return adv_images.detach()

    def tail(self, features: Tensor, targets: Tensor) -> Tensor:
        """Eq. 3 anchor by anchor, the divergence of different classes capped."""
        order = torch.argsort(self.counts, descending=True, stable=True).tolist()
        tail_set = set(order[math.ceil(2 * len(order) / 3) - 1 :])
        weight = (self.counts.sum() / self.counts.float()).sqrt()
        log_p = F.log_softmax(features, dim=1)
        anchors = [i for i in range(len(targets)) if targets[i].item() in tail_set]
        total = features.sum() * 0
        for i in anchors:
            # of all images from the anchor: (N, D) -> (N,)
            kl = F.kl_div(log_p[i].expand_as(log_p), log_p, reduction="none", log_target=True)
            kl = kl.sum(dim=1)
            pair = weight[targets[i]] + weight[targets]
            alike = targets == targets[i]
            capped = kl.clamp(max=self.config.method.tail_kl_max)
            total = total + (pair * torch.where(alike, kl, -capped)).sum()
        return total / (len(targets) * max(1, len(anchors)))


@dataclass
class OurStep:
    """The package's step on a batch, in one precision, on a model of its own."""

    model: Classifier
    config: TrialConfig
    counts: Tensor
    precision: str = "fp32"

    def __post_init__(self) -> None:
        prepare_model(self.model, self.precision, self.counts.device)
        self.optimizer = build_optimizer(self.config.optim, self.model)
        self.method = build_method(self.config, self.counts, predicted=self.counts)
        self.loss = torch.tensor(math.nan)

    def __call__(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> None:
        """(N, C, H, W) and (N,): one step."""
        step = self.method.training_step(
            self.model, images, targets, class_weights=None, generator=generator
        )
        self.optimizer.zero_grad(set_to_none=True)
        step.loss.backward()
        self.optimizer.step()
        if step.after_update is not None:
            step.after_update()
        self.loss = step.loss.detach()


def result_of(step: OurStep | PlainStep) -> dict[str, Tensor]:
    """The last loss, and all parameters' gradients as one vector, in the order of the layers."""
    found = [p.grad for p in step.model.parameters() if p.grad is not None]
    # of an unfolded copy too, whose layers have other names and the same order
    return {"loss": step.loss, "gradient": torch.cat([gradient.flatten() for gradient in found])}


def agreement(result: dict[str, Tensor], reference: dict[str, Tensor]) -> dict[str, Any]:
    """How far the losses and gradients of two steps agree; both are of `result_of`."""
    gradients = [one["gradient"].double() for one in (result, reference)]
    loss, expected = result["loss"].item(), reference["loss"].item()
    return {
        "loss": loss, "reference_loss": expected, "loss_difference": abs(loss - expected),
        "gradient_cosine": F.cosine_similarity(gradients[0], gradients[1], dim=0).item(),
    }  # fmt: skip


def stepping(
    step: OurStep | PlainStep, images: Tensor, targets: Tensor, *, times: int = 1
) -> Callable[[], None]:
    """A task for the clock: so many steps on one batch, with noise of its own."""
    generator = torch.Generator().manual_seed(7)

    def task() -> None:
        for _ in range(times):
            step(images, targets, generator)

    return task
