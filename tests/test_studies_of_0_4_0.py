"""Two studies that version 0.4.0 made: everything that reads a study still gives their digits.

`small` is finished, `half` was interrupted. How they were made, and what is in the archive:
tests/fixtures/README.md.
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from ltat_tune.cli import main
from tests.drive import SLOW, call, run

# MLflow's own warnings, about what it is built on
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

ARCHIVE = Path(__file__).parent / "fixtures" / "study_0_4_0.tar.xz"
MADE_IN = "file:///tmp/ltat-0.4.0/"
SCENARIOS = ("imbalance_ratio_2", "imbalance_ratio_4")


@pytest.fixture(autouse=True)
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both studies, below the working folder as they were when they were made.

    MLflow's artifacts are where its database says, by absolute paths, and these must change.
    """
    threads = torch.get_num_threads()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(filter="data")
    columns = ("experiments.artifact_location", "runs.artifact_uri",
               "logged_models.artifact_location")  # fmt: skip
    for column in columns:
        table, name = column.split(".")
        statement = f"UPDATE {table} SET {name} = replace({name}, ?, ?)"
        for study in ("small", "half"):
            _sql(study, statement, MADE_IN, f"file://{tmp_path}/")
    yield
    torch.set_num_threads(threads)


def _sql(study: str, statement: str, *values: str) -> list[Any]:
    database = sqlite3.connect(Path("studies", study, "mlflow.db"))
    try:
        with database:
            return database.execute(statement, values).fetchall()
    finally:
        database.close()


def _run(*arguments: str | Path) -> Result:
    """A command in this process; it must end well."""
    runner = CliRunner(env={"COLUMNS": "100"})
    done = runner.invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done


def _json(*arguments: str | Path) -> Any:
    return json.loads(_run(*arguments, "--format", "json").stdout)


def _resume(*arguments: str, with_ray: bool = False) -> tuple[Any, str]:
    """The results that a resume prints, and its progress."""
    words = ("resume", *arguments, "--format", "json")
    here = Path.cwd()
    done = run(*words, cwd=here) if with_ray else call(*words, "--in-process", cwd=here)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def _read(*path: str | Path) -> Any:
    return json.loads(Path(*path).read_text())


def _results(study: str) -> Any:
    return _read("studies", study, "results.json")


DIGITS = ("name", "winner", "baseline", "trials", "epochs", "best_trials")
OF_A_CONFIRMATION = ("recipe", "number", "seeds", "val", "test", "subset_hash")


def _digits(results: Any) -> list[dict[str, Any]]:
    """What was chosen and measured."""
    return [
        {name: scenario[name] for name in DIGITS}
        | {"confirmed": [{name: found[name] for name in OF_A_CONFIRMATION}
                         for found in scenario["confirmed"]]}
        for scenario in results["scenarios"]
    ]  # fmt: skip


def _as_then() -> bool:
    """Whether trainings here come to the digits of the machine that made the studies."""
    cpuinfo = Path("/proc/cpuinfo")
    vendor = re.search(r"vendor_id\s*: (\S+)", cpuinfo.read_text() if cpuinfo.exists() else "")
    here = {name: version(name) for name in ("torch", "numpy", "optuna")}
    here |= {"cpu": torch.backends.cpu.get_cpu_capability(), "vendor": vendor[1] if vendor else ""}
    return bool(here == _read("then", "machine.json"))


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _check_mlflow(study: str, runs: int, here: Path) -> None:
    """Every run once and ended, its artifacts in the study's folder."""
    keys = _sql(study, "SELECT value FROM tags WHERE key = 'ltat.key'")
    assert len(set(keys)) == len(keys) == runs
    states = {state for (state,) in _sql(study, "SELECT status FROM runs")}
    assert states <= {"FINISHED", "KILLED"}
    places = [place for (place,) in _sql(study, "SELECT artifact_uri FROM runs")]
    folder = f"file://{here}/studies/{study}/mlflow-artifacts/"
    assert len(places) == runs and all(place.startswith(folder) for place in places)


def test_ls_knows_both_studies_and_how_far_they_are() -> None:
    half, small = sorted(_json("ls"), key=lambda row: str(row["study"]))
    assert (small["state"], small["trials"], small["trials_planned"]) == ("finished", 8, 8)
    assert (small["best_trial"], small["best"]) == ("imbalance_ratio_2/t0001", 0.43)
    assert (half["state"], half["trials"], half["trials_planned"]) == ("unfinished", 3, 6)
    assert (half["best_trial"], half["best"]) == ("default/t0002", 0.69)
    assert small["failed"] == half["failed"] == 0


