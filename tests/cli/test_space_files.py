"""`init` and `schema` by the command: what is asked, taken, refused and printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ltat_tune.cli import main
from ltat_tune.cli.commands import space_files
from ltat_tune.preflight.load import load_space


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(*arguments: str, answers: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=answers)


def test_flags_write_a_file_that_is_checked(here: Path) -> None:
    done = _run("init", "--data", "digits", "--methods", "pgd_at,srat", "--ratios", "10,50",
                "--budget", "1h")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "wrote digits.yaml"
    assert done.stdout.splitlines()[-1] == "  ltat-tune run digits.yaml"
    space = load_space(here / "digits.yaml")
    assert (space.name, str(space.budget), len(space.scenarios)) == ("digits", "1h", 2)


def test_what_is_not_given_is_taken_and_said(here: Path) -> None:
    done = _run("init", "--ratios", "5", "--out", "mine.yaml")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.splitlines() == [
        "note: --data was not given; using digits",
        "note: --methods was not given; using pgd_at,srat",
    ]
    assert load_space(here / "mine.yaml").name == "mine"


def test_a_file_that_exists_is_kept(here: Path) -> None:
    (here / "digits.yaml").write_text("mine")
    done = _run("init", "--data", "digits")
    assert done.exit_code == 2
    assert "digits.yaml already exists; write another file with --out FILE" in done.stderr
    assert (here / "digits.yaml").read_text() == "mine"
    assert _run("init", "--data", "digits", "--overwrite").exit_code == 0
    assert load_space(here / "digits.yaml").name == "digits"


def test_everything_that_is_wrong_is_said_at_once(here: Path) -> None:
    done = _run("init", "--data", "digts", "--methods", "srat,pgd", "--ratios", "0.02",
                "--budget", "soon")  # fmt: skip
    assert done.exit_code == 2
    first, *problems = done.stderr.splitlines()
    assert first == "error: 4 problems, nothing was started:"
    assert [line.split()[0] for line in problems] == [
        "--data",
        "--methods",
        "--ratios",
        "--budget",
    ]
    assert problems[0].endswith("got 'digts'; did you mean digits?")
    assert list(here.iterdir()) == []


def test_what_the_study_would_refuse_leaves_no_file(here: Path) -> None:
    done = _run("init", "--data", "digits", "--budget", "3gpuh")
    assert done.exit_code == 2
    assert "budget 3gpuh counts GPU hours, but resources.gpus_per_trial is 0" in done.stderr
    assert list(here.iterdir()) == []


def test_a_terminal_is_asked_until_the_answer_is_right(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space_files, "is_terminal", lambda: True)
    done = _run("init", "--methods", "trades", answers="imagenet\ncifar10\n0.5\n20,100\n\n")
    assert done.exit_code == 0, done.stderr
    assert "Data set, or a folder or file of images [digits]: " in done.stderr
    assert "must be one of digits, cifar10" in done.stderr
    assert "Imbalance ratios, comma-separated [50]: " in done.stderr
    assert "Methods" not in done.stderr
    space = load_space(here / "cifar10.yaml", check_machine=False)
    assert [s.values["data.imbalance_ratio"] for s in space.scenarios] == [20, 100]
    assert space.budget is None


def test_the_schema_is_printed_as_json() -> None:
    done = _run("schema")
    assert done.exit_code == 0
    schema = json.loads(done.stdout)
    assert schema["title"] == "ltat-tune space file"
    assert "λ" in done.stdout  # letters, not escapes


def test_a_file_of_images_is_data_and_its_own_validation_images_are_used(here: Path) -> None:
    labels = np.repeat(np.arange(3), (200, 120, 90))
    arrays: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        arrays |= {f"{split}_images": np.zeros((410, 28, 28), np.uint8), f"{split}_labels": labels}
    np.savez(here / "scans.npz", **arrays)
    done = _run("init", "--data", "scans.npz", "--methods", "pgd_at", "--ratios", "2")
    assert done.exit_code == 0, done.stderr
    space = load_space(here / "scans.yaml", check_machine=False)
    assert space.name == "scans"
    data = space.config(space.scenarios[0], {}).data
    assert (data.name, data.root, data.val_source) == ("npz", "scans.npz", "given")
    (here / "list.txt").write_text("no images")
    refused = _run("init", "--data", "list.txt").stderr
    assert "a folder that holds train/ and test/, or an .npz or .csv file, got" in refused
