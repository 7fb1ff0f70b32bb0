"""How far the adversarial image of a training image moves from epoch to epoch (REAT Figure 3).

Measured on a few images of every class, with the same noise in every epoch, so that only the model
moves them. The training does not notice: own generator, eval mode, no image that it would not see.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ltat_tune.attacks import pgd
from ltat_tune.config.sections import AttackConfig
from ltat_tune.data.batches import to_unit
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.seeding import new_generator

_STREAM = "ae distances"


class AEDistances:
    """Mean L2 distance by class between the adversarial images of consecutive epochs.

    PGD on cross-entropy in eval mode with the radius, step and number of steps of the training
    attack. Cost: as a training epoch on `per_class * K` images, about a hundredth of CIFAR-10-LT's
    at 10 images a class.

    Source: REAT section 3.2 and Figure 3.

    Args:
        data: training images on the device that trains.
        per_class: images of every class, fewer where a class has fewer.
        classes: K.
        attack: the training attack.
    """

    def __init__(
        self, data: LabelledImages, per_class: int, classes: int, attack: AttackConfig
    ) -> None:
        targets = data.targets.cpu().numpy()
        chosen = np.concatenate([np.flatnonzero(targets == c)[:per_class] for c in range(classes)])
        indices = torch.from_numpy(chosen).to(data.targets.device)
        self._images, self._targets = to_unit(data.images[indices]), data.targets[indices]
        self._classes, self._attack = classes, attack
        self._before: Tensor | None = None
        self.by_epoch: list[list[float | None]] = []  # (epochs, K); None in the first epoch

    def measure(self, model: nn.Module) -> None:
        """Attacks the images once more and notes how far they have moved."""
        attack = self._attack
        adv_images = pgd(
            model, self._images, self._targets, eps=attack.eps, step_size=attack.step_size,
            steps=attack.steps, norm=attack.norm, generator=new_generator(0, _STREAM),
        )  # fmt: skip
        if self._before is None:
            self.by_epoch.append([None] * self._classes)
        else:
            moved = torch.linalg.vector_norm(adv_images - self._before, dim=(1, 2, 3))
            sums = torch.zeros(self._classes, device=moved.device)
            sums.index_add_(0, self._targets, moved)
            counts = torch.bincount(self._targets, minlength=self._classes)
            self.by_epoch.append((sums / counts).tolist())
        self._before = adv_images

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs to go on."""
        return {"before": self._before, "by_epoch": self.by_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        before = state["before"]
        self._before = None if before is None else before.to(self._images.device)
        self.by_epoch = state["by_epoch"]
