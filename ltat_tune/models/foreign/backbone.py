"""A network that other people wrote, without its head: normalised images to features."""

from __future__ import annotations

import difflib

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ltat_tune.config.sections import ModelConfig
from ltat_tune.errors import ConfigError
from ltat_tune.models.foreign.libraries import first_line, network_of

_RGB = 3
DEFAULT_SIDE = 32  # pixels of a side, where the caller has no images


class ForeignBackbone(nn.Module):
    """Maps images (N, C, H, W) to features (N, D), the input of the head that was taken out.

    Args:
        network: the network, in whose head's place is an `nn.Identity`.
        out_features: D.
        replaced: name of the part that was taken out.
        repeats: repeats the one channel of the images three times.
    """

    def __init__(
        self, network: nn.Module, out_features: int, *, replaced: str, repeats: bool
    ) -> None:
        super().__init__()
        self.network = network
        self.out_features = out_features
        self.replaced = replaced
        self.repeats = repeats

    def forward(self, images: Tensor) -> Tensor:  # (N, C, H, W) -> (N, D)
        if self.repeats:
            images = images.expand(-1, _RGB, -1, -1)
        features: Tensor = self.network(images)
        return features.flatten(1)


class _Averages(nn.Module):
    """Averages maps (N, D, H, W) to (N, D, 1, 1), and tokens (N, T, D) to (N, D)."""

    def forward(self, maps: Tensor) -> Tensor:
        if maps.dim() == 4:
            return maps.mean(dim=(2, 3), keepdim=True)
        return maps.mean(dim=1) if maps.dim() == 3 else maps


def is_foreign(name: str) -> bool:
    """Return whether `model.name` is a library's network or a function of a plugin."""
    return "/" in name or ":" in name


def build_foreign(
    config: ModelConfig, *, in_channels: int, num_classes: int, side: int
) -> ForeignBackbone:
    """Build a network without its head, and run it once on two images of this size.

    The head is the linear layer (or the 1x1 convolution of a 1x1 map) whose output is the
    network's output. `model.features` names another part to take out.

    Args:
        config: the network.
        in_channels: C of the images.
        num_classes: K; the head is looked for among the layers with K outputs.
        side: pixels of a side of the images.

    Raises:
        ConfigError: there is no such network or part, the network cannot take these images, or
            its head cannot be found.
    """
    name = config.name
    network, takes = network_of(name, channels=in_channels, classes=num_classes, side=side)
    repeats = takes == _RGB and in_channels == 1
    if takes not in (0, in_channels) and not repeats:
        raise ConfigError(
            f"model.name {name} takes images of {takes} channels, got images of {in_channels}; "
            "choose a network of timm, or images of one or three channels"
        )
    images = torch.linspace(0, 1, 2 * in_channels * side * side)
    images = images.reshape(2, in_channels, side, side)
    images = images.expand(-1, _RGB, -1, -1) if repeats else images
    network.eval()
    part = config.features
    if part is None:
        part = _head(name, network, images, num_classes)
        network.set_submodule(part, nn.Identity())
    elif part in dict(network.named_modules()) and part:
        network.set_submodule(part, _Averages())
    else:
        raise ConfigError(_no_part(name, part, network))
    features = _forward(name, network, images)
    if not isinstance(features, Tensor) or len(features) != 2:
        raise ConfigError(
            f"model.name {name} must give features of shape (N, D) without {part}, got "
            f"{_shape(features)}; name another part with model.features"
        )
    network.train()
    return ForeignBackbone(network, features.flatten(1).shape[1], replaced=part, repeats=repeats)


def _head(name: str, network: nn.Module, images: Tensor, classes: int) -> str:
    """Return the name of the layer whose output is the network's output."""
    outputs: dict[str, Tensor] = {}
    handles: list[RemovableHandle] = []
    for path, layer in network.named_modules():
        if path and isinstance(layer, nn.Linear | nn.Conv2d):

            def note(_: nn.Module, inputs: object, output: Tensor, path: str = path) -> None:
                outputs[path] = output

            handles.append(layer.register_forward_hook(note))
    try:
        logits = _forward(name, network, images)
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(logits, Tensor) or logits.shape != (len(images), classes):
        raise ConfigError(
            f"model.name {name} must give logits of shape (N, {classes}), got {_shape(logits)}; "
            "wrap it in a function of your own that returns the logits alone"
        )
    for path, output in reversed(outputs.items()):
        if output.numel() == logits.numel() and output.data_ptr() == logits.data_ptr():
            return path
    last = next(reversed(dict(network.named_children())))
    raise ConfigError(
        f"model.name {name} does not end in one linear layer, so its features are unknown; name "
        f"the part that the head replaces, such as model.features: {last}"
    )


def _forward(name: str, network: nn.Module, images: Tensor) -> object:
    try:
        with torch.no_grad():
            output: object = network(images)
    except Exception as error:  # whatever a network raises about a size
        raise ConfigError(
            f"model.name {name} cannot take images of {images.shape[1]} channels and "
            f"{images.shape[2]}x{images.shape[3]} pixels ({type(error).__name__}: "
            f"{first_line(error)}); choose another network or larger images"
        ) from error
    return output


def _no_part(name: str, part: str, network: nn.Module) -> str:
    names = [path for path, _ in network.named_modules() if path]
    close = difflib.get_close_matches(part, names, n=3)
    children = close or [path for path, _ in network.named_children()]
    return f"model.features must name a part of {name}, got {part!r}; it has {', '.join(children)}"


def _shape(output: object) -> str:
    return str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__
