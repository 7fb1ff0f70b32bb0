"""`ltat-tune adopt`: a space file out of argparse definitions, which are read and not run."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ltat_tune.cli import main
from ltat_tune.errors import SpaceError
from ltat_tune.space.reader import read_space
from ltat_tune.space.script.adopt import read_arguments

SCRIPTS = Path(__file__).parents[1] / "data" / "scripts"
MIXED = """
import argparse, os
open('was-run', 'w')
p = argparse.ArgumentParser()
p.add_argument('data')
p.add_argument('-b', '--batch-size', default=128, type=int)
p.add_argument('--epsilon', default=0.031)
p.add_argument('--arch', '-a', default='resnet18', choices=['resnet18', 'wrn'], help='the  net')
p.add_argument('--layers', type=int, default=34)
p.add_argument('--milestones', nargs='+', default=[75, 90])
p.add_argument('--gpu', default=os.environ.get('GPU'))
p.add_argument('--no-aug', dest='aug', action='store_false')
p.add_argument('--version', action='version', version='1')
p.add_argument('--lr-max', type=lambda x: float(x), default=0.1)
p.add_argument('--resume', default='')
p.add_argument('--save-dir', default='out')
"""


pytestmark = pytest.mark.usefixtures("scripts_forgotten")


def test_names_types_and_defaults_are_read_and_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(MIXED)
    adopted = read_arguments(tmp_path / "train.py")
    assert not (tmp_path / "was-run").exists()
    assert adopted.words == [
        "--batch-size {optim.batch_size}", "--epsilon {attack.eps}", "--arch {script.arch}",
        "--layers {script.layers}", "{script.aug}", "--save-dir {folder}",
    ]  # fmt: skip
    assert adopted.parameters == {
        "arch": {"default": "resnet18", "choices": ["resnet18", "wrn"], "meaning": "the net"},
        "layers": {"default": 34, "type": "int"},
        "aug": {"default": False, "flag": "--no-aug"},
    }
    assert adopted.defaults == {"optim.batch_size": 128.0, "attack.eps": 0.031}
    assert adopted.resume == "--resume"
    assert [sentence.split()[0] for sentence in adopted.unsure] == [
        "data", "--milestones", "--gpu:", "--version", "--lr-max"
    ]  # fmt: skip


def test_the_file_that_adopt_writes_can_be_read(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text((SCRIPTS / "argparse_prints" / "train.py").read_text())
    done = CliRunner().invoke(main, ["adopt", str(script)], catch_exceptions=False)
    assert done.exit_code == 0 and "9 options in the command, 3 parameters" in done.output
    space = read_space(tmp_path / "train.yaml")
    config = space.config(space.scenarios[0], {})
    definition = config.script.definition
    assert definition is not None and definition.resume == "--resume {checkpoint}"
    assert config.get("script.beta") == 6.0 and config.optim.epochs == 4
    assert list(space.tuned) == ["optim.lr", "script.beta"]
    again = CliRunner().invoke(main, ["adopt", str(script)])
    assert isinstance(again.exception, SpaceError) or again.exit_code == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import sys\n", "has no `add_argument"),
        ("print 'x'\n", "must be Python that this version"),
    ],
)
def test_a_script_that_tells_nothing_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.py").write_text(text)
    with pytest.raises(SpaceError, match=says):
        read_arguments(tmp_path / "a.py")
