"""A network of one hidden layer with BatchNorm, in torch and in NumPy, both float64."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.models import Classifier
from tests.losses.numeric import Array

PIXELS, HIDDEN = 6, 3  # images are 1 x 2 x 3
_MOMENTUM, _EPS = 0.1, 1e-5  # of torch's BatchNorm


class _Backbone(nn.Module):
    """tanh(BatchNorm(A x + b)): smooth, so that central differences are exact enough."""

    def __init__(self, batch_norm: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(PIXELS, HIDDEN)
        self.norm = nn.BatchNorm1d(HIDDEN) if batch_norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return torch.tanh(self.norm(self.linear(images.flatten(1))))


def torch_network(
    config: TrialConfig, classes: int, *, batch_norm: bool, projection: bool
) -> Classifier:
    """A `Classifier` with drawn parameters and running statistics, float64, in train mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Classifier(
            _Backbone(batch_norm),
            HIDDEN,
            classes,
            in_channels=1,
            head=config.model.head,
            head_scale=config.model.head_scale,
            head_gamma=config.model.head_gamma,
            projection=projection,
        ).double()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64) * 0.7)
                if name == "backbone.norm.weight":
                    parameter.abs_().add_(0.8)
            if batch_norm:
                model.get_buffer("backbone.norm.running_mean").normal_(std=0.3)
                model.get_buffer("backbone.norm.running_var").uniform_(0.5, 1.5)
    return model.train()


@dataclass
class Network:
    """The same in NumPy.

    Attributes:
        values: parameters by torch's names.
        mean: running mean of BatchNorm, (HIDDEN,); None where there is no BatchNorm.
        var: running variance, (HIDDEN,).
        head_scale: factor on the cosines; None is the linear head.
        head_gamma: added to the norms of the class weights.
        momenta: SGD's buffers by name, from the first step on.
    """

    values: dict[str, Array]
    mean: Array | None
    var: Array | None
    head_scale: float | None
    head_gamma: float
    momenta: dict[str, Array] = field(default_factory=dict)

    @classmethod
    def like(cls, model: Classifier, config: TrialConfig) -> Network:
        state = {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}
        names = [name for name, _ in model.named_parameters()]
        return cls(
            {name: state[name] for name in names},
            state.get("backbone.norm.running_mean"),
            state.get("backbone.norm.running_var"),
            config.model.head_scale if config.model.head == "cosine" else None,
            config.model.head_gamma,
        )

    def _hidden(self, images: Array, values: dict[str, Array]) -> Array:
        flat = images.reshape(len(images), -1)
        hidden: Array = flat @ values["backbone.linear.weight"].T + values["backbone.linear.bias"]
        return hidden

    def forward(
        self, images: Array, values: dict[str, Array] | None = None, *, training: bool = True
    ) -> tuple[Array, Array]:
        """Logits (N, K) and features (N, HIDDEN); moves no statistics."""
        values = self.values if values is None else values
        hidden = self._hidden(images, values)
        if self.mean is not None and self.var is not None:
            mean, var = (hidden.mean(0), hidden.var(0)) if training else (self.mean, self.var)
            hidden = (hidden - mean) / np.sqrt(var + _EPS)
            hidden = values["backbone.norm.weight"] * hidden + values["backbone.norm.bias"]
        features = np.tanh(hidden)
        weight = values["head.weight"]
        if self.head_scale is None:
            return features @ weight.T + values["head.bias"], features
        directions = features / np.sqrt((features**2).sum(1, keepdims=True))
        rows = weight / (np.sqrt((weight**2).sum(1, keepdims=True)) + self.head_gamma)
        return self.head_scale * directions @ rows.T, features

    def see(self, images: Array) -> None:
        """A train-mode forward's effect on the running statistics."""
        if self.mean is None or self.var is None:
            return
        hidden = self._hidden(images, self.values)
        self.mean = (1 - _MOMENTUM) * self.mean + _MOMENTUM * hidden.mean(0)
        self.var = (1 - _MOMENTUM) * self.var + _MOMENTUM * hidden.var(0, ddof=1)


def project(features: Array, values: dict[str, Array]) -> Array:
    """L2-normalised features, through the projection head where there is one."""
    if "projection.0.weight" in values:
        hidden = features @ values["projection.0.weight"].T + values["projection.0.bias"]
        features = np.maximum(hidden, 0) @ values["projection.2.weight"].T
        features = features + values["projection.2.bias"]
    projected: Array = features / np.sqrt((features**2).sum(1, keepdims=True))
    return projected
