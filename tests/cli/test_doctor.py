"""`ltat-tune doctor`: what is looked at, and what is said of what is wrong."""

from __future__ import annotations

import json
import sqlite3
import threading
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ltat_tune.cli import main
from ltat_tune.preflight.doctor_places import check_mlflow, file_system
from ltat_tune.preflight.finding import Finding
from ltat_tune.tracking.db_schema import revisions, schema_of
from ltat_tune.tracking.store import connect
from tests.made_studies import made_study


def _doctor(out: Path, *arguments: str) -> Result:
    runner = CliRunner(env={"MLFLOW_TRACKING_URI": ""})
    return runner.invoke(main, ["doctor", "--out", str(out), *arguments])


def test_here_all_is_well_and_ray_starts(tmp_path: Path) -> None:
    done = _doctor(tmp_path, "--format", "json")
    assert done.exit_code == 0, done.output
    found = {row["name"]: row for row in json.loads(done.stdout)}
    assert found["ray"]["level"] == "ok"
    assert "runs a task" in found["ray"]["text"]
    for name in ("python", "packages", "torch", "loopback", "disk", "mlflow"):
        assert found[name]["level"] == "ok", found[name]
    assert list(tmp_path.iterdir()) == []  # the trial write is gone


def test_a_server_that_does_not_answer_fails_with_what_to_do(tmp_path: Path) -> None:
    uri = "http://me:secret@127.0.0.1:9"
    done = _doctor(tmp_path, "--no-ray", "--tracking-uri", uri)
    assert done.exit_code == 1
    assert "FAIL  mlflow" in done.stdout
    assert "start it, or correct --tracking-uri" in done.stdout
    assert "1 to fix" in done.stdout
    assert "secret" not in done.output


def test_every_level_has_its_remedy_in_the_table(tmp_path: Path) -> None:
    done = _doctor(tmp_path, "--no-ray")
    assert done.exit_code == 0
    assert "ok    data           digits come with scikit-learn" in done.stdout
    assert "ltat-tune prepare cifar10" in done.stdout


def _only(out: Path, uri: str | None = None) -> Finding:
    (found,) = check_mlflow(uri, out)
    return found


def test_a_store_of_this_mlflow_of_an_older_and_of_a_newer_one(tmp_path: Path) -> None:
    folder = made_study(tmp_path)
    path = folder.root / "mlflow.db"
    uri = f"sqlite:///{path}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, about what it is built on
        connect(uri).search_experiments()
    assert schema_of(uri) == revisions()[1]  # what MLflow itself wrote
    assert _only(tmp_path, uri).level == "ok"
    assert "those of 1 studies open" in _only(tmp_path).text
    older = min(revisions()[0] - {revisions()[1]})
    expected = ((older, "warn", "db upgrade"), ("f00", "fail", "that created it"))
    for revision, level, word in expected:
        with sqlite3.connect(path) as connection:
            connection.execute("update alembic_version set version_num = ?", (revision,))
        connection.close()
        found = _only(tmp_path)
        assert found.level == level
        assert word in found.remedy


def test_looking_at_a_store_makes_none(tmp_path: Path) -> None:
    assert _only(tmp_path, f"sqlite:///{tmp_path / 'none.db'}").level == "ok"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "kind"),
    [("/home/me/studies", "nfs4"), ("/home", "nfs4"), ("/homes", "ext4"), ("/a b/c", "cifs")],
)
def test_the_file_system_is_that_of_the_nearest_mount(
    tmp_path: Path, place: str, kind: str
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\nserver:/x /home nfs4 rw 0 0\n//s/y /a\\040b cifs rw 0 0\n"
    )
    assert file_system(Path(place), mounts) == kind


@pytest.mark.parametrize(
    ("status", "level"), [(200, "ok"), (401, "ok"), (404, "fail"), (503, "fail")]
)
def test_a_server_is_asked_without_its_login(tmp_path: Path, status: int, level: str) -> None:
    asked: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        found = _only(tmp_path, f"http://me:secret@127.0.0.1:{server.server_port}")
        thread.join()
    assert asked == ["/health"]
    assert found.level == level
    assert "secret" not in f"{found.text} {found.remedy}"
