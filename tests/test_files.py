"""Files are written whole or not at all, and what a killed process leaves is known."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ltat_tune.files import (
    beside,
    copy_file,
    is_left_over,
    read_json,
    replacing,
    write_json,
    write_text,
)


def test_a_file_is_replaced_at_the_end_and_kept_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "new" / "facts.json"
    write_json(path, {"b": 1, "a": 2})
    with pytest.raises(OSError, match="full"), replacing(path) as temporary:
        temporary.write_text("half")
        assert read_json(path) == {"a": 2, "b": 1}
        raise OSError("full")
    assert path.read_text() == '{\n  "a": 2,\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, float("nan"))
    assert [file.name for file in path.parent.iterdir()] == ["facts.json"]


def test_the_mode_holds_from_the_first_moment_less_the_umask(tmp_path: Path) -> None:
    write_text(tmp_path / "secret", "±", mode=0o600)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    copy_file(tmp_path / "secret", tmp_path / "plain")  # the content, not the mode
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "plain").stat().st_mode & 0o777 == 0o666 & ~umask
    assert (tmp_path / "plain").read_text(encoding="utf-8") == "±"


def test_left_over_is_what_another_process_was_writing_whatever_its_id(tmp_path: Path) -> None:
    assert is_left_over(tmp_path / ".a.json.1")  # of another machine; here it is another's id
    assert not is_left_over(beside(tmp_path / "a.json"))  # ours
    assert not any(is_left_over(tmp_path / name) for name in (".a.json", "a.1", ".1", ".a.json.x"))
