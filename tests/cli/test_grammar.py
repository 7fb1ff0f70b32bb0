"""One grammar: the same words, lists, formats and scenarios in every command."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from ltat_tune.cli import main, options, words
from tests.made_studies import METRIC, made_study

POSITIONAL = {
    "SPACE", "STUDY", "TRIAL", "CONFIG", "STUDY...", "[STUDY]", "[STUDY]...", "[STUDY|TRIAL]...",
    "STUDY|TRIAL|CONFIG|CHECKPOINT...", "SCRIPT", "DATASET", "[KIND]", "[SECTION|WORD]",
}  # fmt: skip
COMMANDS = sorted(main.commands)


def invoke(*arguments: str | Path) -> Result:
    runner = CliRunner(env={"COLUMNS": "200", "MLFLOW_TRACKING_URI": None})
    return runner.invoke(main, [str(argument) for argument in arguments])


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def options_of(name: str) -> dict[str, click.Option]:
    found = [p for p in main.commands[name].params if isinstance(p, click.Option)]
    return {name: option for option in found if not option.hidden for name in option.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_positional_words_are_those_of_the_glossary(name: str) -> None:
    arguments = [p for p in main.commands[name].params if isinstance(p, click.Argument)]
    assert {argument.metavar for argument in arguments} <= POSITIONAL


def test_an_option_takes_the_same_value_in_every_command() -> None:
    known: dict[str, Any] = {}
    for name in COMMANDS:
        for spelling, option in options_of(name).items():
            if spelling == "--out" and name in ("init", "adopt"):  # which write a file
                continue
            if spelling == "--scenario" and name in ("show", "logs"):  # of their one trial
                continue
            if spelling == "--checkpoint" and name == "compare":  # which takes several
                continue
            if spelling in ("--format", "--trials", "--tracking-uri", "--root", "--to"):
                continue
            what = (option.is_flag, option.multiple, option.metavar)
            assert known.setdefault(spelling, what) == what, (name, spelling)


def test_a_seed_is_that_of_a_training_and_a_checkpoint_is_a_file() -> None:
    assert [name for name in COMMANDS if "--seed" in options_of(name)] == ["train"]
    for name in COMMANDS:
        if (option := options_of(name).get("--checkpoint")) is not None:
            assert str(option.metavar).removesuffix(",...") == "CHECKPOINT"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_list_is_comma_separated_and_repeatable(name: str) -> None:
    for spelling, option in options_of(name).items():
        if spelling != "--set":  # whose values may hold commas
            assert option.multiple == str(option.metavar).endswith(",..."), spelling
    for spelling, option in options_of(name).items():
        if "comma-separated" in (option.help or ""):
            assert option.multiple, spelling


@pytest.mark.parametrize("name", [n for n in COMMANDS if "--format" in options_of(n)])
def test_every_listing_has_three_formats(name: str) -> None:
    kind = options_of(name)["--format"].type
    assert isinstance(kind, click.Choice)
    assert list(kind.choices)[:3] == ["table", "json", "csv"]


@click.command()
@words.listed("--by", metavar="WORD", help="x")
@words.listed("--kind", metavar="KIND", help="x", choices=("loss", "method"))
@words.listed_text("--eps", metavar="RADIUS", help="x")
@click.option("--test-images", type=int)
@words.renamed_option("--images", "--test-images", type=int)
@click.option("--weights", is_flag=True)
@words.renamed_option("--checkpoint", "--weights", is_flag=True)
def example(**given: Any) -> None:
    """Print what was given."""
    click.echo(json.dumps(given))


def given(*arguments: str) -> tuple[dict[str, Any], str]:
    done = CliRunner().invoke(example, arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), done.stderr


def test_lists_are_split_joined_and_keep_their_order() -> None:
    found, _ = given("--by", "loss, model,loss", "--by", "data", "--eps", "1/255", "--eps", "2,3")
    assert found["by"] == ["loss", "model", "data"]
    assert found["eps"] == "1/255,2,3"
    assert given()[0]["by"] == [] and given()[0]["eps"] is None


def test_a_word_that_is_no_choice_is_told_the_nearest() -> None:
    done = CliRunner().invoke(example, ["--kind", "loss,methd"])
    assert done.exit_code == 2
    assert "unknown 'methd'; did you mean method? Choose from: loss, method" in done.output


def test_an_old_spelling_works_and_names_the_new_one() -> None:
    found, said = given("--images", "7", "--checkpoint")
    assert (found["test_images"], found["weights"]) == (7, True)
    assert said.splitlines() == [
        "note: --images is now --test-images", "note: --checkpoint is now --weights",
    ]  # fmt: skip
    assert given("--images", "7", "--test-images", "5")[0]["test_images"] == 5
    assert "--images" not in CliRunner().invoke(example, ["--help"]).output.replace(
        "--test-images", ""
    )


def test_every_listing_as_csv_has_the_rows_of_its_json(tmp_path: Path) -> None:
    made_study(tmp_path)
    trial = "made/imbalance_ratio_2/t0001"
    listings = [
        ["ls", "--out", str(tmp_path)], ["ls", "methods"], ["ls", "attacks"], ["ls", "spaces"],
        ["params", "optim"], ["figures", "--list"], ["doctor", "made", "--out", str(tmp_path)],
    ]  # fmt: skip
    for words_given in listings:
        read = rows(invoke(*words_given, "--format", "csv").stdout)
        data = json.loads(invoke(*words_given, "--format", "json").stdout)
        assert len(read) == len(data) > 0, words_given
        if words_given[0] != "doctor":  # whose sentences hold what no reader of CSV keeps
            first = {k: v for k, v in data[0].items() if isinstance(v, str)}
            assert first.items() <= read[0].items()
    shown = {
        row["name"]: row["value"]
        for row in rows(invoke("show", trial, "--out", tmp_path, "--format", "csv").stdout)
    }
    assert shown["parameters.loss.name.value"] == "balanced_softmax"
    assert float(shown["score"]) == 0.6
    assert {row["name"] for row in rows(invoke("version", "--format", "csv").stdout)} >= {"torch"}


def test_logs_and_what_would_be_deleted_as_csv(tmp_path: Path) -> None:
    folder = made_study(tmp_path)
    out = ("--out", tmp_path, "--format", "csv")
    events = rows(invoke("logs", "made/imbalance_ratio_2/t0001", *out).stdout)
    assert any("60.0 %" in row["event"] or "complete" in row["event"] for row in events)
    listed = rows(invoke("gc", "made", "--dry-run", *out).stdout)
    assert listed and all(Path(row["path"]).is_relative_to(folder.root) for row in listed)
    assert invoke("gc", "made", *out).exit_code == 2


def test_cells_of_csv_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    options.print_rows([{"a": None, "b": [1, "é"]}, {"a": True, "c": "=1+1"}], "csv")
    first, second = rows(capsys.readouterr().out)
    assert first == {"a": "", "b": '[1, "é"]', "c": ""}
    assert second == {"a": "true", "b": "", "c": "'=1+1"}  # no formula of a spreadsheet


def test_a_plan_and_its_first_trials_as_csv(tmp_path: Path) -> None:
    space = "search_spaces/quickstart.yaml"
    plan = rows(
        invoke("plan", space, "--scenario", "imbalance_ratio_50", "--format", "csv").stdout
    )
    assert [row["name"] for row in plan] == ["imbalance_ratio_50"]
    first = rows(invoke("run", space, "--dry-run", "--format", "csv").stdout)
    assert {row["scenario"] for row in first} == {"imbalance_ratio_10", "imbalance_ratio_50"}
    assert first[0]["optim.lr"] == "0.1" and first[0]["trial"] == "t0000"


def test_scenarios_can_be_chosen_wherever_a_study_has_several(tmp_path: Path) -> None:
    made_study(tmp_path)
    out = ("--out", tmp_path)
    only = invoke("compare", "made", "--scenario", "imbalance_ratio_4", *out).stdout
    assert "data.imbalance_ratio = 4" in only and "data.imbalance_ratio = 2" not in only
    by = rows(
        invoke("compare", "made", "--by", "loss", "--scenario", "imbalance_ratio_4",
               "--metric", METRIC, "--format", "csv", *out).stdout
    )  # fmt: skip
    assert {row["problem"] for row in by} == {"data.imbalance_ratio = 4 (1 reached)"}
    shown = invoke("show", "made/t0001", "--scenario", "imbalance_ratio_4", *out)
    assert shown.exit_code == 0 and "imbalance_ratio_4/t0001" in shown.stdout
    assert invoke("logs", "made", "1", "--scenario", "imbalance_ratio_2", *out).exit_code == 0
    wrong = invoke("compare", "made", "--scenario", "imbalance_ratio_5", *out)
    assert wrong.exit_code == 2
    assert "no scenario imbalance_ratio_5 in made; did you mean imbalance_ratio_4? Choose from: " \
        "imbalance_ratio_2, imbalance_ratio_4" in wrong.stderr  # fmt: skip


def test_a_study_is_named_by_its_name_or_its_folder(tmp_path: Path) -> None:
    folder = made_study(tmp_path).root
    for name in ("compare", "doctor"):
        assert invoke(name, folder).stdout == invoke(name, "made", "--out", tmp_path).stdout != ""
