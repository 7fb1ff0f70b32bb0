"""A model that counts its forwards, and one batch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ltat_tune.config.sections import ModelConfig
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.methods import ClassState
from ltat_tune.models import Classifier, build_model

COUNTS = torch.tensor([40, 20, 5])
# two epochs in which the first class was learned best
KNOWN = ClassState(
    [[20, 6, 1], [30, 10, 1]],
    torch.tensor([[30.0, 6, 4], [6, 10, 4], [2, 2, 1]], dtype=torch.float64),
    [[60.0, 50, 15], [40, 30, 14]],
)
ATTACK = {"attack.eps": 0.1, "attack.step_size": 0.03, "attack.steps": 3}


def config(**values: object) -> TrialConfig:
    """A short attack, and the given values by path with `__` for the dot."""
    return TrialConfig.from_flat(
        {**ATTACK, **{path.replace("__", "."): value for path, value in values.items()}}
    )


def model(*, projection: bool = False, head: Literal["linear", "cosine"] = "linear") -> Classifier:
    """A SmallCNN of width 4, three classes, in train mode."""
    built = build_model(
        ModelConfig(width=4, head=head), in_channels=1, num_classes=3, projection=projection
    )
    return built.train()


def brighter(
    model: nn.Module, images: Tensor, targets: Tensor, *, generator: torch.Generator
) -> Tensor:
    """An attack that moves no statistics, and whose images are easily told from the clean ones."""
    return (images + 0.3).clamp(0, 1)


def batch() -> tuple[Tensor, Tensor]:
    """Six images of 8x8 with two of each class."""
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return images, torch.tensor([0, 0, 1, 1, 2, 2])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def gradients(trained: Classifier) -> dict[str, Tensor]:
    """The parameter gradients that exist, by name."""
    return {n: p.grad.clone() for n, p in trained.named_parameters() if p.grad is not None}
