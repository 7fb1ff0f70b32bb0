"""Domains: what they hold, when they exist, how Optuna is asked for them."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from ltat_tune.space.domains import Domain, check_conditions, read_domain, sampling_order

LR = Domain("optim.lr", "float", low=0.01, high=0.3, log=True)
BATCH = Domain("optim.batch_size", "int", low=32, high=128, step=32)
METHOD = Domain("method.name", "categorical", choices=("pgd_at", "srat"))
NESTEROV = Domain("optim.nesterov", "categorical", choices=(True, False))
WIDTH = Domain("model.width", "categorical", choices=(None, 16, 32))


def _read(path: str, raw: Any) -> Domain:
    domain, problems = read_domain(path, raw)
    assert not problems
    assert domain is not None
    return domain


def _ask(domain: Domain, number: int = 20) -> set[Any]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return {domain.suggest(study.ask()) for _ in range(number)}


def test_a_range_is_read_with_fractions() -> None:
    domain = _read("attack.eps", {"type": "float", "low": "2/255", "high": "8/255"})
    assert domain == Domain("attack.eps", "float", low=2 / 255, high=8 / 255)


def test_a_whole_number_range_may_be_written_with_decimal_points() -> None:
    raw = {"type": "int", "low": 32.0, "high": 128, "step": 32.0}
    assert _read("optim.batch_size", raw) == BATCH


def test_whole_numbers_may_be_asked_of_a_parameter_that_is_none() -> None:
    domain = _read("method.separation_weight", {"type": "int", "low": 1, "high": 4})
    assert _ask(domain) == {1, 2, 3, 4}


def test_choices_are_read_as_the_configuration_holds_them() -> None:
    raw = {"type": "categorical", "choices": ["4/255", 0.1, 1]}
    assert _read("attack.eps", raw).choices == (4 / 255, 0.1, 1.0)


def test_null_is_a_choice_of_what_may_be_left_out() -> None:
    raw = {"type": "categorical", "choices": [None, 16, 32]}
    assert _read("model.width", raw) == WIDTH


def test_a_condition_takes_one_value_or_several_as_the_configuration_holds_them() -> None:
    raw = {"type": "float", "low": 0, "high": 1, "when": {"attack.eps": ["8/255", 1]}}
    assert _read("loss.gamma", raw).when == {"attack.eps": (8 / 255, 1.0)}
    raw["when"] = {"loss.name": "focal"}
    assert _read("loss.gamma", raw).when == {"loss.name": ("focal",)}


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (LR, [0.01, 0.1, 0.3], [0.009, 0.31, "0.1", None]),
        (BATCH, [32, 64.0, 128], [33, 48, 160, 64.5]),
        (Domain("optim.warmup_epochs", "int", low=0, high=5), [0, 5, 2.0], [2.5, -1]),
        (Domain("optim.momentum", "float", low=0, high=0.9, step=0.3), [0.3, 0.6], [0.4]),
        (METHOD, ["srat"], ["natural", None, 0]),
        (NESTEROV, [True, False], [1, 0, "true", None]),
        (WIDTH, [None, 16, 16.0], [True, 8, "16"]),
    ],
    ids=lambda value: getattr(value, "path", ""),
)
def test_a_domain_holds_what_optuna_could_propose(
    domain: Domain, inside: list[Any], outside: list[Any]
) -> None:
    assert [v for v in inside if not domain.contains(v)] == []
    assert [v for v in outside if domain.contains(v)] == []


@pytest.mark.parametrize(
    ("params", "active"),
    [
        ({}, False),
        ({"method.name": "pgd_at"}, False),
        ({"method.name": "srat"}, False),
        ({"method.name": "srat", "loss.name": "ldam"}, True),
        ({"method.name": "srat", "loss.name": "focal"}, True),
        ({"method.name": "srat", "loss.name": "cross_entropy"}, False),
    ],
)
def test_a_domain_exists_when_all_of_its_conditions_hold(
    params: dict[str, Any], active: bool
) -> None:
    when = {"method.name": ("srat",), "loss.name": ("ldam", "focal")}
    assert Domain("method.temperature", "float", 0.1, 1.0, when=when).active(params) is active


def test_a_domain_without_conditions_always_exists() -> None:
    assert LR.active({})


def test_optuna_proposes_values_of_the_domain_and_of_its_type() -> None:
    rates = _ask(LR)
    assert all(0.01 <= rate <= 0.3 for rate in rates)
    assert len(rates) == 20
    sizes = _ask(BATCH, 40)
    assert sizes == {32, 64, 96, 128}
    assert {type(size) for size in sizes} == {int}
    assert _ask(METHOD) == {"pgd_at", "srat"}
    assert _ask(WIDTH, 40) == {None, 16, 32}


def test_optuna_s_distributions_are_those_of_the_file() -> None:
    trial = optuna.create_study().ask()
    for domain in (LR, BATCH, METHOD):
        domain.suggest(trial)
    assert trial.distributions == {
        "optim.lr": optuna.distributions.FloatDistribution(0.01, 0.3, log=True),
        "optim.batch_size": optuna.distributions.IntDistribution(32, 128, step=32),
        "method.name": optuna.distributions.CategoricalDistribution(("pgd_at", "srat")),
    }


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        (LR, "0.01 .. 0.3 (log)"),
        (BATCH, "32 .. 128 in steps of 32"),
        (Domain("optim.warmup_epochs", "int", low=0, high=5), "0 .. 5 (whole numbers)"),
        (Domain("optim.momentum", "float", low=0, high=0.9), "0 .. 0.9"),
        (METHOD, "pgd_at | srat"),
        (NESTEROV, "true | false"),
        (WIDTH, "null | 16 | 32"),
    ],
    ids=lambda value: getattr(value, "path", ""),
)
def test_domains_read_aloud(domain: Domain, text: str) -> None:
    assert str(domain) == text


def _chain(*links: tuple[str, str | None]) -> dict[str, Domain]:
    return {
        path: Domain(path, "categorical", choices=(1, 2), when={} if on is None else {on: (1,)})
        for path, on in links
    }


def test_parameters_are_asked_after_those_that_their_conditions_name() -> None:
    domains = _chain(("c", "b"), ("b", "a"), ("a", None), ("d", None))
    assert sampling_order(domains) == ["a", "d", "b", "c"]


def test_a_circle_is_found_and_what_hangs_on_it_is_never_asked() -> None:
    domains = _chain(("a", "b"), ("b", "a"), ("c", "a"), ("d", None))
    assert sampling_order(domains) == ["d"]
    assert check_conditions(domains) == [("a", "a: when must not run in a circle: a, b, c")]


def test_a_parameter_that_waits_for_itself_is_a_circle() -> None:
    assert check_conditions(_chain(("a", "a"))) == [("a", "a: when must not run in a circle: a")]
