"""`params`: training parameters and the space file's own keys, by section, word and symbol."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ltat_tune.cli import main
from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.space.reference import SPACE_KEYS


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["params", *arguments])


def _paths(*arguments: str) -> list[str]:
    rows: Any = json.loads(_run(*arguments, "--format", "json").stdout)
    return [row["path"] for row in rows]


@pytest.mark.parametrize(
    "section",
    ["objective", "searcher", "scheduler", "confirm", "resources", "warm_start", "budget"],
)
def test_a_section_of_the_space_file_is_printed(section: str) -> None:
    expected = [path for path in SPACE_KEYS if path.partition(".")[0] == section]
    assert _paths(section) == expected
    text = " ".join(_run(section).stdout.split())
    for path in expected:
        assert f"{path} " in text
        assert SPACE_KEYS[path].range in text
        assert SPACE_KEYS[path].meaning in text


@pytest.mark.parametrize("section", ["evaluation", "reweight", "seeds"])
def test_a_section_of_the_parameters_is_printed_alone(section: str) -> None:
    assert _paths(section) == [path for path in PARAMETERS if path.startswith(f"{section}.")]


def test_what_else_is_about_a_sections_word_is_named() -> None:
    assert "Also about reweight: attack.reweight" in _run("reweight").stdout


def test_params_alone_lists_training_parameters_and_names_the_files_sections() -> None:
    assert _paths() == list(PARAMETERS)
    last = _run().stdout.splitlines()[-1]
    assert "sections: name, plugins, script, objective" in last
    assert "ltat-tune params SECTION" in last


def test_a_word_finds_keys_of_the_space_file_too() -> None:
    assert _paths("grace") == ["scheduler.grace_epochs"]
    assert "resources.hang_floor_s" in _paths("hang")


@pytest.mark.parametrize(
    ("letter", "name", "first"),
    [
        ("λ", "lambda", "method.separation_weight"),
        ("τ", "tau", "method.temperature"),
        ("β", "beta", "method.beta"),
        ("η", "eta", "optim.lr"),
        ("γ", "gamma", "loss.gamma"),
        ("ε", "epsilon", "attack.eps"),
        ("α", "alpha", "attack.step_size"),
    ],
)
def test_a_letter_and_its_name_find_the_same(letter: str, name: str, first: str) -> None:
    found = _paths(name)
    assert first in found
    for written in (letter, letter.upper(), name.upper()):
        assert _paths(written) == found
    # eta is not looked for inside beta, nor the letter's name in what a parameter means
    symbols = [PARAMETERS[path].symbol for path in found]
    assert all(letter in symbol for symbol in symbols), symbols


def test_an_index_narrows_a_letter_down() -> None:
    assert _paths("tau_b") == _paths("τ_b") == ["loss.tau"]


def test_a_name_of_other_code_is_found() -> None:
    assert "data.imbalance_ratio" in _paths("imb_factor")


def test_what_matches_nothing_is_refused() -> None:
    done = _run("lamda_sep")
    assert done.exit_code == 2
    assert "no parameter matches 'lamda_sep'" in done.stderr
