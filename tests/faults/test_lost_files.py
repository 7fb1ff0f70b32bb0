"""A ledger, `study.json`, `space.yaml` or `config.yaml` that is gone or damaged is made again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.trials import read_trials
from ltat_tune.tracking.store import sqlite_uri
from tests.drive import MINI, call, write_space
from tests.small_study import made_once

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

# by searcher: what a trial leaves besides its own training. Some trials of each are stopped early
KINDS: dict[str, dict[str, Any]] = {
    "rungs": {"searcher": {"name": "tpe", "trials": 4}},
    "predict": {
        "searcher": {"name": "predict", "trials": 6},
        "scheduler": {"name": "asha", "rungs": "copy"},
        "fixed": {**MINI["fixed"], "optim.epochs": 8},
    },
    "copies": {
        "searcher": {"name": "tpe", "trials": 4},
        "scheduler": {"name": "asha", "rungs": "copy"},
        "fixed": {**MINI["fixed"], "optim.epochs": 8},
    },
    "repeats": {"searcher": {"name": "tpe", "trials": 2, "seeds_per_trial": 2}},
    "grid": {
        "searcher": {"name": "grid"},
        "start_from": [],
        "tuned": {
            "optim.lr": {"type": "categorical", "choices": [0.05, 0.1]},
            "loss.name": MINI["tuned"]["loss.name"],
            # has no effect under cross_entropy: the grid proposes two trainings twice
            "loss.tau": {"type": "categorical", "choices": [1.0, 1.0001],
                         "when": {"loss.name": "balanced_softmax"}},
        },
    },
}  # fmt: skip


def _small(kind: str) -> dict[str, Any]:
    return {
        "scenarios": {"data.imbalance_ratio": [2]},
        "confirm": {"top": 1, "seeds": [5], "attacks": ["clean"], "sentinel": False},
        **KINDS[kind],
    }


def _study(factory: pytest.TempPathFactory, kind: str, folder: Path) -> Path:
    """A finished study of one's own, copied into `folder`."""

    def make(into: Path) -> None:
        done = call("--space", write_space(into, **_small(kind)), "--in-process", "--quiet",
                    cwd=into)  # fmt: skip
        assert done.returncode == 0, done.stderr

    made = made_once(factory, f"lost-files-{kind}", make) / "studies" / "mini"
    study = Path(shutil.copytree(made, folder / "studies" / "mini"))
    facts = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps({**facts, "place": str(study.resolve())}))
    return study


def _rows(study: Path) -> list[dict[str, Any]]:
    """Every trial without its times."""
    rows = [dataclasses.asdict(row) for row in read_trials(StudyFolder(study))]
    return [{k: v for k, v in row.items() if k not in ("started", "ended")} for row in rows]


def _scenarios(study: Path) -> Any:
    return json.loads((study / "results.json").read_text())["scenarios"]


def _resumed(study: Path) -> Any:
    """The results of a resume, which does what is left."""
    (study / "results.json").unlink()
    done = call("resume", "mini", "--in-process", cwd=study.parents[1])
    assert done.returncode == 0, done.stderr
    assert "started" not in done.stderr  # nothing trains again
    return _scenarios(study)


