"""Candidates lie in the space, are new, and surround the best where they cannot be counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ltat_tune.search.predict.coordinates import Coordinates
from ltat_tune.search.predict.pools import Pool
from tests.search.predict.test_coordinates import RAW, domains

COUNTABLE: dict[str, dict[str, Any]] = {
    "optim.lr": {"type": "float", "low": 0.1, "high": 0.3, "step": 0.1},
    "reweight.name": RAW["reweight.name"],
    "reweight.beta": RAW["reweight.beta"],
}


def _pool(raw: dict[str, dict[str, Any]], seed: int = 0) -> Pool:
    tuned = domains(raw)
    return Pool(tuned, Coordinates(tuned), seed)


def test_a_countable_space_is_its_own_pool() -> None:
    pool, rng = _pool(COUNTABLE), np.random.default_rng(0)
    points, places = pool.candidates([], [], rng)
    assert pool.is_whole and len(points) == 3 * (1 + 3) == len(places)
    rest, _ = pool.candidates(points[:5], points[:1], rng)
    assert rest == points[5:]
    assert pool.fresh(points[1:], rng) == points[0]
    assert pool.fresh(points, rng) is None


@pytest.mark.parametrize("raw", [RAW, COUNTABLE])
def test_every_candidate_is_in_its_domains_and_has_what_exists(raw: dict[str, Any]) -> None:
    tuned, pool, rng = domains(raw), _pool(raw), np.random.default_rng(1)
    best = [pool.draw(rng) for _ in range(5)]
    for point in [*pool.candidates(best, best, rng)[0], *best]:
        active = {path for path, domain in tuned.items() if domain.active(point)}
        assert set(point) == active
        assert all(tuned[path].contains(value) for path, value in point.items())


def test_neighbours_of_the_best_are_near_it_and_new() -> None:
    pool, rng = _pool(RAW), np.random.default_rng(2)
    best = {
        "optim.lr": 0.1, "optim.warmup_epochs": 5, "reweight.name": "class_balanced",
        "reweight.beta": 0.99,
    }  # fmt: skip
    far, _ = pool.candidates([best], [], rng)
    points, places = pool.candidates([best], [best], rng)
    near = points[len(far) :]
    assert len(points) == len(places) and len(near) > 10
    differing = [sum(p.get(k) != v for k, v in best.items()) for p in near]
    assert min(differing) == 1 and best not in near
    logs = [abs(np.log10(p["optim.lr"] / 0.1)) for p in near]
    assert 0 < max(logs) < 1.0  # half of the range


def test_the_sample_of_a_large_space_is_the_same_for_a_seed() -> None:
    draws = [
        _pool(RAW, seed).candidates([], [], np.random.default_rng(0))[0] for seed in (3, 3, 4)
    ]
    assert draws[0] == draws[1] != draws[2]
    assert not _pool(RAW).is_whole and len(draws[0]) > 500
