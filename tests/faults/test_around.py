"""What happens around a study: its MLflow server dies for a minute, the clock is set back."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from ltat_tune.tracking.outbox import SPOOL
from scripts import fault_loop
from tests.drive import SLOW, Running, descendants, mlflow_runs
from tests.tracking.test_outage import Server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

TRIALS = 8


def _space(folder: Path) -> Path:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(fault_loop.space_of("around", "grid", TRIALS)))
    return path


def _audited(study: Path, uri: str | None = None) -> dict[str, Any]:
    """What `scripts/fault_loop.py` counts of a study that ended."""
    rows = fault_loop.rows_of(study)
    histories = fault_loop.histories(study)
    count: dict[str, Any] = {"trials": TRIALS, "rows": rows, "histories": histories,
                             "points": 0, "lost": 0, "doubled": 0, "left": 0}  # fmt: skip
    assert sorted(rows) == list(range(TRIALS))
    assert all(len(found) == 1 and found[0][1] != "running" for found in rows.values())
    fault_loop.audit_runs(study, count, uri)
    assert fault_loop.audit_files(study, [], count) == []
    return {name: count[name] for name in ("lost", "doubled", "left")} | {
        "points": count["points"] > 0
    }


NOTHING = {"lost": 0, "doubled": 0, "left": 0, "points": True}


@SLOW
def test_a_server_that_is_killed_and_gone_for_a_minute_has_everything_once(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        with Running("--space", _space(tmp_path), "--tracking-uri", server.uri,
                     cwd=tmp_path) as driver:  # fmt: skip
            driver.wait_for("t0001 started")
            server.kill()
            time.sleep(50)  # and 10 until it answers again
            tree = descendants(driver.process.pid)
            server.start()
            assert driver.end(timeout_s=300) == 0, driver.log.read_text()
        study = tmp_path / "studies" / "around"
        assert "the study continues, and the writes are kept in" in driver.log.read_text()
        assert not (study / SPOOL).exists()
        assert _audited(study, server.uri) == NOTHING
        assert not [line for pid, line in tree if Path(f"/proc/{pid}").exists()]
    finally:
        server.kill()


# Python's clock in the driver and in every worker, an hour back from when the file is there.
_CLOCK = """
import os, time
def _back(clock, unit):
    return lambda: clock() - (3600 * unit if os.path.exists({file!r}) else 0)
time.time, time.time_ns = _back(time.time, 1), _back(time.time_ns, 10**9)
"""


@SLOW
def test_a_clock_that_is_set_back_changes_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_back = tmp_path / "set-back"
    clock = tmp_path / "clock"
    clock.mkdir()
    (clock / "sitecustomize.py").write_text(_CLOCK.format(file=str(set_back)))
    monkeypatch.setenv("PYTHONPATH", str(clock), prepend=":")
    with Running("--space", _space(tmp_path), cwd=tmp_path) as driver:
        driver.wait_for("t0001 started")
        set_back.touch()
        driver.wait_for("t0003 started")
        assert driver.end(signal.SIGTERM) == 130
    with Running("resume", "around", cwd=tmp_path) as driver:
        assert driver.end(timeout_s=300) == 0, driver.log.read_text()
    study = tmp_path / "studies" / "around"
    assert _audited(study) == NOTHING
    for found in mlflow_runs(study):
        assert found.info.end_time >= found.info.start_time, found.data.tags