def _numbers(line: str) -> list[float]:
    """The means and deviations at the end of a row."""
    pairs = re.findall(r"(\d+\.\d) ± (\d+\.\d)", line)[-2:]
    return [float(number) for pair in pairs for number in pair]


def test_compare_gives_the_recorded_results() -> None:
    recorded = _results("small")
    assert _digits(_json("compare", "small")) == _digits(recorded)
    assert [s["winner"] for s in recorded["scenarios"]] == ["e8ceeb03", "9c17f5a0"]
    text = _run("compare", "small").stdout
    for line in Path("studies/small/summary.txt").read_text().splitlines():
        if line.startswith(("val/", "test/")):
            title, *_ = re.split(r" {2,}", line)
            rows = [row for row in text.splitlines() if row.startswith(title)]
            # 0.4.0 rounded 27.75, which a computer may hold as 27.749999999999996, to 27.7
            assert any(_numbers(row) == pytest.approx(_numbers(line), abs=0.11) for row in rows), (
                line
            )
    by_loss = _json("compare", "small", "half", "--by", "loss", "--allow-different", "all")
    assert by_loss["by"] == ["loss.name"]


def test_show_and_logs_tell_of_trials_that_ended_and_of_one_that_did_not() -> None:
    text = _run("show", "small/imbalance_ratio_2/t0001").stdout
    assert text.startswith(
        "small/imbalance_ratio_2/t0001: complete, 43.0 % val/pgd3_balanced_acc\n"
    )
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "optim.lr (η) 0.2 tuned" in lines
    assert "seed 0 complete 43.0 clean 70.5, pgd3 54.0" in lines
    assert "seed 1 complete 36.0 clean 56.2, pgd3 39.5" in lines
    assert "t0000: stopped early\n" in _run("show", "small/imbalance_ratio_2/t0000").stdout
    text = _run("show", "half/default/t0003").stdout
    assert "val/pgd3_balanced_acc, % 38.0 57.0 64.0" in " ".join(text.split())
    assert "epoch 12: 64.0 %" in _run("logs", "half/default/t0003").stdout


def test_a_report_is_written_with_the_winners_numbers() -> None:
    _run("report", "small")
    page = Path("studies/small/report.html").read_text()
    for text in ("39.5 ± 4.9", "35.5 ± 6.4", "25.0 ± 8.5", "16.5 ± 0.7"):
        assert text in page


def test_exported_weights_are_the_studys_and_the_file_trains_to_its_digits_again() -> None:
    exported = _run("export", "small", "--to", "out", "--checkpoint")
    files = [f"out/best-{name}{end}" for name in SCENARIOS
             for end in (".yaml", ".md", ".safetensors")]  # fmt: skip
    assert exported.stdout.split() == files
    assert exported.stderr.count("equal to the last bit; 200 of 200 predictions the same") == 2
    recorded = _read("studies/small/confirmations/imbalance_ratio_4/9c17f5a0-seed0/test.json")
    words = ("--attacks", "clean", "--no-sentinel")
    (row,) = _json("evaluate", "out/best-imbalance_ratio_4.safetensors", *words)["rows"]
    assert row["numbers"]["acc"] == recorded["metrics"]["test/clean_acc"] == 0.6225
    if not _as_then():
        pytest.skip("another processor or other libraries may come to other digits")
    for config in (files[3], "studies/small/best/best-imbalance_ratio_4.yaml"):
        trained = _run("train", config, "--test", "--format", "json")
        again = json.loads(trained.stdout)
        assert again["reproduced"] is True
        assert again["weights"] == recorded["weights"]
        clean = {name: v for name, v in recorded["metrics"].items() if "/clean_" in name}
        assert len(clean) == 8 and again["metrics"].items() >= clean.items()
        # those of pgd3 are of another start, which chance alone tells from this one
        robust = again["metrics"]["test/pgd3_acc"]
        assert robust == pytest.approx(recorded["metrics"]["test/pgd3_acc"], abs=0.03)
        assert "reproduced: weights 192e7d18313324ba and all 16 recorded" in trained.stderr
        assert "robust accuracies are of 0.4.0" in trained.stderr


def test_evaluate_finds_the_winners_and_gives_the_numbers_of_0_4_0() -> None:
    words = ("--attacks", "clean,pgd3", "--images", "100", "--no-sentinel")
    cards, then = _json("evaluate", "small", *words)["cards"], _read("then", "evaluate.json")
    assert [len(card["rows"]) for card in cards] == [2, 2, 2, 2]
    for card, before in zip(cards, then, strict=True):
        for key in ("weights", "identity", "recipe", "training_seed", "name"):
            assert card["model"][key] == before["model"][key]
        for row, old in zip(card["rows"], before["rows"], strict=True):
            for key in ("attack", "eps", "step_size", "images_hash", "numbers", "confusion"):
                assert row[key] == old[key]


