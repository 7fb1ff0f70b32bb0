"""Real images for the tests that need some, and a real browser (tests/browser.py)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.browser import browser, chromium
from tests.small_study import small_study

__all__ = ["browser", "chromium", "cifar_folder", "small_study"]


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
