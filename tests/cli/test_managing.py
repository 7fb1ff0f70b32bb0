"""`ls studies`, `show`, `logs`, `rm` and `gc`: what is said, what goes, and what never does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.filesize import decimal

from ltat_tune.cli import main
from ltat_tune.results.trial_view import sparkline
from ltat_tune.storage.cleanup import size_of
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.training.trainer import Trainer
from tests.made_studies import made_study


def _run(out: Path, *arguments: str, answer: str | None = None) -> Result:
    runner = CliRunner(env={"COLUMNS": "80"})
    return runner.invoke(main, [*arguments, "--out", str(out)], input=answer)


def _content(folder: StudyFolder) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}


def _used(folder: StudyFolder) -> StudyFolder:
    """With what a driver leaves beside trials."""
    (folder.cache / "digits-train-00").mkdir(parents=True)
    (folder.cache / "digits-train-00" / "images.npy").write_bytes(b"i" * 500)
    folder.stems.mkdir()
    (folder.stems / "abc.pt").write_bytes(b"s" * 300)
    (folder.root / "mlflow.db").write_bytes(b"m" * 200)
    (folder.root / "mlflow-artifacts").mkdir()
    (folder.root / "mlflow-artifacts" / "a.txt").write_text("a")
    folder.best.mkdir()
    (folder.best / "best-imbalance_ratio_2.yaml").write_text("# best\n")
    return folder


def test_ls_says_state_trials_best_age_and_size(tmp_path: Path) -> None:
    folder = made_study(tmp_path, "done", searcher={"trials": 4})
    made_study(tmp_path, "left", finished=False, confirmed=None)
    rows = {r["study"]: r for r in json.loads(_run(tmp_path, "ls", "--format", "json").stdout)}
    done = rows["done"]
    assert (done["state"], rows["left"]["state"]) == ("finished", "unfinished")
    assert (done["trials"], done["trials_planned"], done["failed"]) == (7, 8, 2)
    assert (done["best"], done["best_trial"]) == (0.6, "imbalance_ratio_2/t0001")
    files = (p for p in folder.root.rglob("*") if p.is_file())
    assert done["bytes"] == sum(p.stat().st_size for p in files)
    text = _run(tmp_path, "ls", "studies").stdout
    assert "7/8, 2 failed" in text
    assert " 60.0 " in text
    assert max(map(len, text.splitlines())) <= 80


def test_ls_of_a_study_that_runs_disturbs_nothing(tmp_path: Path) -> None:
    folder = made_study(tmp_path)
    with folder.locked():
        before = _content(folder)
        (row,) = json.loads(_run(tmp_path, "ls", "--format", "json").stdout)
        assert row["state"] == "running"
        assert _content(folder) == before


def test_show_marks_where_each_value_is_from_and_how_it_went(tmp_path: Path) -> None:
    folder = made_study(tmp_path)
    (folder.root / "mlflow.db").touch()
    done = _run(tmp_path, "show", "made/imbalance_ratio_2/t0001")
    assert done.exit_code == 0, done.output
    lines = {" ".join(line.split()) for line in done.stdout.splitlines()}
    assert "made/imbalance_ratio_2/t0001: complete, 60.0 % val/pgd3_balanced_acc" in lines
    assert "loss.name balanced_softmax tuned" in lines
    # the made study has 20 images of every class
    assert "data.imbalance_ratio (UR, K) 2 (1 reached) scenario" in lines
    assert "attack.eps (ε) 0.1 fixed" in lines
    assert not any(line.startswith("optim.momentum") for line in lines)
    assert "val/pgd3_balanced_acc, % 30.0" in lines  # at epoch 2
    assert "seed 2 complete 63.0 clean 31.5, pgd3 31.5" in lines
    place = folder.trial("imbalance_ratio_2", 1)
    assert f"ltat-tune train {place}/config.yaml # train it again, alone" in lines
    assert any("run imbalance_ratio_2 t0001, in sqlite:///" in line for line in lines)
    every = _run(tmp_path, "show", "made", "imbalance_ratio_2", "1", "--all").stdout
    assert "optim.momentum" in every
    data = json.loads(
        _run(tmp_path, "show", "made/imbalance_ratio_2/t0001", "--format", "json").stdout
    )
    assert data["parameters"]["optim.lr"] == {"value": 0.2, "from": "tuned"}
    assert data["parameters"]["optim.momentum"]["from"] == "default"


def test_show_names_classes_as_the_data_does(tmp_path: Path) -> None:
    path = made_study(tmp_path).trial("imbalance_ratio_2", 1) / "result.json"
    of_classes = {
        "classes": ["cat", "automobile"], "samples_per_class": [500, 50],
        "per_class": {"val/clean": [0.96, None]},
    }  # fmt: skip
    path.write_text(json.dumps({**json.loads(path.read_text()), **of_classes}))
    text = _run(tmp_path, "show", "made/imbalance_ratio_2/t0001").stdout
    lines = [line.split() for line in text.splitlines()]
    assert ["cat", "500", "96.0"] in lines
    assert ["automobile", "50", "-"] in lines


def test_show_draws_the_curve_of_a_real_training(tmp_path: Path) -> None:
    folder = made_study(tmp_path)
    place = folder.trial("imbalance_ratio_2", 1)
    space = json.loads(_run(tmp_path, "show", "made/imbalance_ratio_2/t0001",
                            "--format", "json").stdout)["parameters"]  # fmt: skip
    from ltat_tune.config.trial_config import TrialConfig

    config = TrialConfig.from_flat({path: known["value"] for path, known in space.items()})
    (place / "checkpoint.pt").unlink()
    Trainer(config.replace({"optim.epochs": 2})).fit(checkpoint=place / "checkpoint.pt")
    data = json.loads(
        _run(tmp_path, "show", "made/imbalance_ratio_2/t0001", "--format", "json").stdout
    )
    assert [point["epoch"] for point in data["history"]] == [1, 2]
    text = _run(tmp_path, "show", "made/imbalance_ratio_2/t0001").stdout
    (curve,) = [line for line in text.splitlines() if line.startswith("train/loss")]
    falls = data["history"][1]["train/loss"] < data["history"][0]["train/loss"]
    assert ("█▁" if falls else "▁█") in curve


def test_sparklines_reach_from_the_lowest_to_the_highest() -> None:
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([0.3, 0.3]) == "▁▁"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("made", "t0001"), "t0001 is in 2 scenarios; name one: made/imbalance_ratio_2/t0001, "),
        (("made/imbalance_ratio_3/t0001",), "no scenario imbalance_ratio_3 in made; choose from"),
        (("made/imbalance_ratio_2/t0044",), "no trial t0044 in made: imbalance_ratio_2 has 4"),
        (("made",), "a trial is STUDY/SCENARIO/tNNNN, or STUDY tNNNN, got made"),
        (("mede/t0001",), "did you mean made?"),
    ],
)
def test_an_unclear_trial_is_refused_with_those_there_are(
    tmp_path: Path, words: tuple[str, ...], problem: str
) -> None:
    made_study(tmp_path)
    for command in ("show", "logs"):
        done = _run(tmp_path, command, *words)
        assert done.exit_code == 2
        assert problem in done.stderr


def test_one_scenario_needs_no_name(tmp_path: Path) -> None:
    made_study(tmp_path, scenarios={}, trials={"default": [("complete", 0.5)]})
    assert "made/default/t0000: complete" in _run(tmp_path, "show", "made", "t0000").stdout


def test_logs_has_scores_the_end_and_the_traceback(tmp_path: Path) -> None:
    made_study(tmp_path)
    text = _run(tmp_path, "logs", "made/imbalance_ratio_2/t0003").stdout
    assert "proposed: optim.lr" in text
    assert "epoch 2: 10.0 %" in text
    assert "failed after 6 epochs: RuntimeError: no room" in text
    assert text.endswith("\nTraceback:\nRuntimeError: no room\n")
    # follows nothing that has ended
    assert _run(tmp_path, "logs", "made/imbalance_ratio_2/t0003", "--follow").stdout == text


def test_show_and_logs_say_why_a_trial_was_stopped_early(tmp_path: Path) -> None:
    made_study(tmp_path)
    shown = _run(tmp_path, "show", "made/imbalance_ratio_2/t0002").stdout.splitlines()
    assert "made/imbalance_ratio_2/t0002: stopped early" in shown
    assert "not among the best" in shown  # the made study's reason
    logged = _run(tmp_path, "logs", "made/imbalance_ratio_2/t0002").stdout
    assert "stopped early after 6 epochs: not among the best" in logged


def test_rm_asks_and_leaves_every_other_study_alone(tmp_path: Path) -> None:
    folder, other = _used(made_study(tmp_path, "gone")), made_study(tmp_path, "gone2")
    before, size = _content(other), size_of(folder.root)
    no = _run(tmp_path, "rm", "gone", answer="n\n")
    assert no.exit_code == 1
    assert f"the whole study, {decimal(size)}" in no.stderr
    assert folder.root.is_dir()
    done = _run(tmp_path, "rm", "gone", answer="y\n")
    assert done.exit_code == 0
    assert done.stdout == f"freed {decimal(size)}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["gone2"]
    assert _content(other) == before


@pytest.mark.parametrize("options", [(), ("--keep-best",)])
def test_rm_refuses_a_study_that_runs(tmp_path: Path, options: tuple[str, ...]) -> None:
    folder = made_study(tmp_path)
    code = (
        "import sys; from pathlib import Path\n"
        "from ltat_tune.storage.folder import StudyFolder\n"
        f"with StudyFolder(Path({str(folder.root)!r})).locked():\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as driver:  # fmt: skip
        assert driver.stdout is not None
        driver.stdout.readline()
        done = _run(tmp_path, "rm", "made", "--yes", *options)
        swept = _run(tmp_path, "gc", "--yes")
        driver.communicate()
    assert done.exit_code == 2
    assert f"study made is being run by process {driver.pid}" in done.stderr
    assert "made is running and left alone" in swept.stderr
    assert (folder.trial("imbalance_ratio_2", 0) / "checkpoint.pt").exists()


def test_rm_keep_best_leaves_winners_results_and_the_record(tmp_path: Path) -> None:
    folder = _used(made_study(tmp_path))
    results = folder.results.read_bytes()
    before = size_of(folder.root)
    done = _run(tmp_path, "rm", "made", "--keep-best", "--yes")
    assert done.exit_code == 0, done.output
    left = sorted(str(p.relative_to(folder.root)) for p in folder.root.rglob("checkpoint.pt"))
    winner = json.loads(results)["scenarios"][0]["winner"]
    # one winner a scenario with two seeds each; the baseline's weights are gone
    assert len(left) == 4
    assert f"confirmations/imbalance_ratio_2/{winner}-seed1/checkpoint.pt" in left
    assert not list(folder.root.glob("mlflow*")) and not folder.cache.exists()
    assert not folder.stems.exists()
    assert (folder.best / "best-imbalance_ratio_2.yaml").exists()
    assert folder.results.read_bytes() == results
    assert f"freed {decimal(before - size_of(folder.root))}" in done.stdout
    assert _run(tmp_path, "compare", "made").exit_code == 0
    shown = _run(tmp_path, "show", "made/imbalance_ratio_2/t0001").stdout
    assert "its weights were deleted" in shown


def test_rm_keep_best_of_an_unfinished_study_is_refused(tmp_path: Path) -> None:
    folder = made_study(tmp_path, finished=False, confirmed=None)
    before = _content(folder)
    done = _run(tmp_path, "rm", "made", "--keep-best", "--yes")
    assert done.exit_code == 2
    assert "made has no results yet, so its best is not known; finish it" in done.stderr
    assert _content(folder) == before


def test_a_store_that_others_may_use_is_left_and_said_so(tmp_path: Path) -> None:
    uri = "postgresql://me:secret@db.example/mlflow"
    _used(made_study(tmp_path, facts={"tracking_uri": uri}))
    done = _run(tmp_path, "rm", "made", "--yes")
    assert done.exit_code == 0
    assert "its runs stay in postgresql://db.example/mlflow, experiment made" in done.stderr
    assert "secret" not in done.output


def test_a_link_to_a_study_is_not_followed(tmp_path: Path) -> None:
    folder = made_study(tmp_path / "real")
    out = tmp_path / "out"
    out.mkdir()
    (out / "made").symlink_to(folder.root)
    done = _run(out, "rm", "made", "--yes")
    assert done.exit_code == 2
    assert "is a link" in done.stderr
    assert folder.results.exists()


def test_gc_deletes_what_nobody_needs_and_nothing_else(tmp_path: Path) -> None:
    folder = _used(made_study(tmp_path, "done"))
    left = made_study(tmp_path, "left", finished=False, confirmed=None)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    torn = left.trial("imbalance_ratio_2", 0) / f".checkpoint.pt.{gone.pid}"
    torn.write_bytes(b"t" * 50)
    mine = left.trial("imbalance_ratio_2", 0) / f".checkpoint.pt.{os.getpid()}"
    mine.write_bytes(b"m")
    before = {**_content(folder), **_content(left)}
    dry = _run(tmp_path, "gc", "--dry-run")
    assert {**_content(folder), **_content(left)} == before
    for word in ("decoded images", "beginnings that trials shared", "that was stopped early",
                 "that failed", "half written"):  # fmt: skip
        assert word in dry.stdout
    assert _run(tmp_path, "gc", answer="n\n").exit_code == 1
    assert {**_content(folder), **_content(left)} == before
    done = _run(tmp_path, "gc", "--yes")
    assert done.exit_code == 0
    after = {**_content(folder), **_content(left)}
    removed = {path.relative_to(tmp_path) for path in before.keys() - after.keys()}
    assert removed == {
        Path("done/data/digits-train-00/images.npy"), Path("done/stems/abc.pt"),
        Path("done/trials/imbalance_ratio_2/t0002/checkpoint.pt"),
        Path("done/trials/imbalance_ratio_2/t0003/checkpoint.pt"),
        Path("done/trials/imbalance_ratio_4/t0002/checkpoint.pt"), torn.relative_to(tmp_path),
    }  # fmt: skip
    assert done.stdout.endswith("freed 3.9 kB\n")  # 500 + 300 + 3 * 1000 + 50
    assert _run(tmp_path, "gc", "--yes").stdout == "nothing to delete\n"


def test_a_deletion_that_was_cut_short_is_no_study_and_is_swept(tmp_path: Path) -> None:
    folder = made_study(tmp_path)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder.root.rename(tmp_path / f".made.{gone.pid}")
    assert "no studies in" in _run(tmp_path, "ls").stdout
    assert "a deletion that was cut short" in _run(tmp_path, "gc", "--yes").stdout
    assert list(tmp_path.iterdir()) == []
