"""The L-inf and the L2 ball: the first images of an attack, its steps and the projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ltat_tune.errors import ConfigError

GAUSSIAN_STD = 0.001  # as in the TRADES, MART and AT-BSL releases, for every radius


class Ball(Protocol):
    """A ball around images (N, C, H, W). All methods may edit `adv_images` in place."""

    def step(self, adv_images: Tensor, gradient: Tensor) -> Tensor:
        """Make one step uphill, and project back into the ball and into [0, 1]."""
        ...


@dataclass(frozen=True)
class Linf:
    """The ball in L-inf. The radius and the step are numbers or have shape (N, 1, 1, 1)."""

    low: Tensor
    high: Tensor
    step_size: float | Tensor

    @classmethod
    def around(cls, images: Tensor, eps: float | Tensor, step_size: float | Tensor) -> Linf:
        # Images lie in the ball and in [0, 1], so one clamp projects to both.
        return cls((images - eps).clamp_(min=0), (images + eps).clamp_(max=1), step_size)

    def step(self, adv_images: Tensor, gradient: Tensor) -> Tensor:
        if isinstance(self.step_size, Tensor):
            adv_images.add_(gradient.sign() * self.step_size)
        else:
            adv_images.add_(gradient.sign(), alpha=self.step_size)
        return adv_images.clamp_(self.low, self.high)


@dataclass(frozen=True)
class L2:
    """The ball in L2 over all pixels of an image. Radius and step: numbers or (N, 1, 1, 1)."""

    images: Tensor
    eps: float | Tensor
    step_size: float | Tensor

    @classmethod
    def around(cls, images: Tensor, eps: float | Tensor, step_size: float | Tensor) -> L2:
        return cls(images, eps, step_size)

    def step(self, adv_images: Tensor, gradient: Tensor) -> Tensor:
        adv_images.add_(gradient / _norms(gradient) * self.step_size)
        shift = adv_images - self.images
        # The clamp to [0, 1] comes last: it moves pixels only towards the image, so they stay in
        # the ball.
        shrink = _norms(shift).reciprocal().mul_(self.eps)
        torch.addcmul(self.images, shift, shrink.clamp_(max=1), out=adv_images)
        return adv_images.clamp_(0, 1)


def _norms(values: Tensor) -> Tensor:
    """Return the L2 norm of every image, (N, 1, 1, 1). The floor makes a zero gradient no step."""
    norms: Tensor = torch.linalg.vector_norm(values, dim=(1, 2, 3), keepdim=True)
    return norms.clamp_min(1e-12)


BALLS: dict[str, type[Linf] | type[L2]] = {"linf": Linf, "l2": L2}
STARTS = ("none", "uniform", "uniform_clipped", "one_sided", "gaussian")


def first_images(
    images: Tensor, eps: float, *, start: str, norm: str, generator: torch.Generator | None
) -> Tensor:
    """Return the first images of an attack in a new tensor: the images, or the images plus noise.

    uniform: U(-eps, eps) in L-inf; in L2 a random direction at a radius of U(0, eps).
    uniform_clipped: the same, clipped to [0, 1]. one_sided: the uniform noise without its signs,
    which is U(0, eps) in L-inf, as in RoBal's release. gaussian: 0.001 times normal noise. The
    noise is drawn on the generator's device.

    Raises:
        ConfigError: the start is unknown.
    """
    if start not in STARTS:
        raise ConfigError(f"unknown start {start!r}; choose from: {', '.join(STARTS)}")
    if start == "none":
        return images.clone()
    device = images.device if generator is None else generator.device
    # A copy from pageable memory would make the CPU wait for the GPU in every step.
    pinned = images.is_cuda and device.type == "cpu"
    noise = torch.empty(images.shape, dtype=images.dtype, device=device, pin_memory=pinned)
    if start == "gaussian":
        noise.normal_(std=GAUSSIAN_STD, generator=generator)
    elif norm == "linf":
        noise.uniform_(0.0 if start == "one_sided" else -eps, eps, generator=generator)
    else:
        noise.normal_(generator=generator)
        radius = torch.empty(len(images), 1, 1, 1, dtype=images.dtype, device=device)
        noise.mul_(radius.uniform_(0, eps, generator=generator) / _norms(noise))
        if start == "one_sided":
            noise.abs_()
    first = images + noise.to(images.device, non_blocking=pinned)
    return first.clamp_(0, 1) if start == "uniform_clipped" else first
