"""A winner's leads, from the files that confirmations leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ltat_tune.results.collect import collect
from ltat_tune.results.model import Lead, ScenarioResults, StudyResults, verdict_metric
from ltat_tune.results.verdict import sentences
from ltat_tune.space.reader import read_space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import TEST
from ltat_tune.storage.trials import LedgerView
from tests.drive import MINI
from tests.made_studies import Trial, made_study, scored

ONE = {"data.imbalance_ratio": [2]}
THREE: dict[str, tuple[Trial, ...]] = {
    "imbalance_ratio_2": (("complete", 0.3), ("complete", 0.6), ("complete", 0.5))
}


def _collected(folder: StudyFolder) -> tuple[StudyResults, ScenarioResults]:
    results = collect(read_space(folder.space), folder, LedgerView(folder))
    return results, results.scenarios[0]


def _made(out: Path, confirmed: Any = scored, **confirm: Any) -> StudyFolder:
    return made_study(
        out, trials=THREE, scenarios=ONE, confirmed=confirmed,
        confirm={**MINI["confirm"], **confirm},
    )  # fmt: skip


def _baseline(scenario: ScenarioResults) -> Lead:
    assert scenario.leads.baseline is not None
    return scenario.leads.baseline


def test_the_lead_is_that_of_the_test_images(tmp_path: Path) -> None:
    results, scenario = _collected(_made(tmp_path))
    assert results.verdict_metric == "test/pgd3_balanced_acc"
    lead = _baseline(scenario)
    # half of 0.61 and 0.63 less half of 0.50 and 0.51
    assert lead.gain == pytest.approx((0.61 + 0.63 - 0.50 - 0.51) / 4)
    assert (lead.seeds, lead.images, lead.by_others) == (2, 4000, False)


def test_a_seed_s_lead_is_that_of_the_configuration_which_the_others_choose(
    tmp_path: Path,
) -> None:
    scores = {0: (0.4, 0.4, 0.4), 1: (0.8, 0.5, 0.5), 2: (0.55, 0.55, 0.55)}
    folder = _made(tmp_path, lambda n, s: scores[n][s - 1], top=2, seeds=[1, 2, 3])
    _, scenario = _collected(folder)
    assert scenario.winner is not None and scenario.winner.number == 1  # 0.6 on average
    lead = _baseline(scenario)
    # without seed 1, trial 2 has 0.55 and trial 1 has 0.5; without 2 or 3, trial 1 has 0.65
    assert lead.by_others
    assert lead.gain == pytest.approx(((0.55 + 0.5 + 0.5) / 3 - 0.4) / 2)
    second = scenario.leads.runner_up
    assert second is not None and second.number == 2
    assert second.gain == pytest.approx(((0.55 - 0.8) + (0.5 - 0.55) + (0.5 - 0.55)) / 3 / 2)


def test_a_seed_that_the_search_used_proves_nothing(tmp_path: Path) -> None:
    # a study of before may confirm with seed 0, which chose the winner
    _, scenario = _collected(_made(tmp_path, seeds=[0, 1, 2]))
    assert scenario.winner is not None and scenario.winner.seeds == [0, 1, 2]
    assert _baseline(scenario).seeds == 2
    _, alone = _collected(_made(tmp_path / "alone", seeds=[0, 1]))
    assert (_baseline(alone).p, _baseline(alone).test) == (
        None, "none: fewer than 2 seeds that the search did not use"
    )  # fmt: skip


def test_answers_that_an_earlier_version_did_not_keep_give_no_interval(tmp_path: Path) -> None:
    folder = _made(tmp_path)
    for path in (folder.root / "confirmations").rglob(TEST):
        document = json.loads(path.read_text())
        del document["correct"]
        path.write_text(json.dumps(document))
    _, scenario = _collected(folder)
    lead = _baseline(scenario)
    assert (lead.p, lead.low, lead.high) == (None, None, None)
    assert lead.test.startswith("none: an earlier version")
    assert lead.gain == pytest.approx(0.0575)


def test_the_verdict_is_about_the_objective_s_own_attack_if_it_was_tested() -> None:
    metric = "val/pgd20_balanced_acc"
    assert verdict_metric(metric, ["clean", "pgd20", "aa"]) == "test/pgd20_balanced_acc"
    assert verdict_metric("val/pgd10_tail_acc", ["clean", "aa", "pgd20"]) == "test/pgd20_tail_acc"
    assert verdict_metric("val/pgd10_acc", ["clean", "aa"]) == "test/aa_acc"
    assert verdict_metric(metric, ["clean"]) == "test/clean_balanced_acc"


def test_with_one_seed_no_other_can_choose(tmp_path: Path) -> None:
    # the search ranked trial 1 first; its seed is worse than that of trial 2, which wins
    folder = _made(tmp_path, lambda n, s: (0.4, 0.5, 0.6)[n], top=2, seeds=[1])
    _, scenario = _collected(folder)
    assert scenario.winner is not None and scenario.winner.number == 2
    second = scenario.leads.runner_up
    assert second is not None and (second.number, second.by_others) == (1, False)
    assert second.gain == pytest.approx(0.05)
    assert (second.p, second.low) == (None, None)


def test_a_candidate_below_a_bound_is_no_runner_up(tmp_path: Path) -> None:
    objective = {"metric": "val/pgd3_balanced_acc", "at_least": {"val/pgd3_balanced_acc": 0.45}}
    folder = made_study(
        tmp_path, trials=THREE, scenarios=ONE, objective=objective,
        confirmed=lambda n, s: (0.4, 0.5, 0.44)[n], confirm={**MINI["confirm"], "top": 2},
    )  # fmt: skip
    _, scenario = _collected(folder)
    assert scenario.winner is not None and scenario.winner.number == 1
    assert scenario.leads.runner_up is None


def test_an_untested_baseline_gives_no_lead(tmp_path: Path) -> None:
    folder = _made(tmp_path)
    _, scenario = _collected(folder)
    assert scenario.rival is not None
    for seed in (1, 2):
        path = folder.confirmation("imbalance_ratio_2", scenario.rival.recipe, seed)
        (path / TEST).unlink()
    results, scenario = _collected(folder)
    assert scenario.leads.baseline is None
    (sentence,) = sentences(results)
    assert "; it has no tested lead over the baseline: the baseline is not tested yet" in sentence
    assert "is best" not in sentence
