"""Studies on a PostgreSQL of the test's own, without an MLflow server between."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ltat_tune.errors import StudyError
from ltat_tune.tracking import Tracker
from ltat_tune.tracking.outbox import SPOOL
from ltat_tune.tracking.store import connect
from tests.tracking.test_store import FROM_MLFLOW, assert_all_is_there_once, touch_at_once

pytestmark = FROM_MLFLOW
PASSWORD = "s3cr3t-word"


class Cluster:
    """A PostgreSQL cluster in a temporary folder, on loopback, with one user and a password."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self._folder = binaries, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        (folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:  # PostgreSQL does not run as root
            shutil.chown(folder, "postgres", "postgres")
        self._run("initdb", "--auth=scram-sha-256", "--username=me", "--no-sync",
                  f"--pwfile={folder / 'password'}")  # fmt: skip
        self.start()

    def uri(self, database: str) -> str:
        """Of a new, empty database, or of one that is there."""
        login = ["-h", "127.0.0.1", "-p", str(self._port), "-U", "me", "-d", "postgres"]
        command = [self._binaries / "psql", *login, "-c", f"create database {database}"]
        env = {**os.environ, "PGPASSWORD": PASSWORD}
        subprocess.run(list(map(str, command)), env=env, capture_output=True, check=False)
        driver = "psycopg" if importlib.util.find_spec("psycopg") else "psycopg2"
        return f"postgresql+{driver}://me:{PASSWORD}@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        here = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
        self._run("pg_ctl", "start", "-w", "-l", self._folder / "log",
                  "-o", f"-p {self._port} {here} -c fsync=off")  # fmt: skip

    def stop(self) -> None:
        """At once, as a crash."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate")

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [self._binaries / program, "-D", self._folder / "data", *arguments]
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        done = subprocess.run([*user, *map(str, command)], cwd=self._folder, check=False,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb") or (places and places[-1])
    if not found:
        pytest.skip("PostgreSQL's initdb is not installed (Debian: apt install postgresql)")
    if not any(importlib.util.find_spec(name) for name in ("psycopg", "psycopg2")):
        pytest.skip("no driver of PostgreSQL is installed (pip install 'psycopg[binary]')")
    folder = Path(tempfile.mkdtemp(prefix="ltat-postgres-"))  # its user cannot enter tmp_path
    made = None
    try:
        made = Cluster(Path(found).resolve().parent, folder)
        yield made
    finally:
        if made is not None:
            made.stop()
        shutil.rmtree(folder)


def test_studies_that_make_one_postgres_store_at_once_all_succeed(
    cluster: Cluster, tmp_path: Path
) -> None:
    uri = cluster.uri("shared")
    done = touch_at_once(uri, tmp_path / "studies")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert_all_is_there_once(uri)


def test_a_postgres_that_crashes_and_returns_has_everything_once(
    cluster: Cluster, tmp_path: Path,
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    uri = cluster.uri("shared")
    tracker = Tracker(uri, "crash", tmp_path, "u9", flush_s=0.05)
    tracker.start()
    tracker.wait_until_ready()
    for number in range(6):
        tracker.begin(f"t{number}", f"t{number}", {"lr": 0.1}, {})
        for step in (1, 2, 3):
            tracker.log(f"t{number}", step, {"acc": step / 10})
        if number == 2:
            cluster.stop()
        files = {"note.txt": "kept"}
        tracker.end(f"t{number}", "complete", metrics={"test/acc": 0.5}, files=files)
    for _ in range(200):
        if (tmp_path / SPOOL).exists():
            break
        time.sleep(0.05)
    kept = (tmp_path / SPOOL).read_text()
    cluster.start()
    tracker.finish("complete")
    assert not (tmp_path / SPOOL).exists()
    client = connect(uri)
    experiment = client.get_experiment_by_name("crash")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(r.data.tags["ltat.key"] for r in runs) == ["study", *(f"t{i}" for i in range(6))]
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        if run.data.tags["ltat.key"] != "study":
            history = client.get_metric_history(run.info.run_id, "acc")
            assert sorted(point.step for point in history) == [1, 2, 3]
    assert len(list(tmp_path.glob("mlflow-artifacts/*/artifacts/note.txt"))) == 6
    said = "".join([*capfd.readouterr(), caplog.text, kept])
    assert "the study continues" in said
    assert "s3cr3t" not in said


def test_a_wrong_password_is_said_without_it(cluster: Cluster, tmp_path: Path) -> None:
    uri = cluster.uri("shared").replace(PASSWORD, "wr0ng-word")
    tracker = Tracker(uri, "wrong", tmp_path, "u8")
    tracker.start()
    with pytest.raises(StudyError, match="cannot use the MLflow store postgresql") as caught:
        tracker.wait_until_ready()
    assert "password authentication failed" in str(caught.value)
    assert "wr0ng" not in str(caught.value)
