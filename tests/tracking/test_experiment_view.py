"""The view that MLflow's pages open with, and what runs say of their data and models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ltat_tune.tracking import RunImages, Tracker, View
from ltat_tune.tracking.experiment_view import view_address

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

VIEW = View(
    objective="val/pgd20_balanced_acc",
    tuned=["method.temperature", "reweight.beta"],
    scenarios=["data.imbalance_ratio"],
    robust=["test/aa_balanced_acc"],
    about="What it is.",
)
SHARED = "mlflow.sharedViewState.ltat-tune"


def test_the_view_has_the_searched_parameters_beside_the_objective_and_sorts_by_it() -> None:
    tags = VIEW.tags()
    state = json.loads(tags[SHARED])
    assert (state["orderByKey"], state["orderByAsc"]) == (
        "metrics.`final/pgd20_balanced_acc`", False,
    )  # fmt: skip
    assert state["selectedColumns"][:7] == [
        "tags.`kind`", "tags.`scenario`", "tags.`state`", "metrics.`final/pgd20_balanced_acc`",
        "params.`method.temperature`", "params.`reweight.beta`", "metrics.`test/aa_balanced_acc`",
    ]  # fmt: skip
    assert state["columnOrder"][-len(state["selectedColumns"]) :] == state["selectedColumns"]
    parallel = next(c for c in state["compareRunCharts"] if c["type"] == "PARALLEL")
    assert parallel["selectedParams"] == [
        "data.imbalance_ratio", "method.temperature", "reweight.beta",
    ]  # fmt: skip
    assert parallel["selectedMetrics"] == ["final/pgd20_balanced_acc"]
    assert state["compareRunSections"][0]["uuid"] == parallel["metricSectionId"]
    assert tags["mlflow.note.content"] == "What it is."
    assert tags["mlflow.experiment.primaryMetric.name"] == "final/pgd20_balanced_acc"


def test_a_parameter_that_some_runs_lack_hides_none_of_them_in_parallel_coordinates() -> None:
    state = json.loads(replace(VIEW, conditional=frozenset({"reweight.beta"})).tags()[SHARED])
    parallel = next(c for c in state["compareRunCharts"] if c["type"] == "PARALLEL")
    assert parallel["selectedParams"] == ["data.imbalance_ratio", "method.temperature"]
    assert "params.`reweight.beta`" in state["selectedColumns"]  # it keeps its column


def test_one_scenario_has_no_column() -> None:
    state = json.loads(replace(VIEW, several=False).tags()[SHARED])
    assert state["selectedColumns"][:2] == ["tags.`kind`", "tags.`state`"]


def test_a_view_that_no_tag_holds_goes_without_its_charts() -> None:
    many = replace(VIEW, tuned=[f"method.parameter_{n:03}" for n in range(60)])
    tags = many.tags()
    assert len(tags[SHARED]) <= 20_000
    state = json.loads(tags[SHARED])
    assert "compareRunCharts" not in state
    assert "params.`method.parameter_059`" in state["selectedColumns"]


def test_the_address_names_the_view() -> None:
    assert view_address("http://127.0.0.1:5000", "7") == (
        "http://127.0.0.1:5000/#/experiments/7/runs"
        "?workflowType=machine_learning&viewStateShareKey=ltat-tune"
    )


def test_said_twice_there_is_one_dataset_and_the_view_of_the_last_start(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    images = RunImages(
        "digits exp 10", "0123456789abcdef", {"dataset": "digits", "root": None},
        {"samples_per_class": [10, 1], "num_rows": 11},
    )  # fmt: skip
    for about in ("first", "second"):
        tracker = Tracker(None, "view", tmp_path, "u")
        tracker.start()
        tracker.wait_until_ready()
        tracker.show(replace(VIEW, about=about))
        tracker.begin("t0", "t0", {}, {"kind": "trial"})
        tracker.end("t0", "complete", images=images)
        tracker.finish("complete")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("view")
    assert experiment is not None
    assert experiment.tags["mlflow.note.content"] == "second"
    (run,) = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    assert run.inputs is not None
    (logged,) = run.inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("digits exp 10", "0123456789abcdef")
    assert json.loads(str(logged.dataset.profile)) == {
        "samples_per_class": [10, 1],
        "num_rows": 11,
    }
