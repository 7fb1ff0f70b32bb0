"""Real images for the tests that need some, a real browser (tests/browser.py), and how
`scripts/test` shares the tests out to its processes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.browser import browser, chromium

__all__ = ["browser", "chromium", "cifar_folder"]

_SHARED = "PYTEST_XDIST_WORKER" in os.environ  # this is one of several processes
if _SHARED:
    # They have the cores between them. torch reads it when it is imported; studies that the tests
    # start set their own threads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)  # before the group goes into an item's name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A process runs whole files, so that what one sets up is set up once, and the long first.

    Files that start studies take longest by far.
    """
    if _SHARED:
        for item in items:
            item.add_marker(pytest.mark.xdist_group(_group(item)))
        items.sort(key=lambda item: not _starts_studies(item))  # stable


def _group(item: pytest.Item) -> str:
    """The file; or what takes long to make, and is made once in a process for several files."""
    if "cifar_folder" in getattr(item, "fixturenames", ()):
        return "cifar"
    return "figures" if "figures" in item.path.parts else str(item.path)


def _starts_studies(item: pytest.Item) -> bool:
    names = vars(getattr(item, "module", item))
    makers = [names.get("run"), names.get("Running")]
    return any(getattr(maker, "__module__", "") == "tests.study.drive" for maker in makers)


@pytest.fixture(scope="session")
def cifar_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10 as an image folder, train/ and test/, out of the archive that LTAT_TEST_IMAGES
    names; without it the test is skipped."""
    archive = os.environ.get("LTAT_TEST_IMAGES")
    if not archive:
        pytest.skip("LTAT_TEST_IMAGES does not name an archive of CIFAR-10 as an image folder")
    folder = tmp_path_factory.mktemp("cifar")
    subprocess.run(["tar", "xf", archive, "-C", folder], check=True)
    return folder
