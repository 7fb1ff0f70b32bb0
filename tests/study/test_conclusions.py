"""Edges and leads, by hand."""

from __future__ import annotations

import pytest

from ltat_tune.study.conclusions import edges, in_words, lead
from ltat_tune.study.domains import Domain


def test_a_value_on_the_edge_comes_with_a_wider_range() -> None:
    # on the log scale the range is ln 10 long; half of that beyond 0.3 is 0.3 * sqrt(10) = 0.949
    domain = Domain("optim.lr", "float", 0.03, 0.3, log=True)
    (found,) = edges({"optim.lr": domain}, {"optim.lr": 0.29})
    assert (found["side"], found["value"]) == ("high", 0.29)
    assert found["yaml"] == "optim.lr: {type: float, low: 0.03, high: 0.95, log: true}"
    # 0.03 / sqrt(10) = 0.00949
    (found,) = edges({"optim.lr": domain}, {"optim.lr": 0.031})
    assert found["yaml"] == "optim.lr: {type: float, low: 0.0095, high: 0.3, log: true}"


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
    assert found["yaml"] == (
        "attack.steps: {type: int, low: 1, high: 7, when: {method.name: [srat, reat]}}"
    )
    choice = Domain("loss.name", "categorical", choices=("cross_entropy", "ldam"))
    assert edges({"loss.name": choice}, {"loss.name": "ldam"}) == []


def test_a_lead_is_welchs_test() -> None:
    # means 0.5 and 0.4, variances 0.01 each, n = 3: t = 0.1 / sqrt(0.02 / 3) = 1.2247, df = 4;
    # for 4 degrees of freedom p = 1 - x * (3 - x**2) / 2 with x = t / sqrt(t**2 + 4) = 0.5222
    found = lead([0.4, 0.5, 0.6], [0.3, 0.4, 0.5])
    assert found["gain"] == pytest.approx(0.1)
    x = 1.5**0.5 / (1.5 + 4) ** 0.5
    assert found["p"] == pytest.approx(1 - x * (3 - x**2) / 2)
    assert in_words(found) == "Welch's t: p = 0.29, which chance may explain, 3 and 3 seeds"
    assert in_words(lead([0.5, 0.51, 0.52], [0.1, 0.11, 0.12])).startswith("Welch's t: p < 0.001,")


def test_without_spread_or_seeds_nothing_is_claimed() -> None:
    for one, other in (([0.5], [0.4, 0.3]), ([0.5, 0.5], [0.4, 0.4])):
        found = lead(one, other)
        assert found["p"] is None
        assert in_words(found) == "too few seeds to say more"
