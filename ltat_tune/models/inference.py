"""A model with the adjustments of the measurement: scaled logits minus a multiple of the prior."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ltat_tune.models.classifier import Classifier


class _Measured(nn.Module):
    """scale * model(images) - shift, in whatever mode the model is in."""

    shift: Tensor

    def __init__(self, model: nn.Module, scale: float, shift: Tensor) -> None:
        super().__init__()
        self.model = model
        self.scale = scale
        self.register_buffer("shift", shift)
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:  # (N, C, H, W) -> (N, K)
        return self._adjusted(self.model(images))

    def forward_with_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return adjusted logits (N, K) and the model's features (N, D)."""
        logits, features = cast(Classifier, self.model).forward_with_features(images)
        return self._adjusted(logits), features

    def _adjusted(self, logits: Tensor) -> Tensor:
        return self.scale * logits - self.shift


def measured(model: nn.Module, *, scale: float = 1.0, shift: Tensor | None = None) -> nn.Module:
    """Return the model to attack and to measure, whose logits are scale * logits - shift.

    The model is wrapped, not copied: the result shares its parameters and its mode, and `train()`
    and `eval()` of the result reach it. With scale 1 and no shift the model itself is returned.

    Source: Wu2021Adversarial, wutong16/Adversarial_Long-Tail@ab2f3a7 `PostProc_Classifier`:
        scale 10 and shift tau_p * ln(prior); Menon2021LongTail for the shift.
    Deviations: in the release the scale belongs to the head; here it multiplies the head's output.

    Args:
        model: images (N, C, H, W) to logits (N, K).
        scale: factor on the logits, no unit, > 0.
        shift: subtracted after the scaling, shape (K,), the same for all images; None is 0.
    """
    if scale == 1 and shift is None:
        return model
    constant = torch.zeros(()) if shift is None else shift.detach().clone()
    parameter = next(model.parameters(), constant)
    return _Measured(model, scale, constant.to(parameter.device))
