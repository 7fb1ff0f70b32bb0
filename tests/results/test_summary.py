"""The summary in the terminal: classes by name, and what ± is."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltat_tune.results.model import StudyResults, read_results
from ltat_tune.results.race.choice import ChoiceCounts
from ltat_tune.results.summary import as_text
from ltat_tune.results.wording import CHANCE, SPREAD
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


def test_the_race_stands_in_a_table_of_80_columns(results: StudyResults) -> None:
    choices = [
        ChoiceCounts(path="reweight.name", choice="class_balanced", trials=12, complete=9, owed=2,
                     epochs=1234, best=0.612, chance=0.071),
        ChoiceCounts(path="reweight.name", choice="none", trials=0, complete=0),
    ]  # fmt: skip
    raced = [one.model_copy(update={"choices": choices}) for one in results.scenarios]
    lines = as_text(results.model_copy(update={"scenarios": raced}), width=80).splitlines()
    row = next(line for line in lines if line.startswith("reweight.name class_balanced"))
    assert row.split() == ["reweight.name", "class_balanced", "12", "9", "(2", "owed)", "1234",
                           "61.2", "7"]  # fmt: skip
    assert lines.count(CHANCE) == len(results.scenarios)


def _shown(results: StudyResults, counts: list[int], classes: list[str]) -> str:
    """The summary, had every configuration been trained on these images, in one line."""
    scenarios = []
    for one in results.scenarios:
        facts = {"samples_per_class": counts, "classes": classes}
        confirmed = [configuration.model_copy(update=facts) for configuration in one.confirmed]
        scenarios.append(one.model_copy(update={"confirmed": confirmed}))
    return " ".join(as_text(results.model_copy(update={"scenarios": scenarios})).split())
