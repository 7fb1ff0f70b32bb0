"""A study with planted frauds, from its space file to its pages: none of them wins."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from ltat_tune.preflight.resume import space_differences
from ltat_tune.space.reader import as_begun, read_space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.trials import read_trials
from scripts.bench_fooled import PROBLEMS, RECIPE
from tests.drive import call, mlflow_runs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

METRIC = "val/pgd20_balanced_acc"
MODELS = ("small_cnn", "quantised_cnn", "loud_cnn")
SPACE: dict[str, Any] = {
    "name": "frauds",
    "plugins": ["planted"],
    "objective": {"metric": METRIC},
    "fixed": {
        **RECIPE, "data.imbalance_ratio": 10, "attack.steps": 5, "attack.step_size": 0.04,
        "optim.epochs": 8, "evaluation.every_epochs": 8,
    },
    "tuned": {"model.name": {"type": "categorical", "choices": list(MODELS)}},
    "start_from": [{"model.name": name} for name in MODELS],
    "searcher": {"name": "list"},
    "scheduler": {"name": "none"},
    "confirm": {"top": 1, "seeds": [1], "attacks": ["clean"], "sentinel": False},
}  # fmt: skip


def _write(folder: Path, **changes: Any) -> Path:
    shutil.copy(PROBLEMS / "planted.py", folder)
    path = folder / "frauds.yaml"
    path.write_text(yaml.safe_dump({**SPACE, **changes}))
    return path


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the finished study."""
    folder = tmp_path_factory.mktemp("frauds")
    done = call("--space", _write(folder), "--in-process", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    (folder / "stderr.txt").write_text(done.stderr)
    return folder / "studies" / "frauds"


def test_no_fraud_wins_although_both_claim_more(study: Path) -> None:
    sound, quantised, loud = read_trials(StudyFolder(study))
    assert sound.score is not None and not sound.doubt and sound.claimed is None
    for fraud in (quantised, loud):
        assert fraud.claimed is not None and fraud.claimed > sound.score
        assert fraud.score is not None and fraud.score < fraud.claimed
        assert fraud.doubt.startswith("too good to be true: of ")
    assert quantised.score == 0.0
    (scenario,) = json.loads((study / "results.json").read_text())["scenarios"]
    assert [one["number"] for one in scenario["best_trials"]] == [0]
    assert [one["number"] for one in scenario["confirmed"] if one["is_winner"]] == [0]
    assert scenario["failures"] == []
    (best,) = (study / "best").glob("*.yaml")
    assert "quantised_cnn" not in best.read_text() and "loud_cnn" not in best.read_text()


def test_the_number_stays_on_record(study: Path) -> None:
    quantised = read_trials(StudyFolder(study))[1]
    result = json.loads((quantised.folder / "result.json").read_text())
    assert result["metrics"][METRIC] == quantised.claimed == max(quantised.scores.values())
    assert result["second_opinion"]["reason"] == quantised.doubt


def test_every_page_says_why(study: Path) -> None:
    folder = study.parent.parent
    _, quantised, loud = read_trials(StudyFolder(study))
    assert quantised.claimed is not None
    claimed = f"{100 * quantised.claimed:.1f} %"
    flat = " ".join((study / "summary.txt").read_text().split())
    assert f"t0001: its {claimed} {METRIC} is {quantised.doubt}; it counts with 0.0 %" in flat
    assert f"is {loud.doubt}; it counts with " in flat
    assert "2 trials have no rank, because the score is too good to be true" in flat
    progress = " ".join((folder / "stderr.txt").read_text().split())
    assert f"behind every credible trial: its score is {loud.doubt}" in progress
    shown = call("show", "frauds", "t0001", cwd=folder)
    assert f"its {claimed} is {quantised.doubt}; it ranks" in " ".join(shown.stdout.split())
    assert call("report", "frauds", cwd=folder).returncode == 0
    page = (study / "report.html").read_text()
    assert loud.doubt in page and "without a rank: too good to be true" in page
    tags = {r.data.tags.get("trial"): r.data for r in mlflow_runs(study)
            if r.data.tags.get("kind") == "trial"}  # fmt: skip
    assert tags["t0001"].tags["second_opinion"] == quantised.doubt == tags["t0001"].tags["reason"]
    assert tags["t0001"].metrics["val/second_opinion_broken"] == 1.0
    for trial in ("t0000", "t0001"):
        gap = tags[trial].metrics["val/second_opinion_gap"]
        share = tags[trial].metrics["val/second_opinion_broken"]
        result = json.loads((study / "trials" / "default" / trial / "result.json").read_text())
        assert gap == pytest.approx(share * result["metrics"]["val/pgd20_acc"])
    sound = " ".join(call("show", "frauds", "t0000", cwd=folder).stdout.split())
    assert "fall to other attacks, a gap of about " in sound
    assert tags["t0000"].tags["second_opinion"] == "credible"


def test_natural_training_that_fakes_37_percent_is_flagged_before_it_can_be_confirmed(
    tmp_path: Path,
) -> None:
    """PGD-20 leaves 37 % at a radius where AutoAttack leaves none, and 25 % of PGD-AT."""
    entries = [
        {"model.name": "small_cnn", "method.name": "pgd_at"},
        {"model.name": "loud_cnn", "method.name": "natural"},
    ]
    path = _write(
        tmp_path,
        fixed={**SPACE["fixed"], "attack.eps": 0.2, "model.loudness": 24, "optim.epochs": 10,
               "evaluation.every_epochs": 10},
        tuned={name: {"type": "categorical", "choices": sorted({e[name] for e in entries})}
               for name in entries[0]},
        start_from=entries, searcher={"name": "list"},
    )  # fmt: skip
    done = call("run", path, "--in-process", "--allow-inert", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    study = tmp_path / "studies" / "frauds"
    sound, fraud = read_trials(StudyFolder(study))
    assert sound.score is not None and fraud.claimed is not None
    assert fraud.claimed > sound.score and not sound.doubt
    assert "; PGD-20 overestimates by about " in fraud.doubt
    (scenario,) = json.loads((study / "results.json").read_text())["scenarios"]
    assert [one["number"] for one in scenario["confirmed"]] == [0]
    assert " points [" in " ".join((study / "summary.txt").read_text().split())


def test_a_killed_driver_ends_the_same(study: Path, tmp_path: Path) -> None:
    """The journal is cut where the second fraud had not ended, and its result is lost."""
    shutil.copytree(study.parent.parent, tmp_path / "copy")
    again = tmp_path / "copy" / "studies" / "frauds"
    lines = (again / "ledger.journal").read_text().splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if '"complete"' in line]
    (again / "ledger.journal").write_text("".join(lines[: ends[-1]]))
    for left in ("results.json", "summary.txt", "trials/default/t0002/result.json"):
        (again / left).unlink()
    shutil.rmtree(again / "confirmations")
    assert len(Ledger(again / "ledger.journal", read_space(again / "space.yaml"))
               .unfinished("default")) == 1  # fmt: skip
    done = call("resume", "frauds", "--in-process", cwd=tmp_path / "copy")
    assert done.returncode == 0, done.stderr
    before, after = (
        [(r.score, r.claimed, r.doubt) for r in read_trials(StudyFolder(s))]
        for s in (study, again)
    )
    assert after == before
    assert (
        json.loads((again / "results.json").read_text())["scenarios"][0]["doubted"]
        == (json.loads((study / "results.json").read_text())["scenarios"][0]["doubted"])
    )


def test_it_can_be_turned_off_and_then_a_fraud_wins(tmp_path: Path) -> None:
    objective = {"metric": METRIC, "second_opinion": False}
    path = _write(tmp_path, objective=objective, confirm={"top": 0})
    assert call("--space", path, "--in-process", "--quiet", cwd=tmp_path).returncode == 0
    rows = read_trials(StudyFolder(tmp_path / "studies" / "frauds"))
    assert [row.doubt for row in rows] == ["", "", ""]
    assert max(rows, key=lambda row: row.score or 0.0).number > 0


def test_a_study_of_0_4_0_goes_on_without_and_a_new_one_may_not_drop_it(study: Path) -> None:
    record = yaml.safe_load((study / "space.yaml").read_text())
    assert record["objective"]["second_opinion"] is True
    old = {**record, "objective": {"metric": METRIC}}
    assert as_begun(old)["objective"] == {"metric": METRIC, "second_opinion": False}
    changed = {**record, "objective": {"metric": METRIC, "second_opinion": False}}
    differences = space_differences({"space": record, "defaults": {}}, changed)
    assert differences == {"objective.second_opinion": (True, False)}
