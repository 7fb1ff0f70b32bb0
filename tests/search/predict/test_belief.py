"""Priors: weights worked out by hand, the first configuration, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ltat_tune.search.predict.belief import Belief
from ltat_tune.search.predict.coordinates import Coordinates
from ltat_tune.space.domains import read_domain
from tests.search.predict.test_chooser import chooser_of
from tests.search.predict.test_coordinates import domains

RAW: dict[str, dict[str, Any]] = {
    "optim.lr": {"type": "float", "low": 0.01, "high": 1.0, "log": True, "prior": 0.1},
    "loss.name": {
        "type": "categorical", "choices": ["cross_entropy", "balanced_softmax"],
        "prior": "balanced_softmax",
    },
    "loss.tau": {
        "type": "float", "low": 0.0, "high": 2.0, "prior": 1.0,
        "when": {"loss.name": "balanced_softmax"},
    },
}  # fmt: skip


def test_a_weight_is_the_product_of_beliefs_and_fades() -> None:
    tuned = domains(RAW)
    coordinates = Coordinates(tuned)
    points = [
        {"optim.lr": 0.1, "loss.name": "balanced_softmax", "loss.tau": 1.0},
        {"optim.lr": 1.0, "loss.name": "balanced_softmax", "loss.tau": 1.4},
        {"optim.lr": 0.1, "loss.name": "cross_entropy"},  # without loss.tau
    ]
    lr = 0.1 + 0.9 * math.exp(-0.5 * (0.5 / 0.2) ** 2)  # half the range away, on its log scale
    tau = 0.1 + 0.9 * math.exp(-0.5 * (0.2 / 0.2) ** 2)
    other = 0.1 + 0.9 * math.exp(-0.5 / 0.2**2)  # another name is 1 away
    belief, places = Belief(tuned, coordinates), coordinates.place(points)
    expected = np.array([1.0, lr * tau, other])
    assert belief.weights(points, places, 1) == pytest.approx(expected**0.3)
    assert belief.weights(points, places, 10) == pytest.approx(expected**0.03)
    plain = {path: replace(domain, prior=None) for path, domain in tuned.items()}
    assert Belief(plain, coordinates).weights(points, places, 1) == pytest.approx(np.ones(3))


def test_the_first_configuration_has_the_values_of_the_priors() -> None:
    first = [chooser_of(domains(RAW), seed=seed).next([], lambda p: False) for seed in range(3)]
    for action in first:
        assert action is not None
        values = {"optim.lr": 0.1, "loss.name": "balanced_softmax", "loss.tau": 1.0}
        assert action.params == values


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({**RAW["optim.lr"], "prior": 2}, "optim.lr: prior must lie in 0.01 .. 1 (log), got 2"),
        (
            {"type": "categorical", "choices": [0.1, 0.2], "prior": 0.3},
            "optim.lr: prior must lie in 0.1 | 0.2, got 0.3",
        ),
    ],
)
def test_a_prior_outside_its_domain_is_refused(raw: dict[str, Any], message: str) -> None:
    assert read_domain("optim.lr", raw) == (None, [("prior", message)])
