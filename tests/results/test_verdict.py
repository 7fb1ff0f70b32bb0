"""The sentence on who won."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ltat_tune.results.model import ScenarioResults, StudyResults, read_results
from ltat_tune.results.verdict import sentences, verdict_of
from tests.made_studies import made_study


def _results(out: Path, **changes: Any) -> StudyResults:
    results = read_results(made_study(out))
    assert results is not None
    return results.model_copy(update=changes)


def _alone(results: StudyResults, scenario: ScenarioResults) -> str:
    (sentence,) = sentences(results.model_copy(update={"scenarios": [scenario]}))
    return sentence


def test_it_names_the_winner_s_score_and_its_gain_with_how_sure_that_is(tmp_path: Path) -> None:
    # by seed 0.61 and 0.63 against 0.50 and 0.51: t = 0.115 / 0.005 = 23, on one degree of freedom
    # p = 1 - 2 / pi * atan(23) = 0.028
    first, second = sentences(_results(tmp_path))
    assert first == (
        "data.imbalance_ratio = 2: the winner reaches 62.0 ± 1.4 % val/pgd3_balanced_acc, +11.5 "
        "points against the baseline's 50.5 ± 0.7 % (paired t-test: p = 0.028, 2 seeds)"
    )
    assert second.startswith("data.imbalance_ratio = 4: the winner reaches 62.0 ± 1.4 % ")


def test_it_says_that_nothing_beat_the_baseline(tmp_path: Path) -> None:
    results = _results(tmp_path)
    recipe = results.scenarios[0].baseline_recipe
    scenario = results.scenarios[0].model_copy(update={"winner_recipe": recipe})
    assert _alone(results, scenario) == (
        "data.imbalance_ratio = 2: the winner reaches 50.5 ± 0.7 % val/pgd3_balanced_acc; it is "
        "the baseline itself, which no other configuration beat"
    )
    assert verdict_of(results, scenario.model_copy(update={"winner_recipe": None})) is None


def test_what_makes_the_number_worth_less_comes_last(tmp_path: Path) -> None:
    results = _results(tmp_path, selected_on_test=True)
    scenario = results.scenarios[0]
    winner = scenario.winner
    assert winner is not None
    # guessing one of ten classes is right in 10 %; up to 11 % is called guessing
    for score, said in ((0.109, True), (0.111, False)):
        row = winner.model_copy(update={"val": {results.objective: [score, score]}})
        sentence = _alone(results, scenario.model_copy(update={"confirmed": [row]}))
        assert ("no better than guessing one of 10 classes: train longer" in sentence) == said
        assert sentence.endswith("; selected on the test images, so optimistic")


def test_of_a_smoke_run_it_says_only_that(tmp_path: Path) -> None:
    assert sentences(_results(tmp_path, smoke=True)) == [
        "smoke run: it shows that the file runs, and its numbers mean nothing"
    ]
