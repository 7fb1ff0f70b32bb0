"""Average weights, and choose greedily which of them to average."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Addition:
    """A trial that was tried in an average.

    Attributes:
        place: its place in the order of trial, from 0.
        score: of the average of what was added before and this trial.
        added: whether it stays; the first always does.
    """

    place: int
    score: float
    added: bool


def averaged(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of states with the same names and shapes, computed in float64.

    What is no floating-point tensor is copied from the first, as BatchNorm's batch counters are.
    """
    mean: dict[str, Tensor] = {}
    for name, first in states[0].items():
        if first.is_floating_point():
            total = torch.zeros_like(first, dtype=torch.float64)
            for state in states:
                total += state[name]
            mean[name] = (total / len(states)).to(first.dtype)
        else:
            mean[name] = first.clone()
    return mean


def greedy(count: int, score_of: Callable[[tuple[int, ...]], float]) -> list[Addition]:
    """Start with the first, and add each next one if the score of the average strictly rises.

    Source: Wortsman2022Model Recipe 1, arXiv:2203.05482; checked against its release, which
        keeps only a strict rise, too.

    Args:
        count: how many there are, best first.
        score_of: returns the score of the average of the named places.

    Returns:
        All of them, in order.
    """
    members: tuple[int, ...] = (0,)
    best = score_of(members)
    tried = [Addition(0, best, True)]
    for place in range(1, count):
        score = score_of((*members, place))
        rises = score > best
        tried.append(Addition(place, score, rises))
        if rises:
            members, best = (*members, place), score
    return tried
