"""What cannot be used is found before anything is written, or everything is taken back."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path

import pytest
import ray

from ltat_tune.backend.local import scratch
from ltat_tune.backend.ray_session import ray_session
from ltat_tune.cli import main
from ltat_tune.errors import StudyError
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.tracking.store import connect, sqlite_uri
from tests.drive import MINI, call, write_space

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SMALL = {
    "scenarios": {"data.imbalance_ratio": [2]},
    "fixed": {**MINI["fixed"], "optim.epochs": 1},
    "searcher": {"trials": 1},
    "confirm": {"top": 0, "seeds": [1], "attacks": ["clean"], "sentinel": False},
}


def test_a_store_that_cannot_be_used_leaves_no_folder_and_the_message_names_its_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    space = write_space(tmp_path, **SMALL)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.chdir(tmp_path)
    words = ["--space", str(space), "--in-process"]
    refused = CliRunner(env={"MLFLOW_TRACKING_URI": dead}).invoke(main, words)
    assert refused.exit_code == 2
    assert "; its address came from MLFLOW_TRACKING_URI; start it, or name" in refused.stderr
    assert not (tmp_path / "studies" / "mini").exists()
    for uri in ("mlruns", "file:///tmp/mlruns", "./mlruns"):
        done = call("--space", space, "--tracking-uri", uri, "--in-process", cwd=tmp_path)
        assert done.returncode == 2
        assert "must be a server (http://...) or a database (sqlite:///FILE, " in done.stderr
        assert not (tmp_path / "studies" / "mini").exists()


def test_a_deleted_experiment_is_refused_with_how_to_restore_it_and_another_store_is_taken(
    tmp_path: Path,
) -> None:
    space, shared = write_space(tmp_path, **SMALL), sqlite_uri(tmp_path / "shared.db")
    client = connect(shared)
    number = client.create_experiment("mini")
    client.delete_experiment(number)
    done = call("--space", space, "--tracking-uri", shared, "--in-process", cwd=tmp_path)
    assert done.returncode == 2
    assert f"mlflow experiments restore --experiment-id {number}" in done.stderr
    assert not (tmp_path / "studies" / "mini").exists()
    client.restore_experiment(number)
    done = call("--space", space, "--tracking-uri", shared, "--in-process", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # the files of that experiment would go to mlruns/, wherever its maker stood
    kept = tmp_path / "studies" / "mini" / "mlflow-artifacts"
    assert {path.name for path in kept.rglob("*.yaml")} == {"space.yaml", "config.yaml"}
    refused = call("resume", "mini", "--tracking-uri", sqlite_uri(tmp_path / "other.db"),
                   "--in-process", cwd=tmp_path)  # fmt: skip
    assert refused.returncode == 2 and "has trained, and its runs are in" in refused.stderr
    shutil.rmtree(tmp_path / "studies" / "mini" / "trials")
    (tmp_path / "studies" / "mini" / "ledger.journal").unlink()
    done = call("resume", "mini", "--tracking-uri", sqlite_uri(tmp_path / "other.db"),
                "--in-process", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "other.db").exists()


def test_ray_gets_a_short_private_folder_and_says_in_a_sentence_why_it_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 40)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with scratch.scratch_folder() as folder:
        private = folder.parent
        assert len(str(folder)) < 40
        assert private.stat().st_mode & 0o777 == 0o700
        scratch.remove_abandoned()  # somebody holds its lock
        assert folder.exists()
    assert not private.exists()
    left = Path(tempfile.mkdtemp(prefix=scratch.PREFIX, dir="/tmp"))
    unlocked = Path(tempfile.mkdtemp(prefix=scratch.PREFIX, dir="/tmp"))
    (left / "lock").touch()
    try:
        scratch.remove_abandoned()
        assert not left.exists()
        assert unlocked.exists()  # perhaps one that is just being made
    finally:
        shutil.rmtree(unlocked)

    def fails(**options: object) -> None:
        raise OSError("AF_UNIX path length cannot exceed 107 bytes")

    monkeypatch.setattr(ray, "init", fails)
    with pytest.raises(StudyError, match=r"Ray does not start: AF_UNIX .*; `ltat-tune doctor`"):
        with ray_session(1):
            pass


def test_a_study_whose_ray_does_not_start_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**options: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(ray, "init", fails)
    shared = sqlite_uri(tmp_path / "shared.db")
    done = call("--space", write_space(tmp_path, **SMALL), "--tracking-uri", shared, cwd=tmp_path)
    assert done.returncode == 2 and "Ray does not start: no" in done.stderr
    assert not StudyFolder(tmp_path / "studies" / "mini").root.exists()
    client = connect(shared)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    assert list(client.search_runs(ids)) == []
