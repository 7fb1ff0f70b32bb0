"""Small spaces for the tests of the study layer."""

from __future__ import annotations

from pathlib import Path

from ltat_tune.preflight.load import load_space
from ltat_tune.space.space import Space


def space_of(folder: Path, text: str) -> Space:
    """The space that a file with this text gives, on whatever machine."""
    path = folder / "space.yaml"
    path.write_text(text)
    return load_space(path, check_machine=False)
