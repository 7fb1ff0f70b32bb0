"""Real images for the tests that need some, a real browser (tests/browser.py), and how
`scripts/test` shares the tests out to its processes."""

from __future__ import annotations

import functools
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ltat_tune.backend.stop_signals import kept_handlers
from tests.browser import browser, chromium
from tests.small_study import made_once, small_study

__all__ = ["browser", "chromium", "cifar_folder", "small_study"]

_SHARED = "PYTEST_XDIST_WORKER" in os.environ  # this is one of several processes
_LONGEST = (  # ten seconds each on a quiet machine, or more; the first five over half a minute
    "cuda/test_trainings.py", "test_readme.py", "training/test_script.py",
    "engine/test_end_to_end.py", "tracking/test_outage.py", "cli/test_evaluate.py",
    "report/test_page.py", "faults/test_lost_files.py", "backend/test_in_process.py",
    "faults/test_workers.py", "faults/test_folder.py", "export/test_plugins.py",
    "backend/test_cluster.py", "export/test_export.py", "cli/test_logs.py", "api/test_study.py",
    "cli/test_ui.py", "scripts/test_bench_gpu.py", "engine/test_real_images.py",
    "cli/test_optimized.py", "faults/test_ray_dies.py", "scripts/test_tour.py",
    "cli/test_slurm.py", "faults/test_tampered_results.py", "cli/test_after_upkeep.py",
    "cli/test_interrupts.py", "faults/test_disk_full.py", "engine/test_budget_end_to_end.py",
)  # fmt: skip
_HERE = Path.cwd()  # where the tests were started
_RESULTS = ("mlruns", "mlflow.db", "mlflow-artifacts", "studies", "exports")
_BEFORE = os.listdir(_HERE)
if _SHARED:
    # They have the cores between them. torch reads it when it is imported; studies that the tests
    # start set their own threads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # `nohup scripts/test`: the studies that the tests hang up would go on
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # `scripts/test &` in a script: the shell has it ignored, by all that is started from here,
    # too, and the commands that the tests interrupt would never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first: the longest by name, then those that start studies.

    A long file that begins late keeps one process busy when the others have nothing left.
    """
    if _SHARED:
        items.sort(key=lambda item: (_rank(item), not _starts_studies(item)))  # stable


def _rank(item: pytest.Item) -> int:
    name = item.path.relative_to(Path(__file__).parent).as_posix()
    return _LONGEST.index(name) if name in _LONGEST else len(_LONGEST)


def _starts_studies(item: pytest.Item) -> bool:
    names = vars(getattr(item, "module", item))
    makers = [names.get("run"), names.get("call"), names.get("Running")]
    return any(getattr(maker, "__module__", "") == "tests.drive" for maker in makers)


@pytest.fixture(autouse=True, scope="session")
def _stores_are_copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A new MLflow file is a copy of the first one, for MLflow's migrations take a second.

    Processes that tests start make theirs themselves.
    """
    from ltat_tune.tracking import store
    from ltat_tune.tracking.relocation import follow

    make = store.make_store

    @functools.wraps(make)  # a test of the making itself calls `__wrapped__`
    def copy(path: Path) -> None:
        folder = made_once(tmp_path_factory, "mlflow-store", lambda f: make(f / "mlflow.db"))
        half = path.with_name(f".{path.name}.half")
        shutil.copyfile(folder / "mlflow.db", half)
        follow(store.sqlite_uri(half), folder.resolve(), path.parent.resolve())
        half.rename(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "make_store", copy)
        yield


@pytest.fixture(autouse=True)
def _folder_left_alone() -> Iterator[None]:
    """A test that writes results into the folder of the test run fails."""
    yield
    new = [name for name in _RESULTS if (_HERE / name).exists() and name not in _BEFORE]
    assert not new, f"this test, or one that runs beside it, made {new} in {_HERE}"


@pytest.fixture(autouse=True)
def _process_left_alone() -> Iterator[None]:
    """The signals of a test do not reach the next one; a test that moves its warnings fails.

    What this process ignores is ignored by all that the tests start.
    """
    log = logging.getLogger("ltat_tune")
    with kept_handlers():
        yield
    assert logging.root.manager.disable == 0 and not log.disabled and log.propagate
    assert not log.handlers and log.level == logging.NOTSET


@pytest.fixture(scope="session")
def cifar_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10 as an image folder, train/ and test/, out of the archive that LTAT_TEST_IMAGES
    names; without it the test is skipped."""
    archive = os.environ.get("LTAT_TEST_IMAGES")
    if not archive:
        pytest.skip("LTAT_TEST_IMAGES does not name an archive of CIFAR-10 as an image folder")

    def unpack(folder: Path) -> None:
        subprocess.run(["tar", "xf", archive, "-C", folder], check=True)

    return made_once(tmp_path_factory, "cifar", unpack)


@pytest.fixture
def scripts_forgotten() -> Iterator[None]:
    """The parameters of users' training scripts are forgotten after the test."""
    from ltat_tune.config.parameters import PARAMETERS, forget_parameter

    yield
    for path in [path for path in PARAMETERS if path.startswith("script.")]:
        if path != "script.definition":
            forget_parameter(path)
