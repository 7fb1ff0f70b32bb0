"""What `ltat-tune ls` names: every choice there is, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltat_tune.config.attack_names import WRITTEN, is_attack
from ltat_tune.config.catalogue import ATTACK_CHOICES, CATALOGUE
from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.space.listing import find_spaces

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("methods", "method.name"),
        ("losses", "loss.name"),
        ("datasets", "data.name"),
        ("models", "model.name"),
        ("attacks", "attack.norm"),
        ("attacks", "attack.start"),
        ("attacks", "attack.objective"),
        ("attacks", "attack.reweight"),
    ],
)
def test_every_choice_is_listed_once_in_its_order(kind: str, path: str) -> None:
    listed = [entry.name for entry in CATALOGUE[kind] if entry.chosen_by == path]
    assert listed == list(PARAMETERS[path].choices)


def test_evaluation_attacks_are_those_that_can_be_asked_for() -> None:
    names = [entry.name for entry in ATTACK_CHOICES if entry.chosen_by == "confirm.attacks"]
    assert names == WRITTEN.partition(";")[0].split(", ")
    assert all(is_attack(name.replace("<steps>", "20")) for name in names)


def test_the_papers_names_of_attack_weights_are_given() -> None:
    """REAT Table 2."""
    weights = {e.name: e.symbol for e in ATTACK_CHOICES if e.chosen_by == "attack.reweight"}
    assert list(weights.values()) == ["", "RW", "RWS", "ENR", "BRW", "RBL"]
    assert weights["class_balanced"] == "ENR"


@pytest.mark.parametrize("kind", CATALOGUE)
def test_entries_name_parameters_that_exist_and_say_what_they_are(kind: str) -> None:
    for entry in CATALOGUE[kind]:
        assert set(entry.parameters) <= set(PARAMETERS), entry.name
        assert 0 < len(entry.what) <= 75 and "\n" not in entry.what
        assert entry.chosen_by in PARAMETERS or entry.chosen_by == "confirm.attacks"


def test_parameters_that_act_under_one_method_only_stand_with_it() -> None:
    listed = {path for entry in CATALOGUE["methods"] for path in entry.parameters}
    around = {  # go with any method
        "awp_gamma", "awp_start_fraction", "extra_forwards", "name", "teacher",
        "distillation_weight",
    }  # fmt: skip
    own = {path for path in PARAMETERS if path.startswith("method.")}
    assert own - {f"method.{name}" for name in around} <= listed


def test_space_files_are_found_with_their_question_and_cost(tmp_path: Path) -> None:
    papers = tmp_path / "search_spaces" / "papers"
    papers.mkdir(parents=True)
    (papers / "b.yaml").write_text("# Table 2 again?\n# Cost: 3 h on one GPU\nname: b\n")
    (papers.parent / "a.yaml").write_text("# Which lr?\n#   ltat-tune run x\nname: a\n")
    (papers.parent / "c.yaml").write_text("name: c\n# Cost: not of the head\n")
    found = find_spaces(tmp_path)
    assert [(Path(f.file).name, f.question, f.cost) for f in found] == [
        ("a.yaml", "Which lr?", ""),
        ("c.yaml", "", ""),
        ("b.yaml", "Table 2 again?", "3 h on one GPU"),
    ]


def test_every_shipped_space_file_is_found_with_a_question() -> None:
    shipped = sorted((ROOT / "search_spaces").rglob("*.yaml"))
    found = find_spaces(ROOT)
    assert sorted(Path(f.file) for f in found) == shipped
    assert all(f.question for f in found)
