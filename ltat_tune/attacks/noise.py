"""Random starts by counter: the noise of an image depends on its place, not on a sequence.

The start of an image therefore does not depend on other images, on the batch or on the order of
the work, and every device computes the same start.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ltat_tune.errors import ConfigError
from ltat_tune.seeding import stream_seed

_GAMMA = 0x9E3779B97F4A7C15 - 2**64  # the constants of SplitMix64, as signed integers
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64
_BITS = 52  # with half a unit added, exact in float64 and never 0 or 1


def start_noise(
    images: Tensor, places: Tensor, eps: float, *, norm: str, seed: int, stream: str
) -> Tensor:
    """Draw noise for random starts, before any clipping: (N, C, H, W).

    The distributions are those of `attacks.balls.first_images`: U(-eps, eps) in L-inf, and in L2 a
    random direction at a radius of U(0, eps). The noise of place p is eps times the same numbers
    for every radius.

    Args:
        images: images that give the shape (N, C, H, W), the type and the device.
        places: places of the images, shape (N,), int64, >= 0. The noise depends on them.
        eps: radius, pixel units in [0, 1].
        norm: `linf` or `l2`.
        seed: seed of all noise of one split.
        stream: name of the purpose. Streams of one seed are independent.

    Raises:
        ConfigError: the norm is unknown.
    """
    if norm not in ("linf", "l2"):
        raise ConfigError(f"unknown norm {norm!r}; choose from: linf, l2")
    pixels = images[0].numel() if len(images) else 0
    # The extra number is the radius.
    numbers = uniforms(places.to(images.device), pixels + 1, key=stream_seed(seed, stream))
    if norm == "linf":
        noise = (2 * numbers[:, :pixels] - 1) * eps
    else:
        direction = torch.special.ndtri(numbers[:, :pixels])  # normal
        lengths = torch.linalg.vector_norm(direction, dim=1, keepdim=True)
        noise = direction * (eps * numbers[:, pixels:] / lengths)
    return noise.view_as(images).to(images.dtype)


def uniforms(places: Tensor, count: int, *, key: int) -> Tensor:
    """Draw `count` numbers from U(0, 1), without 0 and 1, for each place: (N, count) float64.

    Source: Steele2014Fast (SplitMix64): number i of place p is output p * count + i of the
        generator that starts at `key`.
    """
    each = torch.arange(1, count + 1, device=places.device)
    state = (places[:, None] * count + each).mul_(_GAMMA).add_(key)  # int64 wraps around
    state.bitwise_xor_(_shifted(state, 30)).mul_(_MIX_1)
    state.bitwise_xor_(_shifted(state, 27)).mul_(_MIX_2)
    state.bitwise_xor_(_shifted(state, 31))
    return _shifted(state, 64 - _BITS).double().add_(0.5).mul_(2.0**-_BITS)


def _shifted(values: Tensor, bits: int) -> Tensor:
    """Shift to the right and fill with zeros. torch's own shift repeats the sign."""
    return (values >> bits).bitwise_and_(2 ** (64 - bits) - 1)
