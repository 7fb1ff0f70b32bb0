"""`ltat-tune figures`: what it writes, what it says is missing, and its list."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ltat_tune.cli import main
from ltat_tune.figures.registry import FIGURES
from ltat_tune.files import write_json
from ltat_tune.tracking import Tracker
from tests.figures.reat_studies import trained_once

ROOT = Path(__file__).parents[2]
# MLflow's own, about what it is built on
FROM_MLFLOW = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_once(tmp_path_factory)


def figures(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["figures", *map(str, arguments)])


def test_the_list_lacks_no_figure_of_either_paper() -> None:
    rows = json.loads(figures("--list", "--format", "json").stdout)
    shown = {(row["paper"], row["figure"]) for row in rows}
    assert {("REAT", f"Figure {n}") for n in range(1, 12)} <= shown
    assert ("REAT", "Table 14") in shown
    assert {("SRAT", f"Figure {n}") for n in range(1, 17)} <= shown
    assert all(row["shows"] and row["command"] and row["needs"] for row in rows)
    needs = {row["key"]: row["needs"] for row in rows}
    assert needs["srat_13"] == "no training"
    assert needs["reat_04"] == "weights in checkpoint.pt, accuracies"


def test_the_list_as_text_has_every_key_and_whole_commands() -> None:
    text = figures("--list").stdout
    for key, spec in FIGURES.items():
        assert re.search(rf"^{key} ", text, flags=re.MULTILINE)
        assert spec.draw is None or spec.command in text


def test_commands_name_space_files_that_exist() -> None:
    for spec in FIGURES.values():
        for path in re.findall(r"search_spaces/\S+\.yaml", spec.command):
            assert (ROOT / path).exists(), (spec.key, path)


def test_keys_of_the_table_are_those_of_its_entries() -> None:
    assert [spec.key for spec in FIGURES.values()] == list(FIGURES)


def test_pictures_of_a_study_and_the_command_for_those_that_lack(
    study: Path, tmp_path: Path
) -> None:
    done = figures(study, "--only", "reat_05,srat_05", "--to", tmp_path / "to")
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "to").iterdir()} == {"reat_05.pdf", "reat_05.png"}
    assert f"{tmp_path / 'to' / 'reat_05.png'}" in done.stdout
    assert "srat_05           missing: " in done.stdout
    assert "make it with: ltat-tune run search_spaces/papers/srat_figure_05" in done.stdout


def test_without_only_what_is_drawn_comes_first_and_what_lacks_fills_a_line_a_paper(
    study: Path, tmp_path: Path
) -> None:
    done = figures(
        study, "--scenario", "profile_exp", "--test-images", "50", "--to", tmp_path / "to"
    )
    lines = done.stdout.splitlines()
    drawn = [line for line in lines if ".png" in line]
    assert lines[: len(drawn)] == drawn and drawn
    lacking = [line for line in lines if line.startswith("not drawn, of ")]
    assert any(line.startswith("not drawn, of SRAT: ") for line in lacking)
    assert len(lines) == len(drawn) + len(lacking) + 1


def test_a_scenario_that_no_study_has_is_refused_with_those_there_are(study: Path) -> None:
    done = figures(study, "--scenario", "profile_exq")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: no scenario profile_exq in ")
    assert "; did you mean profile_exp? Choose from: profile_" in done.stderr


def test_one_training_alone_is_a_target_and_json_says_the_same(
    study: Path, tmp_path: Path
) -> None:
    run = study / "trials" / "profile_exp" / "t0000"
    done = figures(run, "--only", "reat_01", "--only", "reat_05", "--to", tmp_path, "--format",
                   "json")  # fmt: skip
    drawn, lacking = json.loads(done.stdout)
    assert [Path(path).name for path in drawn["files"]] == ["reat_01.pdf", "reat_01.png"]
    assert "without PGD-AT, balanced" in drawn["notes"]
    assert lacking["files"] == []
    assert lacking["missing"] == "a trained RoBal or REAT"
    assert lacking["command"].startswith("ltat-tune run search_spaces/papers/reat_table_03")


def test_status_1_where_nothing_could_be_drawn(study: Path, tmp_path: Path) -> None:
    assert figures(study, "--only", "srat_05", "--to", tmp_path).exit_code == 1


@FROM_MLFLOW
def test_figures_are_artifacts_of_the_studys_own_run(study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tracked"
    shutil.copytree(study, copy)
    write_json(copy / "study.json", {"format": 1, "tracking_uri": None, "uid": "u1"})
    tracker = Tracker(None, "tracked", copy, "u1")
    tracker.start()
    tracker.wait_until_ready()
    tracker.finish("complete")
    assert figures(copy, "--only", "reat_05", "--to", tmp_path / "to").exit_code == 0
    kept = {path.name for path in copy.glob("mlflow-artifacts/*/artifacts/figures/*")}
    assert kept == {"reat_05.pdf", "reat_05.png"}


@FROM_MLFLOW
def test_a_store_that_does_not_answer_is_a_note(study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "broken"
    shutil.copytree(study, copy)
    (copy / "mlflow.db").write_text("not a database")
    done = figures(copy, "--only", "reat_05", "--to", tmp_path / "to")
    assert done.exit_code == 0
    assert "note: not in MLflow: sqlite:///" in done.stderr
    assert (tmp_path / "to" / "reat_05.pdf").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a study or the folder of a training, or use --list"),
        (
            ["--only", "reat_99", "x"],
            "unknown figure 'reat_99'; did you mean reat_09? ",
        ),
        (["nowhere"], "is neither a study"),
    ],
)
def test_wrong_usage_is_said_with_status_2(arguments: list[str], message: str) -> None:
    done = figures(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
