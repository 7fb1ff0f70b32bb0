"""The section `script:` of a space file: read, checked, recorded with the script's hash."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltat_tune.errors import SpaceError
from ltat_tune.space.reader import read_space

SPACE = r"""
script:
  command: python train.py --lr {optim.lr} --beta {script.beta} --out {folder}
  parameters: {beta: {default: 6, ge: 0}}
  metrics: 'epoch (?P<epoch>\d+) robust (?P<pgd>[\d.]+)'
  checkpoint: '{folder}/last.pt'
fixed: {optim.epochs: 4}
tuned:
  script.beta: {type: float, low: 1, high: 8}
"""


pytestmark = pytest.mark.usefixtures("scripts_forgotten")


def _write(folder: Path, text: str = SPACE) -> Path:
    (folder / "train.py").write_text("print('epoch 1 robust 5')\n")
    (folder / "a.yaml").write_text(text)
    return folder / "a.yaml"


def test_a_script_and_its_parameters_are_read(tmp_path: Path) -> None:
    space = read_space(_write(tmp_path))
    config = space.config(space.scenarios[0], {"script.beta": 3.0})
    script = config.script.definition
    assert script is not None and script.folder == str(tmp_path) and len(script.sha256) == 16
    assert config.get("script.beta") == 3.0
    assert space.config(space.scenarios[0], {}).get("script.beta") == 6.0
    assert space.record["script"]["sha256"] == script.sha256


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("{optim.lr}", "{optim.rate}", r"a.yaml:3: script.command must name parameters .* unknown "
         r"parameter optim.rate"),
        ("(?P<pgd>", "(", r"a.yaml:5: script.metrics must name a group for a number"),
        ("  checkpoint: '{folder}/last.pt'\n", "", r"script.checkpoint must be given"),
        ("  checkpoint", "  chekpoint: 1\n  checkpoint", r"script.chekpoint is unknown; choose"),
        ("script.beta} --out", "script.gamma} --out", r"parameters must define what the command "
         r"names, but script.gamma is missing"),
        ("default: 6, ge: 0", "default: -1, ge: 0", r"default must be >= 0, got -1"),
        ("  checkpoint", "  folder: nowhere\n  checkpoint", r"must be the folder of the script"),
        ("low: 1", "low: -1", r"a.yaml:9: script.beta.*must be >= 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert old in SPACE
    with pytest.raises(SpaceError, match=says):
        read_space(_write(tmp_path, SPACE.replace(old, new)))


def test_a_script_that_changed_is_refused_where_its_hash_is_recorded(tmp_path: Path) -> None:
    path = _write(tmp_path)
    digest = read_space(path).record["script"]["sha256"]
    path.write_text(SPACE.replace("script:\n", f"script:\n  sha256: '{digest}'\n"))
    read_space(path)
    (tmp_path / "train.py").write_text("print('other')\n")
    with pytest.raises(SpaceError, match="have changed since the study began"):
        read_space(path)
