"""Edges, by hand."""

from __future__ import annotations

from ltat_tune.results.range_edges import edges
from ltat_tune.space.domains import Domain


def test_a_value_on_the_edge_comes_with_a_wider_range() -> None:
    # on the log scale the range is ln 10 long; half of that beyond 0.3 is 0.3 * sqrt(10) = 0.949
    domain = Domain("optim.lr", "float", 0.03, 0.3, log=True)
    (found,) = edges({"optim.lr": domain}, {"optim.lr": 0.29})
    assert (found.side, found.value) == ("high", 0.29)
    assert found.yaml == "optim.lr: {type: float, low: 0.03, high: 0.95, log: true}"
    # 0.03 / sqrt(10) = 0.00949
    (found,) = edges({"optim.lr": domain}, {"optim.lr": 0.031})
    assert found.yaml == "optim.lr: {type: float, low: 0.0095, high: 0.3, log: true}"


def test_the_middle_of_a_range_is_no_edge() -> None:
    domain = Domain("optim.lr", "float", 0.0, 1.0)
    assert edges({"optim.lr": domain}, {"optim.lr": 0.94}) == []
    assert len(edges({"optim.lr": domain}, {"optim.lr": 0.96})) == 1


def test_no_range_goes_beyond_what_the_parameter_allows() -> None:
    momentum = Domain("optim.momentum", "float", 0.5, 0.95)  # in [0, 1)
    assert edges({"optim.momentum": momentum}, {"optim.momentum": 0.95}) == []
    weight = Domain("method.separation_weight", "float", 0.0, 2.0)  # from 0 on
    assert edges({"method.separation_weight": weight}, {"method.separation_weight": 0.0}) == []


def test_steps_and_whole_numbers_stay_what_they_are() -> None:
    # half of 4 is 2: two steps of 1 beyond 5
    domain = Domain("attack.steps", "int", 1, 5, when={"method.name": ("srat", "reat")})
    (found,) = edges({"attack.steps": domain}, {"attack.steps": 5})
    assert found.yaml == (
        "attack.steps: {type: int, low: 1, high: 7, when: {method.name: [srat, reat]}}"
    )
    choice = Domain("loss.name", "categorical", choices=("cross_entropy", "ldam"))
    assert edges({"loss.name": choice}, {"loss.name": "ldam"}) == []
