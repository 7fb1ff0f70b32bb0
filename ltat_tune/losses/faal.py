"""FAAL's class weights: the worst ones within a radius, in closed form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ltat_tune.losses.precision import full_precision

_LOWEST, _HIGHEST = -60.0, 30.0  # log of (nu - max a) / (max a - min a)
_PLACES, _ROUNDS = 65, 7  # each round finds the solution to 1/64 of the one before


def faal_coefficients(
    logits: Tensor, targets: Tensor, *, released: bool = False
) -> tuple[Tensor, Tensor]:
    """Return what the class weights maximise, (K,) float64, and which classes they weigh, (K,).

    The margin of an image is the largest wrong probability minus the right one. A class has the
    mean of its images' margins, and a class that the batch lacks takes no part.

    Source: Zhang2024FAAL; TrustAI/FAAL@b20ee9d.
    Deviations: `released` sums the margins over images and lets absent classes take part with 0.
        On a balanced batch that is the same up to a factor. On a long tail absent classes then
        beat those that are answered right.

    Args:
        logits: of the adversarial images, shape (N, K). The result has no gradient.
        targets: classes, shape (N,).
        released: sums in place of means.
    """
    probabilities = full_precision(logits.detach()).double().softmax(dim=1)
    member = F.one_hot(targets, logits.shape[1]).bool()
    right = probabilities.masked_fill(~member, 0).sum(dim=1)
    margins = probabilities.masked_fill(member, -1).amax(dim=1) - right
    counts = member.sum(dim=0)
    sums = (margins[:, None] * member).sum(dim=0)
    if released:
        return sums, torch.ones_like(counts, dtype=torch.bool)
    return sums / counts.clamp_min(1), counts > 0


def faal_weights(coefficients: Tensor, present: Tensor, radius: float) -> Tensor:
    """Return the weights p that maximise sum_c a_c p_c, times the number of classes: (K,) float64.

    The maximum is over sum p = 1 and KL(u || p) <= radius, where u is uniform over the present
    classes. Then p_c = eta / (nu - a_c) with nu > max a, where eta makes the sum 1. The KL falls
    as nu grows. Nothing is read back from the device: nu is found on a grid that is refined a
    fixed number of times. If all a are equal, all weights are 1. Absent classes weigh 0.

    Source: Zhang2024FAAL; the closed form replaces the release's conic solver.

    Args:
        coefficients: a, shape (K,).
        present: classes that take part, shape (K,) bool.
        radius: nats, > 0.
    """
    a = coefficients.double()
    gaps = (a.masked_fill(~present, -torch.inf).amax() - a).masked_fill(~present, 0)
    widest = gaps.amax()
    gaps = torch.where(widest > 0, gaps / widest.clamp_min(torch.finfo(a.dtype).tiny), 0.0)
    number = present.sum(dtype=a.dtype)

    def log_weights(places: Tensor) -> Tensor:  # (P,) -> (P, K), 0 for absent classes
        logs = -(places.exp()[:, None] + gaps).log()
        logs = logs.masked_fill(~present, -torch.inf)
        logs = logs - logs.logsumexp(dim=1, keepdim=True)
        return logs.masked_fill(~present, 0)

    shares = torch.linspace(0, 1, _PLACES, dtype=a.dtype, device=a.device)
    low, high = torch.full_like(shares[:1], _LOWEST), torch.full_like(shares[:1], _HIGHEST)
    for _ in range(_ROUNDS):
        places = low + (high - low) * shares
        divergence = -number.log() - log_weights(places).sum(dim=1) / number
        above = (divergence > radius).sum(dim=0, keepdim=True)
        low = places.gather(0, (above - 1).clamp_min(0))
        high = places.gather(0, above.clamp_max(_PLACES - 1))
    weights = log_weights((low + high) / 2)[0].exp() * number
    return weights.masked_fill(~present, 0)
