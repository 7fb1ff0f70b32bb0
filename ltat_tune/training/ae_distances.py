"""Distances between the adversarial images of consecutive epochs (REAT Figure 3).

They are measured on a few training images of every class, with the same noise in every epoch, so
that only the model moves the images. The measurement does not change the training: it has its own
generator, runs in eval mode and uses training images only.
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

    The attack is PGD on cross-entropy in eval mode, with the radius, step size and number of steps
    of the training attack. Each epoch costs as much as a training epoch on `per_class * K` images:
    about a hundredth of an epoch of CIFAR-10-LT with 10 images per class.

    Source: REAT section 3.2 and Figure 3.

    Args:
        data: training images, on the device that trains.
        per_class: number of images of every class; a class with fewer images gives all of them.
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
        self._previous: Tensor | None = None
        self.by_epoch: list[list[float | None]] = []  # (epochs, K); None in the first

    def measure(self, model: nn.Module) -> None:
        """Attack the images with `model` and add their mean distances by class to `by_epoch`."""
        attack = self._attack
        adv_images = pgd(
            model, self._images, self._targets, eps=attack.eps, step_size=attack.step_size,
            steps=attack.steps, norm=attack.norm, generator=new_generator(0, _STREAM),
        )  # fmt: skip
        if self._previous is None:
            self.by_epoch.append([None] * self._classes)
        else:
            moved = torch.linalg.vector_norm(adv_images - self._previous, dim=(1, 2, 3))
            sums = torch.zeros(self._classes, device=moved.device)
            sums.index_add_(0, self._targets, moved)
            counts = torch.bincount(self._targets, minlength=self._classes)
            self.by_epoch.append((sums / counts).tolist())
        self._previous = adv_images

    def state_dict(self) -> dict[str, Any]:
        """Return the state to resume from: `before` (adversarial images) and `by_epoch`."""
        return {"before": self._previous, "by_epoch": self.by_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
        previous = state["before"]
        self._previous = None if previous is None else previous.to(self._images.device)
        self.by_epoch = state["by_epoch"]
