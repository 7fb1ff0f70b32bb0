"""A wall clock that is set back: no run of MLflow ends before it began, and no point is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltat_tune.tracking import Tracker

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

HOUR_S = 3_600


def test_no_run_ends_before_it_began(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    now = [1_800_000_000]
    first = Tracker(None, "clock", tmp_path, "u", clock=lambda: now[0])
    first.start()
    first.wait_until_ready()
    first.begin("t0", "t0", {}, {"kind": "trial"})
    first.log("t0", 1, {"acc": 0.1})
    now[0] -= HOUR_S
    first.log("t0", 2, {"acc": 0.2})
    first.end("t0", "complete")
    first.begin("t1", "t1", {}, {"kind": "trial"})
    first.finish("interrupted")
    now[0] -= 24 * HOUR_S  # and the next start is before the last one's end
    second = Tracker(None, "clock", tmp_path, "u", clock=lambda: now[0])
    second.start()
    second.wait_until_ready()
    second.begin("t1", "t1", {}, {"kind": "trial"})
    second.log("t1", 1, {"acc": 0.3})
    second.end("t1", "complete")
    second.finish("complete")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("clock")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 3
    for run in runs:
        assert run.info.status == "FINISHED"
        assert run.info.end_time >= run.info.start_time
    steps = {
        run.data.tags["ltat.key"]: sorted(
            point.step for point in client.get_metric_history(run.info.run_id, "acc")
        )
        for run in runs
    }
    assert steps == {"study": [], "t0": [1, 2], "t1": [1]}
