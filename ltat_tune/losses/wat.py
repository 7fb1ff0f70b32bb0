"""WAT's class weights, from what the classes have cost so far."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ltat_tune.losses.precision import full_precision

_HALVINGS = 80


def wat_costs(clean_logits: Tensor, targets: Tensor, divergences: Tensor, beta: float) -> Tensor:
    """Return CE + beta KL of every image, detached: (N, K), (N,), (N,) -> (N,).

    Source: Li2023WAT; boqili/WAT@62d1184.

    Args:
        clean_logits: of the clean images, shape (N, K).
        targets: their classes, shape (N,).
        divergences: the KL from the clean to the adversarial prediction, shape (N,).
        beta: that of TRADES, >= 0.
    """
    logits = full_precision(clean_logits.detach())
    return F.cross_entropy(logits, targets, reduction="none") + beta * divergences.detach()


def wat_weights(costs: Tensor, rate: float, largest: float) -> Tensor:
    """Return the weights of the K classes and, last, of their mean, (K + 1,) float64 with sum K.

    They are w = K softmax(rate * costs), where the mean of the costs is one more entry. No weight
    is above `largest`: those that would be have it, and the others, in their old proportions, the
    rest. These are the weights nearest to w, by KL, that keep the bound.

    Source: Li2023WAT (AAAI 2023); boqili/WAT@62d1184 with no bound.
    Deviations: the sum of costs grows with the epochs, so that without a bound one class ends up
        with all the weight, above all on a long tail. Bounded so, the weights are those of the
        worst share of classes (CVaR).

    Args:
        costs: what each class has cost so far, summed over epochs, shape (K,).
        rate: eta, per unit of cost, >= 0; 0 weighs all alike.
        largest: bound on a weight, >= 1.
    """
    costs = costs.double()
    exponents = rate * torch.cat([costs, costs.mean()[None]])  # (K + 1,)
    wanted, bound = float(len(costs)), math.log(largest)
    least = math.log(wanted) - exponents.logsumexp(dim=0)  # the shift without a bound
    if bool((exponents + least <= bound).all()):
        return (exponents + least).exp()
    most = bound - exponents.min()  # all at the bound
    for _ in range(_HALVINGS):
        middle = (least + most) / 2
        above = (exponents + middle).clamp_max(bound).exp().sum() > wanted
        least, most = torch.where(above, least, middle), torch.where(above, middle, most)
    return (exponents + (least + most) / 2).clamp_max(bound).exp()
