"""The sentence on who won."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ltat_tune.results.model import (
    RangeEdge,
    ScenarioResults,
    SearchedOn,
    StudyResults,
    TrialCounts,
    read_results,
)
from ltat_tune.results.race.choice import ChoiceCounts
from ltat_tune.results.verdict import sentences, verdict_of
from tests.made_studies import made_study


def _results(out: Path, **changes: Any) -> StudyResults:
    fixed = changes.pop("fixed", None)
    results = read_results(made_study(out, fixed=fixed))
    assert results is not None
    return results.model_copy(update=changes)


def _alone(results: StudyResults, scenario: ScenarioResults) -> str:
    (sentence,) = sentences(results.model_copy(update={"scenarios": [scenario]}))
    return sentence


def _with_lead(scenario: ScenarioResults, name: str, **changes: Any) -> ScenarioResults:
    lead = scenario.leads.baseline
    assert lead is not None
    changed = lead.model_copy(update={"over_scenarios": None, **changes})
    leads = scenario.leads.model_copy(update={name: changed})
    return scenario.model_copy(update={"leads": leads})


def test_it_names_the_test_scores_and_what_the_lead_over_the_baseline_is_worth(
    tmp_path: Path,
) -> None:
    # by seed 0.305 and 0.315 of the test images against 0.25 and 0.255; inside each class an
    # image differs with every seed or with none but one in 40, so the seeds' part is nearly all:
    # 0.0575 -+ 12.7 * 0.0025 = 0.026 to 0.089
    first, second, both = sentences(_results(tmp_path))
    assert first == (
        "data.imbalance_ratio = 2: the winner reaches 31.0 ± 0.7 % test/pgd3_balanced_acc, the "
        "baseline 25.2 ± 0.4 %; it is best: it beats the baseline by 5.8 points (95 % interval "
        "+2.5 to +9.0, p = 0.028); only 2 trials are complete behind it"
    )
    assert second.startswith("data.imbalance_ratio = 4: the winner reaches 31.0 ± 0.7 % ")
    # Holm: 2 * 0.028 is above 0.05
    assert both == (
        "over the 2 scenarios together (Holm), the winner beats the baseline beyond chance in "
        "none of them"
    )


def test_over_scenarios_it_names_those_where_the_lead_is_beyond_chance(tmp_path: Path) -> None:
    results = _results(tmp_path)
    scenarios = [
        _with_lead(one, "baseline", p=p, over_scenarios=2 * p)
        for one, p in zip(results.scenarios, (0.02, 0.03), strict=True)
    ]
    *_, last = sentences(results.model_copy(update={"scenarios": scenarios}))
    assert last.endswith(" beyond chance in 1: data.imbalance_ratio = 2")


def test_best_is_only_what_beats_the_runner_up_too(tmp_path: Path) -> None:
    results = _results(tmp_path)
    scenario = _with_lead(results.scenarios[0], "runner_up", number=7, p=0.3, gain=0.01)
    sentence = _alone(results, scenario)
    assert "is best" not in sentence
    assert "; it beats the baseline by 5.8 points (" in sentence
    assert "; it leads the runner-up t0007 by 1.0 points, not settled (" in sentence
    assert "; with 2 seeds and 4000 images, a lead below about 3.2 points cannot be " in sentence
    scenario = _with_lead(results.scenarios[0], "runner_up", number=7, p=0.01)
    assert "; it is best: it beats the baseline by 5.8 points (" in _alone(results, scenario)


def test_it_says_that_nothing_beat_the_baseline(tmp_path: Path) -> None:
    results = _results(tmp_path)
    recipe = results.scenarios[0].baseline_recipe
    scenario = results.scenarios[0].model_copy(update={"winner_recipe": recipe})
    assert _alone(results, scenario) == (
        "data.imbalance_ratio = 2: the winner reaches 25.2 ± 0.4 % test/pgd3_balanced_acc; it is "
        "the baseline itself, which no other configuration beat on the validation images; only 2 "
        "trials are complete behind it"
    )
    assert verdict_of(results, scenario.model_copy(update={"winner_recipe": None})) is None


def test_before_the_test_it_names_only_what_chose_the_winner(tmp_path: Path) -> None:
    results = _results(tmp_path)
    scenario = results.scenarios[0]
    untested = [one.model_copy(update={"test": {}}) for one in scenario.confirmed]
    sentence = _alone(results, scenario.model_copy(update={"confirmed": untested}))
    assert sentence == (
        "data.imbalance_ratio = 2: the winner was chosen by its 62.0 ± 1.4 % "
        "val/pgd3_balanced_acc; not tested yet; only 2 trials are complete behind it"
    )


def test_what_makes_the_number_worth_less_comes_last(tmp_path: Path) -> None:
    results = _results(tmp_path)
    scenario = results.scenarios[0].model_copy(update={
        "edges": [RangeEdge(path="optim.lr", value=0.2, side="high", yaml="")],
        "trials": TrialCounts(complete=5, pruned=0, failed=0, diverged=0),
        "choices": [
            ChoiceCounts(path="method.name", choice="srat", trials=6, complete=5),
            ChoiceCounts(path="method.name", choice="trades", trials=2, complete=0),
            ChoiceCounts(path="method.name", choice="mart", trials=0, complete=0),
            ChoiceCounts(path="loss.name", choice="ldam", trials=9, complete=5),
            ChoiceCounts(path="loss.name", choice="focal", trials=9, complete=1),
        ],
    })  # fmt: skip
    results = results.model_copy(update={
        "searched_on": [SearchedOn(at="2026-01-01", trials={}, winners={})]
    })  # fmt: skip
    winner = scenario.winner
    assert winner is not None
    # guessing one of ten classes is right in 10 %; up to 11 % is called guessing
    for score, said in ((0.109, True), (0.111, False)):
        row = winner.model_copy(update={
            "test": {results.verdict_metric: [score, score]}, "lost_classes": ["cat", "dog"],
        })  # fmt: skip
        sentence = _alone(results, scenario.model_copy(update={"confirmed": [row]}))
        assert ("no better than guessing one of 10 classes: train longer" in sentence) == said
        assert sentence.endswith(
            "; no test image of classes cat, dog is right under PGD-3; optim.lr lies on the high "
            "edge of its range; trades: 2 trials, none complete; mart: not tried; focal: 9 "
            "trials, 1 complete; searched on after the test images were seen"
        )


def test_selected_on_test_it_gives_no_p(tmp_path: Path) -> None:
    results = _results(tmp_path, fixed={"data.val_source": "test"})
    (sentence, *_) = sentences(results)
    assert "p = " not in sentence and "is best" not in sentence
    assert (
        "; it leads the baseline by 5.8 points, not settled (no interval: the test images chose "
        "the winner); " in sentence
    )
    assert (
        "; selected on the test images (selected_on_test), so it is optimistic and no" in sentence
    )


def test_of_a_smoke_run_it_says_only_that(tmp_path: Path) -> None:
    assert sentences(_results(tmp_path, smoke=True)) == [
        "smoke run: it shows that the file runs, and its numbers mean nothing"
    ]
