"""Random starts by counter: the noise of an image is a function of its place, not of a sequence.

Other images, the batch they come in and the order of the work therefore change no image's start,
and every device computes the same one.
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
    """Noise for random starts, before any clipping: (N, C, H, W).

    U(-eps, eps) in L-inf; in L2 a random direction at a radius of U(0, eps): the distributions of
    `attacks.balls.first_images`. The noise of place p is eps times the same numbers for every
    radius.

    Args:
        images: for their shape (N, C, H, W), type and device alone.
        places: of the images, shape (N,), int64, >= 0; what the noise depends on.
        eps: radius, pixel units in [0, 1].
        norm: `linf` or `l2`.
        seed: of all noise of one split.
        stream: what the noise is for; streams of one seed are unrelated.

    Raises:
        ConfigError: an unknown norm.
    """
    if norm not in ("linf", "l2"):
        raise ConfigError(f"unknown norm {norm!r}; choose from: linf, l2")
    pixels = images[0].numel() if len(images) else 0
    # one number more than pixels: the radius
    numbers = uniforms(places.to(images.device), pixels + 1, key=stream_seed(seed, stream))
    if norm == "linf":
        noise = (2 * numbers[:, :pixels] - 1) * eps
    else:
        direction = torch.special.ndtri(numbers[:, :pixels])  # normal
        lengths = torch.linalg.vector_norm(direction, dim=1, keepdim=True)
        noise = direction * (eps * numbers[:, pixels:] / lengths)
    return noise.view_as(images).to(images.dtype)


def uniforms(places: Tensor, count: int, *, key: int) -> Tensor:
    """Numbers of U(0, 1), the ends left out, `count` for each place: (N,) -> (N, count) float64.

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
    """To the right, zeros coming in: torch's own shift repeats the sign."""
    return (values >> bits).bitwise_and_(2 ** (64 - bits) - 1)
