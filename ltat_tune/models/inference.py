"""The model as it is measured: logits scaled, and a multiple of the log-prior taken away."""

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
        """Adjusted logits (N, K) and the features (N, D) as the model gives them."""
        logits, features = cast(Classifier, self.model).forward_with_features(images)
        return self._adjusted(logits), features

    def _adjusted(self, logits: Tensor) -> Tensor:
        return self.scale * logits - self.shift


def measured(model: nn.Module, *, scale: float = 1.0, shift: Tensor | None = None) -> nn.Module:
    """The model to attack and to count on: its logits become scale * logits - shift.

    The parameters and the mode are the model's own (it is wrapped, not copied); `train()` and
    `eval()` of the result reach it. With scale 1 and no shift the model itself is returned.

    Source: Wu2021Adversarial, wutong16/Adversarial_Long-Tail@ab2f3a7 `PostProc_Classifier`:
        scale 10 and shift tau_p * ln(prior); Menon2021LongTail for the shift.
    Deviations: the release's scale is the head's own; here it multiplies what the head gives.

    Args:
        model: images (N, C, H, W) to logits (N, K).
        scale: factor on the logits, no unit, > 0.
        shift: is subtracted after the scaling, shape (K,), the same for all images; None is 0.
    """
    if scale == 1 and shift is None:
        return model
    kept = torch.zeros(()) if shift is None else shift.detach().clone()
    parameter = next(model.parameters(), kept)
    return _Measured(model, scale, kept.to(parameter.device))
