"""The greedy choice and the average, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltat_tune.export.soup.greedy import averaged, greedy

Doubles = NDArray[np.float64]


def _reference(weights: list[Doubles], images: Doubles, targets: Doubles) -> tuple[Doubles, int]:
    """The greedy soup as its release mixes it, soup * k / (k + 1) + candidate / (k + 1)."""

    def score(matrix: Doubles) -> float:
        return float(((images @ matrix).argmax(axis=1) == targets).mean())

    soup, size, best = weights[0], 1, score(weights[0])
    for candidate in weights[1:]:
        mixed = soup * size / (size + 1) + candidate / (size + 1)
        if score(mixed) > best:
            soup, size, best = mixed, size + 1, score(mixed)
    return soup, size


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_release_on_linear_classifiers(seed: int) -> None:
    draws = np.random.default_rng(seed)
    images, truth = draws.normal(size=(200, 6)), draws.normal(size=(6, 3))
    targets = (images @ truth).argmax(axis=1).astype(np.float64)
    weights = [truth + draws.normal(size=truth.shape) for _ in range(7)]

    def score_of(places: tuple[int, ...]) -> float:
        mean = averaged([{"w": torch.from_numpy(weights[p])} for p in places])["w"].numpy()
        return float(((images @ mean).argmax(axis=1) == targets).mean())

    weights.sort(key=lambda w: -((images @ w).argmax(axis=1) == targets).mean())
    soup, size = _reference(weights, images, targets)
    tried = greedy(len(weights), score_of)
    members = tuple(one.place for one in tried if one.added)
    mean = averaged([{"w": torch.from_numpy(weights[p])} for p in members])["w"].numpy()
    assert len(members) == size
    assert mean == pytest.approx(soup, abs=1e-12)
    assert [one.place for one in tried] == list(range(7))
    scores = [one.score for one in tried if one.added]
    assert scores == sorted(set(scores))  # each member raises the score
    assert scores[-1] >= max(score_of((place,)) for place in range(7))


def test_only_a_strict_rise_adds_and_what_was_left_out_stays_out() -> None:
    asked: list[tuple[int, ...]] = []
    scores = {(0,): 0.5, (0, 1): 0.5, (0, 2): 0.6, (0, 2, 3): 0.4}

    def score_of(places: tuple[int, ...]) -> float:
        asked.append(places)
        return scores[places]

    assert [one.added for one in greedy(4, score_of)] == [True, False, True, False]
    assert asked == list(scores)


def test_one_alone_is_itself() -> None:
    (only,) = greedy(1, lambda places: 0.25)
    assert (only.place, only.score, only.added) == (0, 0.25, True)
    state: dict[str, Tensor] = {"w": torch.randn(5), "n": torch.tensor(7)}
    same = averaged([state])
    assert all(torch.equal(same[name], state[name]) for name in state)
    assert same["w"].data_ptr() != state["w"].data_ptr()


def test_it_sums_in_float64_keeps_the_type_and_copies_counters() -> None:
    # in float32 the sums would be 0, and the mean 0
    values = (1e8, 1.0, -1e8)
    states = [
        {"w": torch.tensor([value]), "batches": torch.tensor(10 * place)}
        for place, value in enumerate(values, start=1)
    ]
    mean = averaged(states)
    assert mean["w"].dtype is torch.float32
    assert mean["w"].item() == pytest.approx(1 / 3)
    assert mean["batches"].item() == 10
    assert mean["batches"].dtype is torch.int64
