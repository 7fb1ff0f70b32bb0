"""Real studies through the command line: real Ray, Optuna and MLflow, killed and resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from ltat_tune.results.wording import masking_line
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import MaskingReport
from tests.drive import (
    MINI,
    Running,
    call,
    descendants,
    logged_values,
    mlflow_runs,
    run,
    steps,
    write_space,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SCENARIOS = ("imbalance_ratio_2", "imbalance_ratio_4")
TOP = MINI["confirm"]["top"]  # the baseline is confirmed, too


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that nothing disturbed; its folder."""
    folder = tmp_path_factory.mktemp("finished")
    watched = {**MINI["confirm"], "sentinel": True}
    done = run("--space", write_space(folder, confirm=watched), cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    (folder / "stderr.txt").write_text(done.stderr)
    return folder / "studies" / "mini"


def _history(checkpoint: Path) -> list[Any]:
    history: list[Any] = torch.load(checkpoint, weights_only=True)["history"]
    return history


def _check_records(study: Path, *, trials: int) -> None:
    """Every logical trial once, in the ledger and in MLflow, with every metric point once."""
    runs = mlflow_runs(study)
    assert Counter(r.info.status for r in runs)["RUNNING"] == 0
    keys = Counter(r.data.tags["ltat.key"] for r in runs)
    assert max(keys.values()) == 1
    kinds = Counter(r.data.tags["kind"] for r in runs)
    assert kinds["trial"] == trials * len(SCENARIOS)
    assert kinds["study"] == 1
    results = json.loads((study / "results.json").read_text())
    for scenario in results["scenarios"]:
        assert sum(scenario["trials"].values()) == trials
    for found in runs:
        tags = found.data.tags
        if tags["kind"] == "study":
            continue
        assert tags["state"] in ("complete", "pruned")
        assert found.info.status == "FINISHED"  # a trial that was stopped early did its work
        assert ("final/pgd3_balanced_acc" in found.data.metrics) == (tags["state"] == "complete")
        logged = steps(study, found, "train/loss")
        assert logged == list(range(1, len(logged) + 1)), tags["ltat.key"]
        assert len(logged) == 6 or tags["state"] == "pruned"
        total = sum(logged_values(study, found, "time/epoch_seconds"))  # of stopped trials too
        assert float(tags["seconds"]) == pytest.approx(total, abs=6e-4), tags["ltat.key"]


def test_the_terminal_shows_winner_baseline_savings_and_next_commands(finished: Path) -> None:
    shown = (finished.parent.parent / "stdout.txt").read_text()
    for text in (
        "data.imbalance_ratio = 2", "data.imbalance_ratio = 4", "winner t000", "baseline t0000",
        "val/pgd3_balanced_acc  (chosen by, so optimistic)", "test/clean_acc", "test/pgd3_acc",
        "±", "(worst class)", "test/pgd3_tail_acc", "optim.lr (η)", "stopped early",
        "epochs saved",
        "ltat-tune ui mini", "ltat-tune report mini", "ltat-tune compare mini",
        "ltat-tune export mini", "ltat-tune resume mini",
    ):  # fmt: skip
        assert text in shown, text
    assert shown.splitlines()[-1] == "everything lies in studies/mini"
    assert "Traceback" not in (finished.parent.parent / "stderr.txt").read_text()


def test_every_trial_stands_once_in_ledger_and_mlflow(finished: Path) -> None:
    _check_records(finished, trials=4)
    runs = {r.data.tags["ltat.key"]: r for r in mlflow_runs(finished)}
    first = runs["imbalance_ratio_2/t0000"]
    assert first.data.params["optim.lr"] == "0.1"
    assert first.data.params["data.imbalance_ratio"] == "2.0"
    assert first.data.tags["mlflow.parentRunId"] == runs["study"].info.run_id
    assert "method.temperature" not in first.data.params  # of another method
    confirmed = [r for r in runs.values() if r.data.tags["kind"] == "confirmation"]
    for each in confirmed:
        trial = runs[each.data.tags["ltat.trial"]]
        assert each.data.tags["mlflow.parentRunId"] == trial.info.run_id
    results = json.loads((finished / "results.json").read_text())
    first_one = results["scenarios"][0]
    won = next(c for c in first_one["confirmed"] if c["recipe"] == first_one["winner"])
    winner = won["test"]["test/pgd3_acc"]
    assert runs["study"].data.metrics["imbalance_ratio_2/test/pgd3_acc"] == pytest.approx(
        sum(winner) / len(winner)
    )
    assert all("test/pgd3_acc" in r.data.metrics for r in confirmed)
    assert all("test/pgd3_acc" not in r.data.metrics for r in runs.values() if r not in confirmed)


def test_the_winner_is_chosen_by_validation_and_beats_the_baseline_there(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    for scenario in results["scenarios"]:
        assert scenario["winner"] is not None
        winner = next(c for c in scenario["confirmed"] if c["recipe"] == scenario["winner"])
        assert winner["seeds"] == [1, 2]
        assert winner["number"] == scenario["best_trials"][0]["number"]
        # the search trained with seed 0, and picked that training for its luck
        assert winner["search_score"] == scenario["best_trials"][0]["score"]


def test_exported_files_train_again_to_the_recorded_digits(finished: Path) -> None:
    cwd = finished.parent.parent
    exported = call("export", "mini", "--to", "out", cwd=cwd)
    assert exported.returncode == 0, exported.stderr
    files = exported.stdout.split()
    assert files == [f"out/best-{name}{end}" for name in SCENARIOS for end in (".yaml", ".md")]
    for file in files[::2]:
        trained = call("train", file, "--test", cwd=cwd)
        assert trained.returncode == 0, trained.stderr + trained.stdout
        assert "reproduced: weights" in trained.stderr


def _looked_at(study: Path, scenario: dict[str, Any]) -> Path:
    """Folder of the winner's first seed."""
    return StudyFolder(study).confirmation(scenario["name"], scenario["winner"], 1)


def test_every_winner_is_looked_at_for_gradient_masking_and_nobody_else(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    places = [_looked_at(finished, scenario) for scenario in results["scenarios"]]
    reports = sorted(finished.glob("confirmations/*/*/sentinel.json"))
    assert reports == sorted(place / "sentinel.json" for place in places)
    assert not list(finished.glob("confirmations/*/*/.sentinel"))  # for a kill alone
    runs = {r.data.tags["ltat.key"]: r for r in mlflow_runs(finished)}
    shown = (finished.parent.parent / "stdout.txt").read_text()
    for scenario, place in zip(results["scenarios"], places, strict=True):
        report = scenario["sentinel"]
        assert report == json.loads((place / "sentinel.json").read_text())
        line = masking_line(MaskingReport.model_validate(report))
        assert f"gradient masking: {line}" in " ".join(shown.split())
        assert f"gradient masking: {line}" in " ".join(
            (finished / "summary.txt").read_text().split()
        )
        best = (finished / "best" / f"best-{scenario['name']}.yaml").read_text()
        assert f"# gradient masking: {line}\n" in best
        seen = runs.pop(f"{scenario['name']}/{place.name}")
        assert (seen.info.status, seen.data.tags["state"]) == ("FINISHED", "complete")
        assert seen.data.tags["sentinel"] == report["verdict"]
        assert seen.data.tags["sentinel_says"] == line
        triggered = sum(check["triggered"] for check in report["checks"])
        assert seen.data.metrics["test/sentinel_triggered"] == triggered
        artifacts = Path(seen.info.artifact_uri.removeprefix("file://"))
        assert json.loads((artifacts / "sentinel.json").read_text()) == report
        assert (artifacts / "checkpoint.pt").exists()
    assert not any("sentinel" in run.data.tags for run in runs.values())


def test_a_winner_has_the_verdict_that_evaluate_gives_it(finished: Path) -> None:
    cwd = finished.parent.parent
    results = json.loads((finished / "results.json").read_text())
    scenario = results["scenarios"][1]
    done = call(
        "evaluate", _looked_at(finished, scenario), "--attacks", "clean", "--format", "json",
        cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)["sentinel"]
    assert report == {"scale": 1.0, **scenario["sentinel"]}


def test_a_sentinel_that_fails_loses_nothing_and_looks_again_on_resume(
    finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished.parent, tmp_path / "studies")
    study = tmp_path / "studies" / "mini"
    before = json.loads((study / "results.json").read_text())
    scenario = before["scenarios"][0]
    place = _looked_at(study, scenario)
    (place / "sentinel.json").unlink()
    (place / ".sentinel").write_text("a file where the sentinel needs a folder")
    failed = call("resume", "mini", "--in-process", cwd=tmp_path)
    assert failed.returncode == 1
    number = next(c for c in scenario["confirmed"] if c["recipe"] == scenario["winner"])["number"]
    assert f"{scenario['name']}/t{number:04d} seed 1 sentinel failed:" in failed.stderr
    summary = (study / "summary.txt").read_text()
    assert summary.count("gradient masking: not checked yet") == 1
    now = json.loads((study / "results.json").read_text())
    assert now["scenarios"][0] == {**scenario, "sentinel": None}
    assert now["scenarios"][1:] == before["scenarios"][1:]
    assert json.loads((place / "result.json").read_text())["state"] == "complete"
    (place / ".sentinel").unlink()
    # a damaged checkpoint is trained again before the sentinel looks
    (place / "checkpoint.pt").write_bytes((place / "checkpoint.pt").read_bytes()[:1000])
    again = call("resume", "mini", "--in-process", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("gradient masking") == 1
    assert json.loads((study / "results.json").read_text()) == before


def test_compare_ls_and_json_agree_with_the_results(finished: Path) -> None:
    cwd = finished.parent.parent
    results = json.loads((finished / "results.json").read_text())
    compared = call("compare", "mini", "--format", "json", cwd=cwd)
    assert {"version": 2, **json.loads(compared.stdout)} == results
    table = call("compare", "mini", cwd=cwd).stdout
    assert "best complete trials" in table
    listed = json.loads(call("ls", "--format", "json", cwd=cwd).stdout)
    assert [(s["study"], s["state"], s["trials"]) for s in listed] == [("mini", "finished", 8)]


def test_a_name_that_exists_is_never_mixed(finished: Path) -> None:
    cwd = finished.parent.parent
    again = call("--space", "mini.yaml", cwd=cwd)
    assert again.returncode == 2
    assert "study mini already exists in studies and is finished; resume it with" in again.stderr
    assert "--overwrite" in again.stderr
    unknown = call("resume", "nope", cwd=cwd)
    assert unknown.returncode == 2
    assert unknown.stderr == "error: no study in studies/nope; studies in studies: mini\n"


def test_a_second_driver_is_refused(finished: Path) -> None:
    with StudyFolder(finished).locked():
        refused = run("resume", "mini", cwd=finished.parent.parent)
    assert refused.returncode == 2
    assert f"study mini is being run by process {os.getpid()}" in refused.stderr


def _wait_for_end(processes: Iterable[int], timeout_s: float = 60) -> None:
    """Wait until no such process is left."""
    left, deadline = list(processes), time.monotonic() + timeout_s
    while left := [process for process in left if Path(f"/proc/{process}").exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_interrupted_and_killed_studies_end_like_an_undisturbed_one(
    finished: Path, tmp_path: Path
) -> None:
    """Ctrl-C once: api/test_study.py. SIGTERM: faults/test_folder.py."""
    study = tmp_path / "studies" / "mini"
    # kill -9 of the driver, as soon as something has been trained
    with Running("--space", write_space(tmp_path), cwd=tmp_path) as first:
        first.wait_for_workers(1)
        while not list(study.glob("trials/*/*/checkpoint.pt")):
            assert first.process.poll() is None, first.log.read_text()
            time.sleep(0.02)
        tree = descendants(first.process.pid)
        assert first.end(signal.SIGKILL) == -9
    # the dead driver's workers leave by themselves
    _wait_for_end(pid for pid, line in tree if line.startswith("ray::ImplicitFunc"))
    held = {path: _history(path) for path in study.glob("trials/*/*/checkpoint.pt")}
    assert held

    # kill -9 of every worker: others take their place. Then Ctrl-C twice: at once, and as clean
    with Running("resume", "mini", cwd=tmp_path) as second:
        killed = second.wait_for_workers(1)
        for worker in killed:
            os.kill(worker, signal.SIGKILL)
        while not set(second.wait_for_workers(1)) - set(killed):
            time.sleep(0.05)
        tree = descendants(second.process.pid)
        second.process.send_signal(signal.SIGINT)
        time.sleep(0.2)  # a person's two presses; sent at once they would be one signal
        began = time.monotonic()
        assert second.end(signal.SIGINT) == 130
        assert time.monotonic() - began < 15
    assert "resume with: ltat-tune resume mini" in second.log.read_text()
    assert all(r.info.status != "RUNNING" for r in mlflow_runs(study))
    _wait_for_end(pid for pid, _ in tree)
    assert "failed" not in second.log.read_text()

    # each goes on from its checkpoint
    last = call("resume", "mini", "--in-process", cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    assert "failed" not in last.stderr

    _check_records(study, trials=4)
    for path, history in held.items():
        # what was trained before is in the final history to the digit, its seconds too
        assert _history(path)[: len(history)] == history
    for scenario in SCENARIOS:
        for number in (0, 1):  # what start_from fixes is the same training in both studies
            name = Path("trials", scenario, f"t{number:04d}", "checkpoint.pt")
            ours, theirs = _history(study / name), _history(finished / name)
            shared = min(len(ours), len(theirs))  # one of them may have been stopped early
            assert shared >= 2
            assert [row[:2] for row in ours[:shared]] == [row[:2] for row in theirs[:shared]]


def test_a_finished_study_can_be_extended(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished.parent, tmp_path / "studies")
    fewer = call("resume", "mini", "--trials", "2", cwd=tmp_path)
    assert fewer.returncode == 2
    assert "--trials must be at least the study's 4, got 2" in fewer.stderr
    extended = call("resume", "mini", "--in-process", "--trials", "5", cwd=tmp_path)
    assert extended.returncode == 0, extended.stderr
    assert extended.stderr.count("started:") == 2
    results = json.loads((tmp_path / "studies" / "mini" / "results.json").read_text())
    assert [sum(s["trials"].values()) for s in results["scenarios"]] == [5, 5]
    (then,) = results["searched_on"]
    assert set(then["trials"].values()) == {4}
    before = json.loads((finished / "results.json").read_text())
    assert then["winners"] == {s["name"]: s["winner"] for s in before["scenarios"]}
    said = " ".join(extended.stdout.split())  # wherever its lines break
    assert "searched on after the test images were seen" in said


def test_a_finished_study_confirms_more_of_its_trials_and_nothing_else(
    finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished.parent, tmp_path / "studies")
    before = json.loads((finished / "results.json").read_text())
    had = [{each["recipe"] for each in one["confirmed"]} for one in before["scenarios"]]
    fewer = call("resume", "mini", "--confirm", "0", "--trials", "1", cwd=tmp_path)
    assert fewer.returncode == 2
    assert "--trials must be at least the study's 4, got 1" in fewer.stderr
    assert f"--confirm must be at least the study's {TOP}, got 0" in fewer.stderr
    more = call("resume", "mini", "--in-process", "--confirm", str(TOP + 2), cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    results = json.loads((tmp_path / "studies" / "mini" / "results.json").read_text())
    now = [{each["recipe"] for each in one["confirmed"]} for one in results["scenarios"]]
    assert all(old <= new for old, new in zip(had, now, strict=True)) and had != now
    assert [one["trials"] for one in results["scenarios"]] == [
        one["trials"] for one in before["scenarios"]
    ]
