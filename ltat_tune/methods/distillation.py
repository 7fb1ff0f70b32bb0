"""Self-distillation from a frozen teacher, around any method: a reconstruction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltat_tune.losses import kl_consistency
from ltat_tune.methods.base import Method, StepOutput
from ltat_tune.models import Classifier


class SelfDistillation:
    """A method's loss plus weight * mean KL(softmax z_t(x) || softmax z(x')).

    z_t are the logits of the frozen teacher on the clean images. z are the logits that the method
    trains on: those of the adversarial images, or of the clean ones in a clean stage. The teacher
    has the student's architecture. Who trains it makes its classes weigh alike.

    Source: a reconstruction of Cho2025Distillation, Self-distillation for long-tailed adversarial
        training, arXiv:2503.06461. Its code is not available, and neither the form of its
        distillation loss nor its weights are known to us. The KL, its direction and its weight
        are our reading. The paper trains its teacher on a balanced part of the images; ours is
        trained on all of them, with weights for the classes. Indirect gradient matching is left
        out.

    Args:
        method: computes the loss.
        teacher: images to logits (N, K), in eval mode and without gradients.
        weight: factor of the KL, no unit, > 0.
    """

    def __init__(self, method: Method, teacher: nn.Module, *, weight: float) -> None:
        self.method = method
        self.teacher = teacher
        self.weight = weight

    def training_step(
        self,
        model: Classifier,
        images: Tensor,
        targets: Tensor,
        *,
        class_weights: Tensor | None,
        generator: torch.Generator,
    ) -> StepOutput:
        step = self.method.training_step(
            model, images, targets, class_weights=class_weights, generator=generator
        )
        with torch.no_grad():
            wanted = self.teacher(images)
        return step.plus("distillation", kl_consistency(wanted, step.logits), self.weight)
