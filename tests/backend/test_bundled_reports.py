"""Epochs that are shorter than a second reach Ray's driver together, and none is lost."""

from __future__ import annotations

from typing import Any

from ltat_tune.backend.ray_searcher import BundledReports, QueueSearcher, decoded, each
from ltat_tune.backend.work import Work


def _epoch(number: int) -> dict[str, Any]:
    return {"epoch": number, "metrics": {"acc": number / 100}, "epoch_seconds": 0.3}


class _Now:
    """A clock that epochs move."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def _sent(epochs: int, *, epoch_s: float, judged: tuple[int, ...] = ()) -> list[dict[str, str]]:
    sent: list[dict[str, str]] = []
    now = _Now()
    report = BundledReports(sent.append, judged, clock=now)
    for number in range(1, epochs + 1):
        now.seconds += epoch_s
        report(_epoch(number))
    report({"event": {"state": "complete", "seconds": 1.0}})
    return sent


def _numbers(sent: list[dict[str, str]]) -> list[list[int]]:
    return [[one.get("epoch", 0) for one in each(result)] for result in sent]


def test_long_epochs_are_reported_one_by_one() -> None:
    assert _numbers(_sent(3, epoch_s=1.5)) == [[1], [2], [3], [0]]


def test_short_epochs_wait_for_a_second_the_first_does_not() -> None:
    assert _numbers(_sent(10, epoch_s=0.3)) == [[1], [2, 3, 4, 5], [6, 7, 8, 9], [10, 0]]


def test_what_a_rung_judges_waits_for_nothing_and_comes_last() -> None:
    sent = _sent(7, epoch_s=0.1, judged=(3, 6))
    assert _numbers(sent) == [[1], [2, 3], [4, 5, 6], [7, 0]]
    # what Ray asks the scheduler about
    assert [decoded(result).get("epoch") for result in sent] == [1, 3, 6, None]


def test_a_note_goes_out_at_once() -> None:
    sent: list[dict[str, str]] = []
    report = BundledReports(sent.append, (), clock=_Now())
    report(_epoch(1))
    report(_epoch(2))
    report({"note": "a note"})
    assert [one.get("note") for one in each(sent[1])] == [None, "a note"]


class _Work:
    """Keeps what it is handed."""

    def __init__(self) -> None:
        self.reports: list[Any] = []
        self.ends: list[Any] = []

    def on_report(self, slot: str, report: Any) -> None:
        self.reports.append(report.get("epoch"))

    def on_end(self, slot: str, report: Any, *, error: bool) -> None:
        self.ends.append((report, error))


def test_the_work_gets_every_epoch_in_order_also_those_before_a_rung_that_stops() -> None:
    work: Any = _Work()
    searcher = QueueSearcher(_as_work(work), "acc")
    first, second, third, _ = _sent(7, epoch_s=0.1, judged=(3, 6))
    searcher.on_trial_result("t", first)
    searcher.on_trial_result("t", second)
    searcher.on_trial_complete("t", third)  # a rung stops it
    assert work.reports == [1, 2, 3, 4, 5]
    ((last, error),) = work.ends
    assert (last["epoch"], last["metrics"], error) == (6, {"acc": 0.06}, False)


def test_a_worker_that_died_has_no_last_report() -> None:
    work: Any = _Work()
    QueueSearcher(_as_work(work), "acc").on_trial_complete("t", None, error=True)
    assert work.ends == [({}, True)]


def _as_work(work: Any) -> Work:
    made: Work = work
    return made
