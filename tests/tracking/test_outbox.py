"""The file of writes that wait for a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltat_tune.tracking.outbox import Spool, Write


def written(*keys: str) -> list[Write]:
    return [Write("metrics", key, {"rows": [["loss", 0.5, 1000, 1]]}) for key in keys]


def test_what_was_added_is_read_in_its_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert spool.read() == []
    spool.add(written("a", "b"))
    spool.add(written("c"))
    spool.add([])
    assert Spool(tmp_path).read() == written("a", "b", "c")


@pytest.mark.parametrize("lost", [1, 2, 30])
def test_a_torn_last_line_is_left_out_and_written_behind(tmp_path: Path, lost: int) -> None:
    spool = Spool(tmp_path)
    spool.add(written("a", "b"))
    whole = spool.path.read_bytes()
    spool.path.write_bytes(whole[:-lost])
    left = ["a", "b"] if lost == 1 else ["a"]  # one byte is but the line's end
    assert [write.key for write in spool.read()] == left
    spool.add(written("c"))
    assert [write.key for write in spool.read()] == [*left, "c"]


def test_an_empty_spool_has_no_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.replace([])
    spool.add(written("a"))
    spool.replace(written("b"))
    assert [write.key for write in spool.read()] == ["b"]
    spool.replace([])
    assert list(tmp_path.iterdir()) == []


def test_how_often_a_write_failed_is_not_kept(tmp_path: Path) -> None:
    Spool(tmp_path).add([Write("end", "a", {}, tries=7)])
    assert Spool(tmp_path).read() == [Write("end", "a", {})]


def test_a_metric_that_is_not_a_number_survives(tmp_path: Path) -> None:
    Spool(tmp_path).add([Write("metrics", "a", {"rows": [["loss", float("nan"), 1000, 1]]})])
    value = Spool(tmp_path).read()[0].data["rows"][0][1]
    assert value != value
