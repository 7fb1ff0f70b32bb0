"""A study's folder that people move, rename, copy or make read-only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.identity import settled_store, store_of
from ltat_tune.tracking.db_schema import schema_of
from ltat_tune.tracking.store import connect, experiment_id, sqlite_file, sqlite_uri
from tests.drive import MINI, call, write_space

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _files_of_runs(study: Path) -> list[Path]:
    """Where MLflow keeps the files of the runs of a study, and its model versions."""
    store = store_of(StudyFolder(study))
    client = connect(store.uri)
    page = experiment_id(store.uri, store.experiment, store.uid)
    runs = client.search_runs([page])
    places = [run.info.artifact_uri for run in runs]
    places += [version.source for version in client.search_model_versions()]
    return [Path(unquote(place.removeprefix("file://"))) for place in places]


@pytest.fixture
def original(small_study: Path, tmp_path: Path) -> Path:
    """The small study, as if it had been made in a folder of this test."""
    study = Path(shutil.copytree(small_study, tmp_path / "first" / "studies" / "mini"))
    facts = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps({**facts, "place": "/nowhere/mini"}))
    settled_store(StudyFolder(study))
    return study


def test_a_renamed_and_moved_study_behaves_as_if_made_there(
    original: Path, tmp_path: Path
) -> None:
    root = tmp_path / "second place"
    study = root / "studies" / "mini 2"
    study.parent.mkdir(parents=True)
    before = StudyFolder(original).read_facts()["uid"]
    original.rename(study)
    done = call("export", "mini 2", "--register", "digits", "--scenario", "imbalance_ratio_2",
                cwd=root)  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = call("evaluate", "mini 2", "--attacks", "clean", cwd=root)
    assert done.returncode == 0, done.stderr
    done = call("resume", "mini 2", "--trials", "3", "--in-process", cwd=root)
    assert done.returncode == 0, done.stderr
    assert not original.parents[1].exists() or not any(original.parents[1].rglob("*.*"))
    assert StudyFolder(study).read_facts()["uid"] == before
    places = _files_of_runs(study)
    assert places and all(place.is_relative_to(study) for place in places)
    assert [place for place in places if "models" in place.parts]
    assert not (study / "mlflow-waiting.jsonl").exists()


def test_a_copy_has_an_identity_of_its_own_and_leaves_the_original_alone(
    original: Path, tmp_path: Path
) -> None:
    kept = _tree(original)
    study = Path(shutil.copytree(original, tmp_path / "second" / "studies" / "mini"))
    done = call("resume", "mini", "--trials", "3", "--in-process", cwd=study.parents[1])
    assert done.returncode == 0, done.stderr
    assert f"this study is a copy of {original}" in done.stderr
    assert _tree(original) == kept
    uids = [StudyFolder(each).read_facts()["uid"] for each in (original, study)]
    assert uids[0] != uids[1]
    store = store_of(StudyFolder(study))
    client = connect(store.uri)
    runs = client.search_runs([experiment_id(store.uri, store.experiment, store.uid)])
    assert {run.data.tags["ltat.study"] for run in runs} == {uids[1]}
    assert max(Counter(run.data.tags["ltat.key"] for run in runs).values()) == 1
    assert all(place.is_relative_to(study) for place in _files_of_runs(study))
    again = call("resume", "mini", "--in-process", cwd=study.parents[1])
    assert "is a copy of" not in again.stderr


def test_a_copy_whose_store_is_shared_has_runs_and_files_of_its_own(tmp_path: Path) -> None:
    shared = sqlite_uri(tmp_path / "shared.db")
    original = tmp_path / "first" / "studies" / "mini"
    (tmp_path / "first").mkdir()
    space = write_space(
        tmp_path, scenarios={"data.imbalance_ratio": [2]}, searcher={"trials": 1},
        fixed={**MINI["fixed"], "optim.epochs": 1},
        confirm={"top": 1, "seeds": [1], "attacks": ["clean"], "sentinel": False},
    )  # fmt: skip
    done = call("--space", space, "--tracking-uri", shared, "--in-process",
                cwd=tmp_path / "first")  # fmt: skip
    assert done.returncode == 0, done.stderr
    client = connect(shared)

    def runs(study: Path) -> dict[str, dict[str, Any]]:
        """Of a study: all that the store has, by key."""
        store = store_of(StudyFolder(study))
        page = experiment_id(store.uri, store.experiment, store.uid)
        found = client.search_runs([page], f"tags.`ltat.study` = '{store.uid}'")
        by_key = {run.data.tags["ltat.key"]: run.to_dictionary() for run in found}
        assert len(by_key) == len(found)
        return by_key

    kept, before = _tree(original), runs(original)
    study = Path(shutil.copytree(original, tmp_path / "second" / "studies" / "mini"))
    done = call("resume", "mini", "--trials", "2", "--in-process", cwd=study.parents[1])
    assert done.returncode == 0, done.stderr
    done = call("evaluate", "mini", "--attacks", "fgsm", cwd=study.parents[1])
    assert done.returncode == 0, done.stderr
    assert _tree(original) == kept and runs(original) == before
    after = runs(study)
    trials = {"imbalance_ratio_2/t0000", "imbalance_ratio_2/t0001"}
    assert {"study", *trials} <= set(after) and not trials <= set(before)
    assert not {r["info"]["run_id"] for r in after.values()} & {
        r["info"]["run_id"] for r in before.values()
    }
    places = [Path(unquote(r["info"]["artifact_uri"].removeprefix("file://")))
              for r in after.values()]  # fmt: skip
    assert all(place.is_relative_to(study) for place in places)
    assert all(any(place.rglob("*.*")) for place in places)  # the files are there, too


def test_a_copy_of_a_read_only_study_writes_only_into_itself(
    original: Path, tmp_path: Path
) -> None:
    bind = ["mount", "--bind", str(original), str(original)]
    if os.geteuid() != 0 or subprocess.run(bind, capture_output=True, check=False).returncode:
        pytest.skip("a read-only mount needs root and a system that lets it mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", original], check=True)
        study = Path(shutil.copytree(original, tmp_path / "second" / "studies" / "mini"))
        done = call("evaluate", "mini", "--attacks", "clean", cwd=study.parents[1])
        assert done.returncode == 0, done.stderr
        assert all(place.is_relative_to(study) for place in _files_of_runs(study))
        # the original is in its place, so whatever only reads works
        for words in (
            ["show", "mini", "imbalance_ratio_2/t0000"],
            ["report", "mini", "--to", str(tmp_path / "x.html")],
        ):
            done = call(*words, cwd=original.parents[1])
            assert done.returncode == 0, done.stderr
    finally:
        subprocess.run(["umount", "-l", original], check=True)


@pytest.mark.parametrize(
    "name", ["a b", "a%20b", "a?b=c&d", "a#b", "100%", "ü€", "a'b\"c", "%2F", "a;b", "~", "\n"]
)
def test_a_path_becomes_a_uri_and_a_path_again(name: str) -> None:
    path = Path("/tmp") / name / "mlflow.db"
    assert sqlite_file(sqlite_uri(path)) == path


@pytest.mark.parametrize("name", ["50%20off?x=1#y", "100%"])
def test_a_store_lies_where_its_uri_says_whatever_the_folder_is_called(
    name: str, tmp_path: Path
) -> None:
    folder = tmp_path / name
    client = connect(sqlite_uri(folder / "mlflow.db"))
    run = client.create_run(client.create_experiment("a", (folder / "files").as_uri()))
    client.log_text(run.info.run_id, "x", "x.txt")
    assert schema_of(sqlite_uri(folder / "mlflow.db"))
    assert schema_of(sqlite_uri(folder / "none.db")) == ""
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(list(folder.rglob("x.txt"))) == 1
