"""What is written for a study's events, and what is not written twice."""

from __future__ import annotations

from pathlib import Path

from ltat_tune.tracking.client import PARENT, KnownRun
from ltat_tune.tracking.outbox import Write
from ltat_tune.tracking.recorder import Writes


def rows(writes: list[Write]) -> list[tuple[str, float, int, int]]:
    return [row for write in writes if write.what == "metrics" for row in write.data["rows"]]


def test_an_epoch_is_written_once_and_with_its_own_time(tmp_path: Path) -> None:
    writes = Writes(tmp_path)
    writes.begin("a", "a", {}, {}, 10)
    writes.log("a", 1, {"acc": 0.5}, 20)
    writes.log("a", 1, {"acc": 0.5}, 30)  # replayed from a checkpoint
    writes.log("a", 2, {"acc": 0.6}, 40)
    assert rows(writes.flush()) == [
        ("acc", 0.5, 20, 1), ("epoch", 1.0, 20, 1), ("acc", 0.6, 40, 2), ("epoch", 2.0, 40, 2),
    ]  # fmt: skip
    assert writes.flush() == []


def test_a_flush_looks_only_at_runs_that_had_an_epoch_since(tmp_path: Path) -> None:
    writes = Writes(tmp_path)
    for number in range(1000):
        writes.begin(f"t{number}", "t", {}, {}, 0)
        writes.log(f"t{number}", 1, {"acc": 0.5}, 0)
        writes.end(f"t{number}", "complete", {}, {}, {}, (), 0)
    writes.log("t7", 2, {"acc": 0.5}, 0)
    assert [write.key for write in writes.flush()] == ["t7"]
    assert writes.unwritten == ()  # nothing is gone through at the next one


def test_a_runs_points_come_before_its_end(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    writes = Writes(tmp_path)
    writes.log("a", 3, {"acc": 0.5}, 20)
    files = (tmp_path / "config.yaml", tmp_path / "missing.pt")
    made = writes.end("a", "pruned", {"test/acc": 0.4}, {"why": "weak"}, {"n.txt": "x"}, files, 30)
    assert [write.what for write in made] == ["metrics", "text", "file", "end"]
    assert rows(made)[-1] == ("test/acc", 0.4, 30, 3)
    assert made[2].data == {"path": "config.yaml"}  # a study that is moved still finds it
    last = {"tags": {"why": "weak", "state": "pruned"}, "status": "FINISHED", "at": 30}
    assert made[3].data == last


def test_numbers_of_a_whole_run_are_written_once(tmp_path: Path) -> None:
    writes = Writes(tmp_path)
    writes.adopt({"a": KnownRun(last_step=5, metrics={"test/acc"})}, [])
    made = writes.end("a", "complete", {"test/acc": 0.4, "test/aa": 0.3}, {}, {}, (), 30)
    assert rows(made) == [("test/aa", 0.3, 30, 5)]
    assert rows(writes.end("a", "complete", {"test/aa": 0.3}, {}, {}, (), 40)) == []


def test_many_parameters_and_points_are_split_as_mlflow_takes_them(tmp_path: Path) -> None:
    writes = Writes(tmp_path)
    made = writes.begin("a", "a", {f"p{n}": n for n in range(250)}, {}, 0)
    assert [len(write.data["params"]) for write in made[1:]] == [100, 100, 50]
    writes.log("a", 1, {f"m{n}": n for n in range(1500)}, 0)
    assert [len(write.data["rows"]) for write in writes.flush()] == [1000, 501]


def test_what_waits_in_the_spool_counts_as_written(tmp_path: Path) -> None:
    first = Writes(tmp_path)
    waiting = [*first.begin("a", "a", {}, {}, 0), *first.begin("b", "b", {}, {}, 0)]
    first.log("a", 4, {"acc": 0.5}, 20)
    waiting += first.end("a", "complete", {"test/acc": 0.4}, {}, {}, (), 30)
    waiting += first.finish("interrupted", "", {}, 50)
    second = Writes(tmp_path)
    left = second.adopt({"a": KnownRun(2), "b": KnownRun(-1, running=True)}, waiting)
    assert left == waiting[:-1]  # all but the study's own end: it goes on
    assert second.closed("a") and not second.closed("b")
    second.log("a", 4, {"acc": 0.5}, 60)
    assert rows(second.end("a", "complete", {"test/acc": 0.4}, {}, {}, (), 60)) == []


def test_only_what_is_open_is_interrupted_by_the_end(tmp_path: Path) -> None:
    writes = Writes(tmp_path)
    found = {
        PARENT: KnownRun(-1, running=True),
        "old": KnownRun(3, running=True),
        "done": KnownRun(3),
    }
    writes.adopt(found, [])
    writes.begin("new", "new", {}, {}, 0)
    writes.begin("ended", "ended", {}, {}, 0)
    writes.end("ended", "complete", {}, {}, {}, (), 0)
    made = writes.finish("complete", "best is t3", {"summary.txt": "x"}, 9)
    ends = {write.key: write.data["status"] for write in made if write.what == "end"}
    assert ends == {"old": "KILLED", "new": "KILLED", PARENT: "FINISHED"}
    assert made[-1].data["tags"] == {"mlflow.note.content": "best is t3", "state": "complete"}
