"""Where configurations lie, and how far they are apart, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ltat_tune.search.predict.coordinates import Coordinates, weighted
from ltat_tune.space.domains import Domain, read_domain

RAW: dict[str, dict[str, Any]] = {
    "optim.lr": {"type": "float", "low": 0.01, "high": 1.0, "log": True},
    "optim.warmup_epochs": {"type": "int", "low": 0, "high": 10},
    "reweight.name": {"type": "categorical", "choices": ["none", "class_balanced"]},
    "reweight.beta": {
        "type": "categorical", "choices": [0.999, 0.9, 0.99],
        "when": {"reweight.name": "class_balanced"},
    },
}  # fmt: skip


def domains(raw: dict[str, dict[str, Any]]) -> dict[str, Domain]:
    """The domains of a space file's `tuned`."""
    read = {path: read_domain(path, content)[0] for path, content in raw.items()}
    return {path: domain for path, domain in read.items() if domain is not None}


PLAIN = {"optim.lr": 0.1, "optim.warmup_epochs": 5, "reweight.name": "none"}
WEIGHTED = {
    "optim.lr": 1.0, "optim.warmup_epochs": 10, "reweight.name": "class_balanced",
    "reweight.beta": 0.9,
}  # fmt: skip


def test_each_parameter_counts_on_its_own_scale() -> None:
    space = Coordinates(domains(RAW))
    a, b = space.place([PLAIN]), space.place([WEIGHTED])
    # lr: half of the log range; warm-up: half of the range; names: 1 apart;
    # beta: absent is 0.5, 0.9 the lowest of three
    assert space.by_parameter(a, b)[:, 0, 0] == pytest.approx([0.25, 0.25, 1.0, 0.25])
    assert space.parameters == 4


def test_a_name_is_as_far_from_its_absence_as_from_another() -> None:
    raw: dict[str, dict[str, Any]] = {
        "method.name": {"type": "categorical", "choices": ["pgd_at", "srat"]},
        "reweight.name": {
            "type": "categorical", "choices": ["none", "class_balanced", "under_represented"],
            "when": {"method.name": "srat"},
        },
    }  # fmt: skip
    space = Coordinates(domains(raw))
    points = [
        {"method.name": "pgd_at"},
        {"method.name": "srat", "reweight.name": "none"},
        {"method.name": "srat", "reweight.name": "under_represented"},
    ]
    places = space.place(points)
    apart = space.by_parameter(places, places)[1]
    assert apart == pytest.approx(1 - np.eye(3))


def test_weights_multiply_the_distance_of_their_parameter() -> None:
    space = Coordinates(domains(RAW))
    a, b = space.place([PLAIN, WEIGHTED]), space.place([WEIGHTED])
    weights = np.array([4.0, 1.0, 2.0, 8.0])
    expected = np.tensordot(weights, space.by_parameter(a, b), 1)
    assert weighted(a, b, weights[space.columns]) == pytest.approx(expected)
    assert expected[0, 0] == pytest.approx(1.0 + 0.25 + 2.0 + 2.0)


def test_a_value_outside_of_a_range_lies_at_its_end() -> None:
    space = Coordinates(domains({"optim.lr": RAW["optim.lr"]}))
    assert space.place([{"optim.lr": 5.0}])[0, 0] == 1.0
