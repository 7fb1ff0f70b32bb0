"""The cosine head, which maps features to logits. The linear head is `torch.nn.Linear`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ltat_tune.losses.precision import full_precision

# Below this norm a vector has no direction: its cosines are 0 instead of NaN.
_LEAST_NORM = 1e-12


class CosineHead(nn.Linear):
    """scale * <f / ||f||, w_j / (||w_j|| + gamma)>: (N, D) -> (N, K), without a bias.

    Like a linear layer it has a `weight` (K, D), which starts uniform in +-1/sqrt(D).

    Source: Wu2021Adversarial, arXiv:2104.02703; wutong16/Adversarial_Long-Tail@ab2f3a7
        `CosPlus_Classifier`.
    Deviations: a feature of length 0 has cosines of 0, where the release divides by 0. The
        release's moving average of features, which RoBal does not use, is left out.

    Args:
        feature_dim: D.
        num_classes: K.
        scale: factor on the cosines, no unit.
        gamma: added to the norm of each class weight (not of the features), no unit, >= 0. It
            reduces the cosines of short weight vectors.
    """

    def __init__(
        self, feature_dim: int, num_classes: int, *, scale: float = 10.0, gamma: float = 1 / 32
    ) -> None:
        super().__init__(feature_dim, num_classes, bias=False)
        self.scale = scale
        self.gamma = gamma

    def forward(self, features: Tensor) -> Tensor:
        # In half precision, the square of a small number is 0.
        features, weight = full_precision(features), full_precision(self.weight)
        norms = weight.norm(dim=1, keepdim=True) + self.gamma
        directions = F.normalize(features, dim=1, eps=_LEAST_NORM)
        return self.scale * F.linear(directions, weight / norms.clamp_min(_LEAST_NORM))
