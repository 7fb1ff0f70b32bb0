"""The code and the machine that produced a number."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from ltat_tune._version import __version__

PACKAGE = Path(__file__).resolve().parent  # the folder of this code
_PACKAGES = (
    "torch",
    "torchvision",
    "ray",
    "optuna",
    "mlflow",
    "pyautoattack",
    "numpy",
    "scikit-learn",
)


def versions() -> dict[str, str]:
    """Return the versions of this package, of Python and of the libraries, by name."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    # Our own version comes from the code, because an editable install may record an older one.
    by_name = {"ltat-tune": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            by_name[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            by_name[name] = "not installed"
    return by_name


def commit() -> str:
    """Return the git commit of this code, with `-dirty` if changed; empty outside a checkout."""
    root = PACKAGE.parent
    if not (root / ".git").exists():
        return ""
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return f"{head}-dirty" if _git(root, "status", "--porcelain", "-uno") else head
    except (OSError, subprocess.SubprocessError):
        return ""


def machine() -> str:
    """Return processor, cores and system, such as `x86_64, 2 cores, Linux`."""
    return f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {platform.system()}"


def _git(root: Path, *arguments: str) -> str:
    result = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=5, check=True
    )
    return result.stdout.strip()