def _mended(study: Path, *words: str) -> str:
    done = call("doctor", "mini", "--mend", *words, cwd=study.parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    after = call("doctor", "mini", cwd=study.parents[1])
    assert (after.returncode, after.stdout.splitlines()[-1]) == (0, "no problems"), after.stdout
    return done.stdout


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_ledger_that_is_gone_is_made_again_from_the_trials_own_files(
    kind: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study = _study(tmp_path_factory, kind, tmp_path)
    before, found = _rows(study), _scenarios(study)
    (study / "ledger.journal").unlink()
    refused = call("resume", "mini", "--in-process", cwd=tmp_path)
    assert refused.returncode == 2
    assert f"{len(before)} trials are there; let `ltat-tune doctor" in refused.stderr
    said = _mended(study)
    assert f"{len(before)} made again from their files" in said
    assert _rows(study) == before
    assert _resumed(study) == found
    assert _rows(study) == before


def _garbage(lines: list[bytes]) -> list[bytes]:
    return [*lines[:20], b"\0" * 30, *lines[22:]]


def _without_a_trial(lines: list[bytes]) -> list[bytes]:
    """What follows is then taken for another trial's."""
    first = [number for number, line in enumerate(lines) if b'"op_code":4' in line][1]
    return [*lines[:first], *lines[first + 1 :]]


DAMAGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "garbage over two records": _garbage,
    "cut after a record": lambda lines: lines[: len(lines) // 3],
    "there twice": lambda lines: [*lines, *lines],
    "a trial's first record gone": _without_a_trial,
    "empty": lambda lines: [],
}


@pytest.mark.parametrize("how", list(DAMAGES))
def test_a_damaged_ledger_keeps_the_rows_that_tell_what_the_files_tell(
    how: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study = _study(tmp_path_factory, "rungs", tmp_path)
    before, found, ledger = _rows(study), _scenarios(study), study / "ledger.journal"
    lines = ledger.read_bytes().splitlines()
    ledger.write_bytes(b"".join(line + b"\n" for line in DAMAGES[how](lines)))
    said = _mended(study)
    assert "again from their files" in said or "trials were kept" in said
    assert "ledger.journal.damaged" in said
    assert _rows(study) == before
    assert _resumed(study) == found


def test_without_ledger_and_mlflow_the_files_alone_tell_which_trials_were_stopped(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study = _study(tmp_path_factory, "rungs", tmp_path)
    before, found = _rows(study), _scenarios(study)
    assert {row["state"] for row in before} == {"complete", "pruned"}
    (study / "ledger.journal").unlink()
    (study / "mlflow.db").unlink()
    call("doctor", "mini", "--mend", cwd=tmp_path)
    after = _rows(study)
    stopped = [row for row in after if row["state"] == "pruned"]
    assert all(row["reason"] == "stopped early at epoch 2" for row in stopped)
    for row in (*before, *after):
        row.pop("reason")
    assert after == before
    assert _resumed(study) == found


@pytest.mark.parametrize("how", ["gone", "empty", "torn", "garbage"])
@pytest.mark.parametrize("name", ["study.json", "space.yaml"])
def test_facts_and_space_file_are_written_again_from_each_other_and_from_mlflow(
    name: str, how: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study = _study(tmp_path_factory, "rungs", tmp_path)
    path, found = study / name, _scenarios(study)
    kept, before = path.read_text(), _rows(study)
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "torn": kept.encode()[:150], "garbage": b"\xff\0"}[how])
    refused = call("resume", "mini", "--in-process", cwd=tmp_path)
    assert refused.returncode == 2 and name in refused.stderr and "doctor" in refused.stderr
    seen = call("doctor", "mini", cwd=tmp_path)
    assert seen.returncode == 1 and f"{name} is" in seen.stdout
    assert "written again from" in _mended(study)
    read = json.loads if name == "study.json" else yaml.safe_load
    assert read(path.read_text()) == read(kept)
    assert _rows(study) == before
    assert _resumed(study) == found


def test_the_tags_of_another_store_tell_a_study_that_lost_its_facts(tmp_path: Path) -> None:
    shared = sqlite_uri(tmp_path / "shared.db")
    space = write_space(tmp_path, **_small("rungs"))
    done = call("--space", space, "--tracking-uri", shared, "--in-process", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    study = tmp_path / "studies" / "mini"
    kept = json.loads((study / "study.json").read_text())
    (study / "study.json").unlink()
    for artifact in study.rglob("artifacts/study.json"):
        artifact.unlink()
    done = call("doctor", "mini", "--mend", cwd=tmp_path)
    assert (
        done.returncode == 1
        and "name the study's MLflow store with --tracking-uri" in " ".join(done.stdout.split())
    )
    _mended(study, "--tracking-uri", shared)
    now = json.loads((study / "study.json").read_text())
    for name in ("uid", "name", "tracking_uri", "place", "versions", "space", "defaults"):
        assert now[name] == kept[name], name


def test_a_configuration_and_a_result_of_a_trial_are_written_again(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study = _study(tmp_path_factory, "rungs", tmp_path)
    (first, second, *_) = sorted((study / "trials" / "imbalance_ratio_2").iterdir())
    config, result = (first / "config.yaml").read_text(), (second / "result.json").read_text()
    (confirmation, *_) = (study / "confirmations" / "imbalance_ratio_2").glob("*/config.yaml")
    confirmed = confirmation.read_text()
    (first / "config.yaml").write_text("config: [")
    confirmation.unlink()
    (second / "result.json").unlink()
    said = _mended(study)
    assert "written again from the ledger" in said and "written again from the checkpoint" in said
    assert (first / "config.yaml").read_text() == config
    assert confirmation.read_text() == confirmed
    assert (second / "result.json").read_text() == result
