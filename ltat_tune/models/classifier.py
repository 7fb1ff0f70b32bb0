"""`Classifier`: normalisation, backbone, head and the optional projection head."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltat_tune.errors import ConfigError
from ltat_tune.losses.precision import full_precision
from ltat_tune.models.heads import CosineHead

Head = Literal["linear", "cosine"]

PROJECTION_DIM = 128  # SRAT's release; the paper does not specify it


def _build_head(
    kind: Head, feature_dim: int, num_classes: int, *, scale: float, gamma: float
) -> nn.Linear:
    """Build a head. Both kinds draw the same random numbers and start with the same weight."""
    with torch.random.fork_rng(devices=[]):
        cosine = CosineHead(feature_dim, num_classes, scale=scale, gamma=gamma)
    linear = nn.Linear(feature_dim, num_classes)
    return cosine if kind == "cosine" else linear


def _channel_buffer(values: Tensor | None, in_channels: int, default: float) -> Tensor:
    """Return constants per channel as a buffer of shape (1, C, 1, 1)."""
    if values is None:
        return torch.full((1, in_channels, 1, 1), default)
    if values.numel() != in_channels:
        raise ConfigError(
            f"mean and std must hold one value per channel ({in_channels}), got {values.numel()}"
        )
    return values.detach().to("cpu", torch.float32, copy=True).reshape(1, in_channels, 1, 1)


class Classifier(nn.Module):
    """Maps images in [0, 1] to logits. It normalises inside, so `eps` stays in pixel units.

    Source of the projection head: Wang2022Imbalanced, anonymous2share/SRAT@daa8352.

    Args:
        backbone: maps normalised images (N, C, H, W) to features (N, D).
        feature_dim: D.
        num_classes: K.
        in_channels: C.
        head: `linear` has a bias; `cosine` is a `CosineHead`. Both have a `weight` (K, D).
        head_scale: factor on the cosines, no unit.
        head_gamma: added to the norm of each class weight of the cosine head, no unit, >= 0.
        projection: adds Linear(D, D)-ReLU-Linear(D, 128), which `project` uses.
        mean: subtracted from each channel, shape (C,), pixel units; None is 0.
        std: divides each channel, shape (C,), pixel units, all > 0; None is 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        feature_dim: int,
        num_classes: int,
        *,
        in_channels: int,
        head: Head = "linear",
        head_scale: float = 10.0,
        head_gamma: float = 1 / 32,
        projection: bool = False,
        mean: Tensor | None = None,
        std: Tensor | None = None,
    ) -> None:
        super().__init__()
        if std is not None and not bool((std > 0).all()):
            raise ConfigError(
                f"`std > 0` must hold for every channel, got {std.flatten().tolist()}"
            )
        self.feature_dim = feature_dim
        # Type of the backbone's operations; None keeps the type of the images. See `computing`.
        self.compute_dtype: torch.dtype | None = None
        self.any_layout = True  # whether the backbone computes in channels_last, too
        self.num_classes = num_classes
        self.register_buffer("mean", _channel_buffer(mean, in_channels, 0.0))
        self.register_buffer("std", _channel_buffer(std, in_channels, 1.0))
        self._note_statistics()
        # A loaded state may have other statistics, so the shortcut is decided again.
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
            lambda model, keys: model._note_statistics()
        )
        self.backbone = backbone
        self.head = _build_head(head, feature_dim, num_classes, scale=head_scale, gamma=head_gamma)
        # Built last, so that models with and without a projection draw the same other weights.
        self.projection: nn.Module | None = None
        if projection:
            self.projection = nn.Sequential(
                nn.Linear(feature_dim, feature_dim),
                nn.ReLU(),
                nn.Linear(feature_dim, PROJECTION_DIM),
            )

    def _note_statistics(self) -> None:
        """Note whether to normalise. Without statistics, no time goes into subtracting 0."""
        self._normalises = bool((self.mean != 0).any() or (self.std != 1).any())

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load tensors by name. A file's plain mapping counts as of this version of the layers.

        Without a version, torchvision's MNASNet refuses its own weights.
        """
        if not hasattr(state_dict, "_metadata"):
            state_dict = OrderedDict(state_dict)
            vars(state_dict)["_metadata"] = vars(self.state_dict())["_metadata"]
        return super().load_state_dict(state_dict, strict, assign)

    def forward(self, images: Tensor) -> Tensor:  # (N, C, H, W) -> (N, K)
        return self.forward_with_features(images)[0]

    def forward_with_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N, K) and penultimate features (N, D) of images (N, C, H, W)."""
        if self._normalises:
            images = (images - self.mean) / self.std
        features = self._features(images)
        logits: Tensor = self.head(features)
        return logits, features

    def _features(self, images: Tensor) -> Tensor:
        features: Tensor
        if self.compute_dtype is None:
            features = self.backbone(images)
            return features
        # A forward uses each weight once, so a cache of cast weights would only cost memory.
        with torch.autocast(images.device.type, self.compute_dtype, cache_enabled=False):
            features = self.backbone(images)
        return full_precision(features)

    def project(self, features: Tensor) -> Tensor:
        """Return L2-normalised features: (N, D) -> (N, 128) with a projection, else (N, D)."""
        projected = features if self.projection is None else self.projection(features)
        return F.normalize(projected, dim=1)
