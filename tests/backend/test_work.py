"""What a look reports of its progress."""

from __future__ import annotations

from typing import Any

import pytest

from ltat_tune.backend.work import part_reporter


def test_a_look_reports_how_far_it_is_at_most_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, reports = [10.0], list[dict[str, Any]]()
    monkeypatch.setattr("ltat_tune.backend.work.time.monotonic", lambda: now[0])
    on_part = part_reporter(reports.append, "pgd20", 1000)
    for at, done in ((10.0, 0), (10.4, 100), (11.0, 200), (11.9, 300), (12.5, 400)):
        now[0] = at
        on_part(done)
    assert [report["look"]["done"] for report in reports] == [0, 200, 400]
    assert reports[0] == {"look": {"what": "pgd20", "done": 0, "total": 1000}}
