"""PYTHONOPTIMIZE=2 removes docstrings and assertions: help and studies are the same without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.drive import MINI, write_space


def _run(
    *words: str | Path, cwd: Path, flags: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-m", "ltat_tune.cli", *map(str, words)],
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("words", [["--help"], ["doctor", "--help"]])
def test_help_is_whole_without_docstrings(words: list[str], tmp_path: Path) -> None:
    done = _run(*words, cwd=tmp_path, flags=("-OO",))
    assert done.returncode == 0, done.stderr
    assert done.stdout == _run(*words, cwd=tmp_path).stdout


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_study_runs_without_docstrings_and_assertions(tmp_path: Path) -> None:
    space = write_space(
        tmp_path, scenarios={"data.imbalance_ratio": [2]}, searcher={"trials": 1},
        fixed={**MINI["fixed"], "optim.epochs": 1},
        confirm={"top": 1, "seeds": [1], "attacks": ["clean"], "sentinel": False},
    )  # fmt: skip
    done = _run("--space", space, "--in-process", cwd=tmp_path, flags=("-OO",))
    assert done.returncode == 0, done.stderr
    assert "next:" in done.stdout
    assert (tmp_path / "studies" / "mini" / "results.json").exists()
