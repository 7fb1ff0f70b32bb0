"""Finds the space files of a folder, with their question and cost, for `ltat-tune ls spaces`."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SpaceFile:
    """A space file with its question and its stated cost."""

    file: str
    question: str  # its first comment line
    cost: str  # its comment line that begins with `Cost:` or `Estimated cost:`, if there is one


def find_spaces(folder: Path) -> list[SpaceFile]:
    """Return the space files in `folder`/search_spaces and its papers/, sorted by name."""
    root = folder / "search_spaces"
    return [_read(p) for glob in ("*.yaml", "papers/*.yaml") for p in sorted(root.glob(glob))]


def _read(path: Path) -> SpaceFile:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    head = itertools.takewhile(lambda line: line.startswith("#"), lines)
    comments = [line.lstrip("#").strip() for line in head]
    costs = [line for line in comments if line.lower().startswith(("cost", "estimated cost"))]
    cost = costs[0].partition(":")[2].strip() if costs else ""
    return SpaceFile(str(path), comments[0] if comments else "", cost)
