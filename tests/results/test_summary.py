"""The summary in the terminal: classes by name, and what ± is."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltat_tune.results.model import StudyResults, read_results
from ltat_tune.results.summary import as_text
from ltat_tune.results.wording import SPREAD
from tests.made_studies import made_study


@pytest.fixture
def results(tmp_path: Path) -> StudyResults:
    found = read_results(made_study(tmp_path))
    assert found is not None
    return found


def test_the_legend_of_the_spread_stands_once_under_each_table(results: StudyResults) -> None:
    lines = as_text(results).splitlines()
    assert lines.count(SPREAD) == len(results.scenarios) == 2
    last_row = lines.index(SPREAD) - 1
    assert lines[last_row].startswith("test/pgd3_tail_acc")


def test_one_seed_has_neither_spread_nor_legend(tmp_path: Path) -> None:
    found = read_results(made_study(tmp_path, confirm={"top": 1, "seeds": [1]}))
    assert found is not None
    assert "±" not in as_text(found)


def test_counts_stand_beside_the_names_of_the_classes(results: StudyResults) -> None:
    few = _shown(results, [480, 137, 9], ["cat", "dog", "frog"])
    assert "626 training images, imbalance ratio 53.33, by class: cat (480), dog (137), " in few
    many = _shown(results, [*range(480, 380, -1)], [f"c{i}" for i in range(100)])
    assert "by class: from c0 (480) to c99 (381), 100 classes" in many


def _shown(results: StudyResults, counts: list[int], classes: list[str]) -> str:
    """The summary, had every configuration been trained on these images, in one line."""
    scenarios = []
    for one in results.scenarios:
        facts = {"samples_per_class": counts, "classes": classes}
        confirmed = [configuration.model_copy(update=facts) for configuration in one.confirmed]
        scenarios.append(one.model_copy(update={"confirmed": confirmed}))
    return " ".join(as_text(results.model_copy(update={"scenarios": scenarios})).split())
