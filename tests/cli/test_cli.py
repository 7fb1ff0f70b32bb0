"""The command line: what it lists, refuses and answers quickly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from ltat_tune.cli import main
from ltat_tune.config.catalogue import CATALOGUE
from ltat_tune.engine.study import StudyRun
from ltat_tune.preflight.load import load_space

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "search_spaces" / "quickstart.yaml"


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _json(*arguments: str) -> Any:
    return json.loads(_run(*arguments, "--format", "json").stdout)


def test_help_imports_nothing_that_computes() -> None:
    code = (
        "import sys\n"
        "from ltat_tune.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'ray', 'optuna', 'mlflow', 'numpy', 'pydantic', 'rich', 'yaml'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("compare", "export", "ls", "params", "prepare", "resume", "train", "version"):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize("kind", CATALOGUE)
def test_ls_prints_every_choice_with_its_parameters(kind: str) -> None:
    listed = _json("ls", kind)
    assert [row["name"] for row in listed] == [entry.name for entry in CATALOGUE[kind]]
    table = " ".join(_run("ls", kind).stdout.split())
    for entry in CATALOGUE[kind]:
        assert f"{entry.name} " in table
        assert entry.what in table
        assert all(path in table for path in entry.parameters)


def test_ls_methods_gives_symbols_and_equations() -> None:
    srat = next(row for row in _json("ls", "methods") if row["name"] == "srat")
    assert srat["parameters"]["method.separation_weight"] == "λ"
    assert "Eq. 6-7" in srat["source"]


def test_ls_spaces_lists_the_files_beside_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run("ls", "spaces").stdout.startswith("no search_spaces/*.yaml here")
    (tmp_path / "search_spaces").symlink_to(QUICKSTART.parent)
    files = [row["file"] for row in _json("ls", "spaces")]
    assert "search_spaces/quickstart.yaml" in files
    assert "search_spaces/quickstart.yaml\n" in _run("ls", "spaces").stdout


def test_ls_alone_lists_studies(tmp_path: Path) -> None:
    space = load_space(QUICKSTART, check_machine=False)
    assert "no studies in" in _run("ls", "--out", tmp_path).stdout
    StudyRun.create(space, tmp_path, source="quickstart.yaml")
    assert [row["study"] for row in _json("ls", "--out", str(tmp_path))] == ["quickstart"]
    assert "quickstart" in _run("ls", "studies", "--out", tmp_path).stdout


def test_ls_refuses_another_kind_with_those_there_are() -> None:
    done = _run("ls", "optimisers")
    assert done.exit_code == 2
    assert "'optimisers' is not one of 'studies', 'methods', 'losses'" in done.stderr


def test_params_says_which_defaults_depend_on_the_method_or_loss() -> None:
    text = " ".join(_run("params", "loss.scale").stdout.split())
    assert "30 (0, 1000]" in text
    assert "; 10 by default with loss.name robal" in text
    rows = {row["path"]: row for row in _json("params", "loss.scale")}
    assert rows["loss.scale"]["default_with"] == [
        {"path": "loss.name", "values": ["robal"], "default": 10.0}
    ]  # fmt: skip


def test_prepare_says_what_it_found() -> None:
    done = _run("prepare", "digits")
    assert done.exit_code == 0
    assert done.stdout == (
        "digits: every image of 10 classes can be read; 1397 training images, 134 to 143 a class\n"
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("cifar11",), "data.name must be one of digits, cifar10"),
        (("digits", "--set", "optim.lr=1"), "--set optim.lr: prepare reads data.* only"),
        (("digits", "--set", "data.lr"), "--set must be path=value, got 'data.lr'"),
        (("image_folder",), "data.root must name the folder when data.name is image_folder"),
        (("image_folder", "--root", "nowhere"), "data.root must hold train/ and test/"),
    ],
)
def test_prepare_refuses_what_it_cannot_read(arguments: tuple[str, ...], problem: str) -> None:
    done = _run("prepare", *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {problem}")


def _folder(root: Path, broken: tuple[str, ...]) -> Path:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for number in range(3):
                file = root / split / name / f"{number}.png"
                pixels = np.full((8, 8, 3), 40 * number, dtype=np.uint8)
                Image.fromarray(pixels).save(file)
                if f"{split}/{name}/{number}" in broken:
                    file.write_bytes(file.read_bytes()[:30])
    return root


def test_a_study_with_broken_images_lists_all_of_them_and_starts_nothing(tmp_path: Path) -> None:
    """Of the test split too; and no study is left, so that the same command may be typed again."""
    root = _folder(tmp_path / "images", ("train/cat/1", "test/dog/2"))
    space = tmp_path / "folder.yaml"
    space.write_text(
        f"fixed: {{data.name: image_folder, data.root: {root}, data.val_per_class: 1, "
        "data.profile: full, optim.lr_schedule: cosine}\n"
        "tuned: {optim.lr: {type: float, low: 0.01, high: 0.3}}\n"
    )
    done = _run("--space", space, "--out", tmp_path / "studies", "--quiet")
    assert done.exit_code == 2
    assert str(root / "train" / "cat" / "1.png") in done.stderr
    assert str(root / "test" / "dog" / "2.png") in done.stderr
    assert list((tmp_path / "studies").iterdir()) == []
    checked = _run("prepare", "image_folder", "--root", root)
    assert checked.exit_code == 2
    assert str(root / "test" / "dog" / "2.png") in checked.stderr
