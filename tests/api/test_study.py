"""`from ltat_tune import Study, evaluate`, as a notebook uses them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from torch import nn

from ltat_tune import Study, Trainer, evaluate
from ltat_tune.errors import ConfigError, SpaceError, StudyError
from tests.drive import ALONE, MINI, call, write_space
from tests.made_studies import made_study

ROOT = Path(__file__).parents[2]
METRIC = "val/pgd3_balanced_acc"


class Notebook(NamedTuple):
    """What the script saw, what it printed besides, and where its study lies."""

    saw: dict[str, Any]
    stderr: str
    out: Path
    space: Path


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Notebook:
    folder = tmp_path_factory.mktemp("notebook")
    fixed = {**MINI["fixed"], "evaluation.every_epochs": 3}
    space = write_space(
        folder, fixed=fixed, scenarios={"data.imbalance_ratio": [2]}, resources=ALONE
    )
    script = Path(__file__).parent / "as_a_notebook.py"
    done = subprocess.run(
        [sys.executable, script, space, folder / "studies"],
        capture_output=True, text=True, timeout=300, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Notebook(json.loads(done.stdout), done.stderr, folder / "studies", space)


@pytest.fixture(scope="module")
def study(notebook: Notebook) -> Study:
    return Study.open("mini", out=notebook.out)


def test_an_interrupt_stops_a_study_that_then_goes_on(notebook: Notebook, study: Study) -> None:
    assert notebook.saw["interrupted"]
    assert 1 <= notebook.saw["stopped_at"] < 3
    assert [trial.number for trial in study.trials] == [0, 1, 2]


def test_the_process_is_left_as_it_was_found_and_nothing_is_printed(notebook: Notebook) -> None:
    assert notebook.saw["moved"] == []
    assert notebook.stderr == ""


def test_a_study_that_exists_or_has_no_results_says_what_to_do(notebook: Notebook) -> None:
    assert "study mini already exists in" in notebook.saw["again"]
    assert "overwrite=True" in notebook.saw["again"]
    assert notebook.saw["unfinished"] == (
        "mini has no results yet; finish it with run() or resume()"
    )
    with pytest.raises(StudyError, match="no study in .*nowhere; studies in .*: mini"):
        Study.open("nowhere", out=notebook.out)


def test_the_winner_is_what_the_command_reports(notebook: Notebook, study: Study) -> None:
    shown = call("compare", "mini", "--out", notebook.out, "--format", "json", cwd=notebook.out)
    results = json.loads(shown.stdout)
    assert study.results == results
    scenario = results["scenarios"][0]
    winner = next(c for c in scenario["confirmed"] if c["recipe"] == scenario["winner"])
    (best,) = study.best()
    assert best.scenario == scenario["name"]
    assert best.values == {"data.imbalance_ratio": 2}
    assert best.seeds == (1, 2)
    first, second = winner["val"][METRIC]
    assert best.val[METRIC].values == (first, second)
    assert best.val[METRIC].mean == pytest.approx((first + second) / 2)
    assert best.val[METRIC].std == pytest.approx(abs(first - second) / 2**0.5)
    assert best.config.recipe == winner["recipe"]
    assert best.config.attack.steps == 2  # the override


def test_trials_are_a_table_with_what_was_proposed(study: Study) -> None:
    table = study.trials_dataframe()
    assert list(table["number"]) == [0, 1, 2]
    assert list(table["optim.lr"])[:2] == [0.1, 0.2]
    assert list(table["loss.name"])[:2] == ["cross_entropy", "balanced_softmax"]
    complete = table[table["state"] == "complete"]
    assert complete["score"].between(0, 1).all() and len(complete) >= 1


def test_figures_are_the_report_s_of_the_study_s_trials(study: Study) -> None:
    complete = [trial for trial in study.trials if trial.score is not None]
    lines = study.plot.parallel_coordinate().data[0].dimensions
    assert [axis.label for axis in lines] == ["loss", "η", "score, %"]
    by_name = {trace.name: trace for trace in study.plot.slice(params=["optim.lr"]).data}
    assert sorted(by_name["trained to the end"].y) == pytest.approx(
        sorted(100 * (t.score or 0) for t in complete)
    )
    (best,) = study.best()
    assert list(by_name["winner"].x) == [math.log10(best.params["optim.lr"])]
    curves = [trace for trace in study.plot.learning_curves().data if "lines" in trace.mode]
    assert len(curves) == len([trial for trial in study.trials if trial.scores])
    front = study.plot.pareto_front()
    assert front.layout.xaxis.title.text == "clean balanced accuracy, %"
    assert front.layout.paper_bgcolor == "white"  # legible in a dark notebook
    with pytest.raises(StudyError, match="mini has too few trials .*: 3 trials have a score, and"):
        study.plot.importance()
    with pytest.raises(StudyError, match="too few trials .*: a contour needs two parameters that"):
        study.plot.contour()
    with pytest.raises(ConfigError, match="params must be two, got optim.lr"):
        study.plot.contour(params=["optim.lr"])
    with pytest.raises(ConfigError, match="scenario must be one of imbalance_ratio_2, got x"):
        study.plot.slice("x")
    refused = r"params must be tuned parameters \(.*\), got optim.epochs"
    with pytest.raises(ConfigError, match=refused):
        study.plot.slice(params=["optim.epochs"])


def test_importance_and_contour_are_drawn_of_enough_trials(tmp_path: Path) -> None:
    ranges = {
        "optim.lr": {"type": "float", "low": 0.02, "high": 0.4, "log": True},
        "optim.weight_decay": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True},
    }
    ends = [("complete", 0.3 + 0.02 * (7 * i % 12)) for i in range(12)]
    made_study(
        tmp_path, tuned=ranges, start_from=[], scenarios={"data.imbalance_ratio": [2]},
        trials={"imbalance_ratio_2": ends}, confirmed=None, finished=False,
    )  # fmt: skip
    study = Study.open("made", out=tmp_path)
    bars = [trace for trace in study.plot.importance().data if trace.type == "bar"]
    assert [bar.name for bar in bars] == ["fANOVA", "PED-ANOVA"]
    assert all(sum(bar.x) == pytest.approx(100) for bar in bars)
    assert all(len(bar.error_x.array) == 2 for bar in bars)
    drawn = study.plot.contour(params=["optim.weight_decay", "optim.lr"])
    dots = [trace for trace in drawn.data if trace.type == "scatter"]
    assert sum(len(trace.x) for trace in dots) == 12


def test_a_study_that_was_not_run_has_no_figures(tmp_path: Path) -> None:
    study = Study(write_space(tmp_path), out=tmp_path)
    with pytest.raises(StudyError, match="too few trials for this figure: it has not been run"):
        study.plot.slice("imbalance_ratio_2")


def test_evaluate_gives_the_numbers_of_the_command(notebook: Notebook, study: Study) -> None:
    (best,) = study.best()
    shown = call(
        "evaluate", best.checkpoint, "--attacks", "pgd3,cw2", "--images", "100", "--no-sentinel",
        "--format", "json", cwd=notebook.out,
    )  # fmt: skip
    rows = json.loads(shown.stdout)["rows"]
    found = evaluate(best.checkpoint, attacks=["pgd3", "cw2"], images=100)
    assert [m.attack for m in found] == [row["attack"] for row in rows] == ["clean", "pgd3", "cw2"]
    assert [m.numbers for m in found] == [row["numbers"] for row in rows]
    assert all(m.intervals["acc"][0] < m.numbers["acc"] < m.intervals["acc"][1] for m in found)
    model = Trainer(best.config).fit(checkpoint=best.checkpoint).model
    assert evaluate(model, best.config, attacks=["pgd3", "cw2"], images=100) == found


def test_what_cannot_be_evaluated_is_said_in_the_words_of_the_package(study: Study) -> None:
    with pytest.raises(ConfigError, match="config must be given for a model in memory"):
        evaluate(nn.Identity())
    with pytest.raises(ConfigError, match="model must name one model, got mini, which names 2"):
        evaluate("mini", out=study.folder.parent)
    with pytest.raises(ConfigError, match="pgdx"):
        evaluate(study.best()[0].checkpoint, attacks=["pgdx"])


def test_a_wrong_override_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"^overrides optim.lr: must be > 0, got -1$"):
        Study(write_space(tmp_path), out=tmp_path / "studies", overrides={"optim.lr": -1.0})
    assert not (tmp_path / "studies").exists()


def test_importing_the_package_takes_no_time_and_no_library() -> None:
    code = (
        "import sys, time; began = time.process_time(); import ltat_tune; "
        "took = time.process_time() - began; "
        "heavy = {'torch', 'ray', 'mlflow', 'optuna', 'numpy', 'pydantic'} & set(sys.modules); "
        "assert not heavy, heavy; assert took < 0.05, took; print(sorted(dir(ltat_tune)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "'Study', 'Trainer', 'TrialConfig', '__version__', 'evaluate'" in done.stdout


SCRIPT = """
from ltat_tune import Study, Trainer, TrialConfig, evaluate
from ltat_tune.training.fit_result import EpochMetrics


