"""What several of the tests' processes only read: made by the first of them that needs it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.drive import call, write_space


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one process fills, while others that need it wait."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # of all the processes
    folder, whole = base / name, base / f"{name}.made"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one that failed
            folder.mkdir()
            make(folder)
            whole.touch()
    return folder


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of study `mini`, in a folder `studies`; two scenarios, each with a winner.

    A copy for each process, as exports register models in its store.
    """

    def make(folder: Path) -> None:
        space = write_space(folder, searcher={"trials": 2})
        done = call("--space", space, "--in-process", "--quiet", cwd=folder)
        assert done.returncode == 0, done.stderr

    folder = tmp_path_factory.mktemp("small-study") / "own"
    shutil.copytree(made_once(tmp_path_factory, "small-study", make), folder)
    return folder / "studies" / "mini"
