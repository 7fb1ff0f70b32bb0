"""`results.json`, written and read again, also as 0.4.0 wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ltat_tune.errors import StudyError
from ltat_tune.results.model import (
    ConfirmedResult,
    ScenarioResults,
    StudyResults,
    read_results,
    write_results,
)
from ltat_tune.storage.folder import StudyFolder
from tests.made_studies import METRIC, made_study


def _results(out: Path) -> tuple[StudyFolder, StudyResults]:
    folder = made_study(out)
    results = read_results(folder)
    assert results is not None
    return folder, results


def _without_version(folder: StudyFolder) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(folder.results.read_text())
    assert document.pop("version") == 2
    return document


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    folder, results = _results(tmp_path)
    write_results(folder, results)
    assert read_results(folder) == results
    assert results.as_data() == _without_version(folder)


def test_the_winner_and_the_baseline_are_among_the_confirmed(tmp_path: Path) -> None:
    _, results = _results(tmp_path)
    for scenario in results.scenarios:
        winner, baseline = scenario.winner, scenario.baseline
        assert winner is not None and baseline is not None
        assert (winner.number, winner.recipe) == (1, scenario.winner_recipe)
        assert (baseline.number, baseline.recipe) == (0, scenario.baseline_recipe)
        assert scenario.rival is baseline
        assert winner.scores("val", METRIC) == pytest.approx([0.61, 0.63])
        assert winner.scores("test", "test/clean_acc") == pytest.approx([0.305, 0.315])
        assert winner.scores("val", "val/none_acc") == []


def _row(number: int, *scores: float, **changes: Any) -> ConfirmedResult:
    facts: dict[str, Any] = {
        "recipe": f"{number}", "number": number, "search_score": 0.5, "is_winner": True,
        "is_baseline": False, "params": {}, "seeds": list(range(len(scores))),
        "val": {METRIC: list(scores)} if scores else {}, "test": {},
    }  # fmt: skip
    return ConfirmedResult(**(facts | changes))


def _scenario(results: StudyResults, **changes: Any) -> ScenarioResults:
    return results.scenarios[0].model_copy(update=changes)


def test_a_baseline_that_wins_has_no_rival(tmp_path: Path) -> None:
    _, results = _results(tmp_path)
    recipe = results.scenarios[0].baseline_recipe
    scenario = _scenario(results, winner_recipe=recipe)
    assert scenario.winner == scenario.baseline
    assert scenario.rival is None
    assert _scenario(results, winner_recipe=None).winner is None


def test_contenders_are_the_search_s_best_by_seeds_then_by_their_mean(tmp_path: Path) -> None:
    _, results = _results(tmp_path)
    rows = [
        _row(1, 0.40, 0.42), _row(2, 0.9), _row(3, 0.41, 0.43), _row(4),
        _row(5, 0.8, 0.8, is_winner=False, is_baseline=True),
    ]  # fmt: skip
    contenders = _scenario(results, confirmed=rows).contenders(METRIC)
    assert [one.number for one in contenders] == [3, 1, 2]


def test_results_of_0_4_0_have_no_version_and_are_dumped_as_they_were(tmp_path: Path) -> None:
    folder, _ = _results(tmp_path)
    before = _without_version(folder)
    del before["smoke"], before["confirm"]["sentinel"]
    for scenario in before["scenarios"]:
        for name in ("exhausted", "infeasible", "front", "rungs", "edges", "leads", "sentinel"):
            del scenario[name]
        for row in scenario["confirmed"]:
            del row["test_images"]
    folder.results.write_text(json.dumps(before))
    results = read_results(folder)
    assert results is not None and not results.smoke and not results.confirm.sentinel
    scenario = results.scenarios[0]
    assert (scenario.leads.baseline, scenario.edges, scenario.sentinel) == (None, [], None)
    assert results.as_data() == before


def test_results_of_a_later_version_are_refused(tmp_path: Path) -> None:
    folder, _ = _results(tmp_path)
    document = json.loads(folder.results.read_text())
    folder.results.write_text(json.dumps({**document, "version": 7}))
    with pytest.raises(StudyError) as caught:
        read_results(folder)
    assert str(caught.value) == (
        f"{folder.results} must have version 2 or an earlier one, got version 7; read it with "
        "the ltat-tune that wrote it, or a later one"
    )


def test_results_that_lack_something_are_refused_with_what_they_lack(tmp_path: Path) -> None:
    folder, _ = _results(tmp_path)
    document = json.loads(folder.results.read_text())
    del document["scenarios"][1]["title"]
    folder.results.write_text(json.dumps(document))
    with pytest.raises(StudyError, match=r"not as ltat-tune writes it \(scenarios.1.title: Field"):
        read_results(folder)


def test_a_study_without_results_has_none(tmp_path: Path) -> None:
    assert read_results(made_study(tmp_path, finished=False)) is None