def show(done: EpochMetrics) -> None:
    print(done.epoch, done.metrics)


study = Study("search_spaces/srat.yaml", out="studies", overrides={"searcher.trials": 3}).run()
for best in study.best():
    score: float = best.test["test/pgd20_acc"].mean
    accuracy: float = evaluate(best.checkpoint, attacks=["pgd20"])[1].numbers["acc"]
model = Trainer(TrialConfig.from_flat({"optim.epochs": 3})).fit(on_epoch=show).model
reveal_type(evaluate(model, TrialConfig()))
study.bset()
"""


# What the package itself stands on is not read: that takes half a minute, and is Any here.
SETTINGS = """
[mypy]
strict = true
plugins = pydantic.mypy
[mypy-ltat_tune.*]
follow_imports = silent
[mypy-numpy.*,pandas.*,yaml.*,rich.*,torch.*,ray.*,mlflow.*,optuna.*,plotly.*,matplotlib.*,sqlalchemy.*,scipy.*,sklearn.*]
follow_imports = skip
"""


def test_a_users_script_is_checked_by_mypy(tmp_path: Path) -> None:
    script, settings = tmp_path / "script.py", tmp_path / "mypy.ini"
    script.write_text(SCRIPT)
    settings.write_text(SETTINGS)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", settings, "--cache-dir", tmp_path / "c",
         script],
        capture_output=True, text=True, timeout=400, cwd=ROOT,
    )  # fmt: skip
    lines = [line.partition("script.py:")[2] for line in done.stdout.splitlines()]
    wrong = [line for line in lines if "error:" in line]
    assert any("list[ltat_tune.api.evaluation.Measured]" in line for line in lines), done.stdout
    assert wrong == ['16: error: "Study" has no attribute "bset"  [attr-defined]'] or (
        len(wrong) == 1 and '"Study" has no attribute "bset"; maybe "best"?' in wrong[0]
    ), done.stdout
