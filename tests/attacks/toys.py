"""Small models and the comparison of a model's state before and after an attack."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ltat_tune.config.sections import ModelConfig
from ltat_tune.models import Classifier, build_model


def tiny_cnn(num_classes: int = 3, *, seed: int = 0) -> Classifier:
    """A SmallCNN of width 4 for 8x8 images of one channel, with running statistics of its own."""
    model = build_model(ModelConfig(width=4), in_channels=1, num_classes=num_classes, seed=seed)
    model.train()
    with torch.no_grad():
        model(torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(seed)))
    return model


def undecided(num_classes: int, images: Tensor) -> Classifier:
    """A `tiny_cnn` whose mean logits over these images are equal, so that little breaks it."""
    model = tiny_cnn(num_classes).eval()
    with torch.no_grad():
        model.head.bias.sub_(model(images).mean(dim=0))
    return model


class LinearModel(nn.Module):
    """A linear model of 2x2 images of one channel, float64, without a bias."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        weight = torch.arange(4.0 * num_classes, dtype=torch.float64).view(num_classes, 4).sin()
        self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T


class CentredLinear(LinearModel):
    """With a bias that makes the mean logits over these images equal: all lie near a face."""

    def __init__(self, images: Tensor, num_classes: int = 3) -> None:
        super().__init__(num_classes)
        self.bias = nn.Parameter(torch.zeros(num_classes, dtype=torch.float64))
        with torch.no_grad():
            self.bias.sub_(super().forward(images).mean(dim=0))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + self.bias


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything an attack must leave as found."""
    return {
        "modes": [module.training for module in model.modules()],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "grads": [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        "state": {name: value.tolist() for name, value in model.state_dict().items()},
    }


def unusual_state(model: Classifier) -> None:
    """Mixed modes, a frozen parameter and an existing gradient, as fine-tuning has them."""
    model.train()
    model.backbone.eval()
    model.head.bias.requires_grad_(False)
    model.head.weight.grad = torch.ones_like(model.head.weight)
