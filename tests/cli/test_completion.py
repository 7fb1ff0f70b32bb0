"""Shell completion by click's own protocol, and the help of every command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from ltat_tune.cli import main
from tests.made_studies import made_study

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to type in: two studies, and a folder of space files."""
    folder = tmp_path_factory.mktemp("place")
    made_study(folder / "studies", "made")
    made_study(folder / "studies", "other")
    (folder / "search_spaces").mkdir()
    (folder / "search_spaces" / "srat.yaml").write_text("name: srat\n")
    (folder / "search_spaces" / "notes.txt").write_text("")
    return folder


@pytest.mark.parametrize(
    ("typed", "begun", "expected"),
    [
        (["compare"], "", ["made", "other"]),
        (["compare", "made"], "o", ["other"]),
        (["resume"], "m", ["made"]),
        (["rm"], "m", ["made"]),
        (["show"], "m", ["made/"]),
        (["show"], "made/", ["made/imbalance_ratio_2/", "made/imbalance_ratio_4/"]),
        (["logs"], "made/imbalance_ratio_4/t0001", ["made/imbalance_ratio_4/t0001"]),
        (["--set"], "optim.lr_s", ["optim.lr_schedule="]),
        (["compare", "made", "--by"], "sc", ["scenario", "script.definition"]),
        (["compare", "made", "--by"], "loss.n", ["loss.name"]),
        (["params"], "attack.ep", ["attack.eps"]),
        (["params"], "sched", ["scheduler", "scheduler.name", "scheduler.rungs",
                               "scheduler.max_epochs", "scheduler.grace_epochs",
                               "scheduler.reduction_factor", "scheduler.probe_epochs",
                               "scheduler.fidelity"]),
        (["--set"], "confirm.se", ["confirm.seeds=", "confirm.sentinel="]),
        (["init", "--data"], "cifar", ["cifar10", "cifar100", "cifar"]),
        (["init", "--methods"], "srat,t", ["srat,trades", "srat,taet"]),
        (["resume", "--in"], "--in", ["--in-process"]),
        (["--space"], "search_spaces/s", ["search_spaces/srat.yaml"]),
        (["plan"], "search_spaces/", ["search_spaces/srat.yaml"]),
        (["show"], "nothing/here/t", []),
    ],
)  # fmt: skip
def test_completion_offers_what_there_is(
    place: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str], begun: str, expected: list[str]
) -> None:
    monkeypatch.chdir(place)
    complete = ShellComplete(main, {}, "ltat-tune", "_LTAT_TUNE_COMPLETE")
    found = [item.value for item in complete.get_completions(typed, begun)]
    assert found == expected


def test_completion_looks_into_the_folder_that_out_names(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    complete = ShellComplete(main, {}, "ltat-tune", "_LTAT_TUNE_COMPLETE")
    typed = ["compare", "--out", str(place / "studies")]
    assert [item.value for item in complete.get_completions(typed, "")] == ["made", "other"]


def test_bash_gets_completions_from_the_command_itself(place: Path) -> None:
    """As bash asks: click's protocol by the environment."""
    code = "from ltat_tune.cli import main; main(prog_name='ltat-tune')"
    environment = {**os.environ, "_LTAT_TUNE_COMPLETE": "bash_complete", "COMP_CWORD": "2",
                   "COMP_WORDS": "ltat-tune compare ma", "PYTHONPATH": str(ROOT)}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout == "plain,made\n"


@pytest.mark.parametrize("name", sorted(main.commands))
def test_the_help_of_every_command_ends_with_an_example_and_explains_every_option(
    name: str,
) -> None:
    command = main.commands[name]
    text = CliRunner().invoke(main, [name, "--help"], terminal_width=80).stdout
    examples = text.partition("Example")[2]
    assert f"ltat-tune {name}" in examples
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help and len(option.help) > 8, option.name


def test_the_list_of_commands_is_not_cut_off() -> None:
    text = CliRunner().invoke(main, ["--help"], terminal_width=80).stdout
    commands = text.partition("Commands:")[2].partition("Examples:")[0]
    assert "..." not in commands
