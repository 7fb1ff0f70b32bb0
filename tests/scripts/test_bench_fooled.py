"""Studies replayed over recorded trainings: with the second opinion no fraud wins."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import optuna
import pytest

from scripts.bench_fooled import TABLE, planted, replayed


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    optuna.logging.set_verbosity(level)


@pytest.fixture(scope="module")
def table() -> Any:
    return json.loads(TABLE.read_text())["fooled"]


@pytest.mark.parametrize("searcher", ["predict", "tpe"])
def test_a_fraud_wins_without_a_second_opinion_and_none_with_one(
    table: Any, searcher: str
) -> None:
    seed = 100  # none that the README shows
    fooled = replayed(table, searcher, seed, opinion=False)
    assert planted(fooled.chosen["params"])
    sound = replayed(table, searcher, seed, opinion=True)
    assert planted(sound.chosen["params"]) == ""
    assert sound.chosen["truth"] > fooled.chosen["truth"]
    assert 0 < sound.opinions <= 0.1 * sound.training
    assert sound.doubted > 0


def test_every_kind_of_fraud_is_planted(table: Any) -> None:
    kinds = {planted(row["params"]) for row in table["rows"]}
    assert kinds == {"", "quantised", "logits x 1000", "RoBal at scale 1"}
    overfitted = json.loads(TABLE.read_text())["overfitted"]["rows"]
    assert {planted(row["params"]) for row in overfitted} == {"", "FGSM, overfitted"}
    assert all(row["opinion"]["reason"] for row in overfitted if planted(row["params"]))