@pytest.mark.filterwarnings("ignore::UserWarning")  # MLflow's, as it is imported
def test_a_model_in_mlflow_answers_where_the_package_is_imported_already() -> None:
    """It then takes the package's own code and not the copy beside it, as in a notebook."""
    import mlflow

    before, path = _read("then", "predictions.json"), list(sys.path)
    grey = np.full((1, 1, 8, 8), 0.5, np.float32)
    try:
        for place in Path("studies/small/mlflow-artifacts/models").glob("*/artifacts"):
            about = yaml.safe_load((place / "MLmodel").read_text())["metadata"]
            (answer,) = mlflow.pyfunc.load_model(str(place)).predict(grey)
            assert answer == pytest.approx(before.pop(about["scenario"]), abs=1e-5)
    finally:
        sys.path[:] = path
    assert not before


def test_another_study_starts_from_the_best_of_this_one() -> None:
    space = yaml.safe_load(Path("small.yaml").read_text())
    del space["start_from"]
    space |= {"name": "warm", "scenarios": {"data.imbalance_ratio": [8]},
              "warm_start": {"study": "studies/small", "best": 2}}  # fmt: skip
    Path("warm.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    done = _run("--space", "warm.yaml", "--dry-run", "--set", "confirm.seeds=[1, 2]")
    assert "took t0001 (confirmed), t0002 of small" in " ".join(done.stderr.split())
    assert "t0000  method.name pgd_at, optim.lr 0.2, loss.name balanced_softmax" in done.stdout


def test_the_interrupted_study_goes_on_and_keeps_what_0_4_0_trained(tmp_path: Path) -> None:
    """The trials that ended keep their digits. Those that follow are proposed and validated with
    the attack noise of today, so that their robust accuracies may differ."""
    ended = [_files(Path(f"studies/half/trials/default/t000{number}")) for number in range(3)]
    results, progress = _resume("half", with_ray=True)
    (scenario,) = results["scenarios"]
    assert sum(scenario["trials"].values()) == 6
    assert re.findall(r"default/t(\d+) started", progress) == ["0003", "0004", "0005"]
    for files in ended:
        assert {path: path.read_bytes() for path in files} == files
    assert _digits(results) == _digits(_results("half"))
    # six trials, two seeds of the winner and of the baseline, and the study
    _check_mlflow("half", 11, tmp_path)
    if not _as_then():
        pytest.skip("another processor or other libraries may come to other digits")
    (then,) = _read("then", "half.json")["scenarios"]
    assert (scenario["winner"], scenario["baseline"]) == (then["winner"], then["baseline"])
    for now, before in zip(scenario["confirmed"], then["confirmed"], strict=True):
        assert (now["recipe"], now["seeds"]) == (before["recipe"], before["seeds"])
        for split in ("val", "test"):
            clean = {n: v for n, v in before[split].items() if "/clean_" in n}
            assert clean and now[split].items() >= clean.items()
        robust = before["test"]["test/pgd3_acc"]
        assert now["test"]["test/pgd3_acc"] == pytest.approx(robust, abs=0.03)


def test_the_finished_study_has_nothing_to_do(tmp_path: Path) -> None:
    study, before = Path("studies/small"), _results("small")
    kept = [_files(study / "trials"), _files(study / "confirmations")]
    results, progress = _resume("small")
    assert "started" not in progress
    assert [_files(study / "trials"), _files(study / "confirmations")] == kept
    assert _digits(results) == _digits(before)
    now = _results("small")
    assert (now["version"], "version" in before) == (2, False)
    for scenario in now["scenarios"]:  # its test kept no answers by image, which an interval needs
        lead = scenario["leads"]["baseline"]
        assert (lead["p"], lead["test"][:24]) == (None, "none: an earlier version")
    _check_mlflow("small", 17, tmp_path)


@SLOW
def test_the_finished_study_searches_on_as_0_4_0_does(tmp_path: Path) -> None:
    study = Path("studies/small")
    kept = [_files(study / "trials"), _files(study / "confirmations")]
    results, progress = _resume("small", "--trials", "6", with_ray=True)
    started = sorted(re.findall(r"(\S+) started", progress))
    assert started == [f"{name}/t000{number}" for name in SCENARIOS for number in (4, 5)]
    for files in kept:
        assert {path: path.read_bytes() for path in files} == files
    assert [sum(found["trials"].values()) for found in results["scenarios"]] == [6, 6]
    # four trials more, and two seeds of a new winner
    _check_mlflow("small", 23, tmp_path)
    if not _as_then():
        pytest.skip("another processor or other libraries may come to other digits")
    assert _digits(results) == _digits(_read("then", "small.json"))
