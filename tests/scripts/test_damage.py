"""`scripts/fault_loop.py --damages`: one damage of each kind that is quick to mend."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from scripts.damage import HOW, harm
from scripts.fault_loop import main
from tests.drive import SLOW


@pytest.mark.parametrize("how", HOW)
def test_every_damage_changes_a_file_but_a_lock(how: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789" * 100)
    harm(path, how, random.Random(0))
    changed = not path.exists() or path.read_bytes() != b"0123456789" * 100
    assert changed == (how != "lock")


@SLOW
def test_no_damaged_file_is_believed_and_a_resume_follows_every_mend(tmp_path: Path) -> None:
    assert main(["--damages", "10", "--folder", str(tmp_path / "loop")]) == 0
