"""The space file's keys as data: every field of every model; and the table in the README."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltat_tune.space.reference import SPACE_KEYS, keys_of, reference_table, shown_default
from ltat_tune.space.spec import SECTIONS, WarmStart
from scripts import space_reference

README = Path(__file__).parents[2] / "search_spaces" / "README.md"


@pytest.mark.parametrize("path", SPACE_KEYS)
def test_every_key_has_a_meaning(path: str) -> None:
    meaning = SPACE_KEYS[path].meaning
    assert len(meaning) > 15
    assert not meaning.endswith(".")


@pytest.mark.parametrize(("section", "model"), [*SECTIONS.items(), ("warm_start", WarmStart)])
def test_a_section_lists_every_field_of_its_model(section: str, model: type[WarmStart]) -> None:
    expected = [f"{section}.{name}" for name in model.model_fields]
    assert [key.path for key in keys_of(section)] == expected


@pytest.mark.parametrize(
    ("path", "kind", "values", "default"),
    [
        ("searcher.trials", "int", "[1, 100000]", "20"),
        ("searcher.startup_trials", "int", "[1, inf)", "null"),
        ("scheduler.reduction_factor", "float", "(1, 100]", "3"),
        ("scheduler.fidelity", "mapping", "mapping", "null"),
        ("confirm.attacks", "list", "list", "[clean, pgd20, aa]"),
        ("confirm.sentinel", "bool", "true | false", "true"),
        ("resources.gpus_per_trial", "float", "[0, inf) | auto", "0"),
        ("objective.at_least", "mapping", "mapping", "{}"),
        ("warm_start.study", "text", "text", "required"),
        ("tuned.type", "choice", "float | int | categorical", "required"),
        ("budget", "text", "text", "null"),
    ],
)
def test_a_key_says_what_it_may_hold(path: str, kind: str, values: str, default: str) -> None:
    key = SPACE_KEYS[path]
    assert (key.kind, key.range, shown_default(key)) == (kind, values, default)


def test_the_table_has_a_row_for_every_key() -> None:
    rows = reference_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(SPACE_KEYS)
    assert all(row.replace(r"\|", "").count("|") == 5 for row in rows)


def test_the_script_replaces_what_is_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{space_reference.BEGIN}\nold\n{space_reference.END}\nafter\n")
    assert space_reference.main([str(page), "--check"]) == 1
    assert "old" in page.read_text()
    assert space_reference.main([str(page)]) == 0
    table = f"{space_reference.BEGIN}\n{reference_table()}{space_reference.END}\n"
    assert page.read_text() == f"before\n{table}after\n"
    assert space_reference.main([str(page), "--check"]) == 0


def test_the_table_in_the_readme_is_up_to_date() -> None:
    if not README.exists() or space_reference.BEGIN not in README.read_text():
        pytest.skip("search_spaces/README.md has no table of the space file's keys")
    assert space_reference.main([str(README), "--check"]) == 0, "run scripts/space_reference.py"
