"""One small study of digits that ended, for every test that only reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.study.drive import run, write_space


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of study `mini`, in a folder `studies`; two scenarios, each with a winner."""
    folder = tmp_path_factory.mktemp("small-study")
    done = run("--space", write_space(folder, searcher={"trials": 2}), "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "studies" / "mini"
