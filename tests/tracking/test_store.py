"""What may be printed of a tracking URI, and first touches of a store."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import traceback
from pathlib import Path
from urllib.parse import unquote

import pytest

from ltat_tune.errors import StudyError
from ltat_tune.tracking import store
from ltat_tune.tracking.client import Runs
from ltat_tune.tracking.store import attach, connect, hidden, public_uri, reason, sqlite_uri

KILLED_WHILE_MAKING = """
import os, sys, threading, time
from pathlib import Path
from ltat_tune.tracking.store import connect

def size():
    found = 0
    for path in Path(sys.argv[1]).glob("*mlflow.db*"):
        try:
            found += path.stat().st_size
        except FileNotFoundError:  # SQLite's journal comes and goes
            pass
    return found

def kill():
    while size() < 200_000:
        time.sleep(0.002)
    os.kill(os.getpid(), 9)

threading.Thread(target=kill).start()
connect(f"sqlite:///{sys.argv[1]}/mlflow.db")
"""


FROM_MLFLOW = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

# Each process tracks a study of its own; all begin at once on a store that does not exist yet.
FIRST_TOUCH = """
import os, sys
from pathlib import Path
import mlflow
from ltat_tune.tracking import Tracker

def track(number):
    folder = Path(sys.argv[2]) / str(number)
    folder.mkdir()
    tracker = Tracker(sys.argv[1], "same" if number < 2 else "other", folder, f"u{number}")
    tracker.start()
    tracker.wait_until_ready()
    for trial in range(3):
        tracker.begin(f"t{trial}", f"t{trial}", {"lr": 0.1}, {"kind": "trial"})
        for step in range(1, 6):
            tracker.log(f"t{trial}", step, {"acc": step / 10})
        tracker.end(f"t{trial}", "complete", metrics={"test/acc": 0.5})
    tracker.finish("complete")

children = []
for number in range(3):
    child = os.fork()
    if not child:
        try:
            track(number)
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
            os._exit(1)
        os._exit(0)
    children.append(child)
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def touch_at_once(uri: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Three studies that begin at once on one store, two of them with the same name."""
    folder.mkdir()
    return subprocess.run(
        [sys.executable, "-c", FIRST_TOUCH, uri, str(folder)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def assert_all_is_there_once(uri: str) -> None:
    """Of the three studies of `touch_at_once`."""
    client = connect(uri)
    names = [e.name for e in client.search_experiments() if e.name != "Default"]
    assert len(names) == 3 and {"other", "same"} <= set(names)
    assert [name for name in names if name.startswith("same-")]  # with files of its own
    places = {e.artifact_location for e in client.search_experiments() if e.name in names}
    assert len(places) == 3
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(experiments)
    trials = {(run.data.tags["ltat.study"], run.data.tags["ltat.key"]): run for run in runs}
    assert len(runs) == len(trials) == 3 * 4
    for (_, key), run in trials.items():
        assert run.info.status == "FINISHED"
        if key != "study":
            history = client.get_metric_history(run.info.run_id, "acc")
            assert sorted(point.step for point in history) == [1, 2, 3, 4, 5]
            assert run.data.metrics["test/acc"] == 0.5


@FROM_MLFLOW
def test_studies_that_make_one_sqlite_store_at_once_all_succeed(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'shared' / 'mlflow.db'}"
    done = touch_at_once(uri, tmp_path / "studies")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert_all_is_there_once(uri)
    assert os.listdir(tmp_path / "shared") == ["mlflow.db"]  # no lock file stays


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://host:5000", "http://host:5000"),
        ("http://me:secret@host:5000", "http://host:5000"),
        ("postgresql://me:se/cr@t?@host/db", "postgresql://host/db"),
        ("postgresql://host/db?user=me&password=s@cret", "postgresql://host/db?user=me&password=***"),
        ("postgresql://host/db?sslpassword=secret&x=1", "postgresql://host/db?sslpassword=***&x=1"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("databricks", "databricks"),
    ],
)  # fmt: skip
def test_a_uri_is_shown_without_its_secrets(uri: str, shown: str) -> None:
    assert public_uri(uri) == shown


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach http://me:s%40cret@host:5000/api/2.0/mlflow",
        "connection to me:s%40cret@host failed",
        "password 's@cret' is wrong",
        "password 's%40cret' is wrong",
    ],
)
def test_a_message_is_shown_without_the_password(text: str) -> None:
    shown = hidden(text, "http://me:s%40cret@host:5000")
    assert "cret" not in shown and "me:" not in shown


def test_a_secret_option_is_hidden_in_messages_too() -> None:
    assert hidden("got key 'abc'", "mysql://host/db?ssl_key=abc") == "got key '***'"


def test_a_reason_is_one_line() -> None:
    assert reason(ValueError("first\nsecond"), "http://host") == "first"
    assert reason(ValueError(), "http://host") == "ValueError"
    refused = OSError("Max retries exceeded (NewConnectionError: [Errno 111] Connection refused)")
    assert reason(refused, "http://host") == "connection refused"


def test_a_missing_driver_is_said_with_what_to_install() -> None:
    error = ModuleNotFoundError("No module named 'psycopg'", name="psycopg")
    assert "pip install 'psycopg[binary]'" in reason(error, "postgresql://host/db")


@FROM_MLFLOW
@pytest.mark.parametrize("scheme", ["http", "postgresql", "postgresql+psycopg2"])
def test_no_traceback_of_an_unreachable_store_has_the_password(scheme: str) -> None:
    password = "s3cret"
    uri = f"{scheme}://me:{password}@127.0.0.1:1/x"
    with pytest.raises(StudyError) as caught:
        attach(uri, "name", "uid", "key", {}, {})
    shown = "".join(traceback.format_exception(caught.value)).replace('password = "s3cret"', "")
    assert password not in shown
    assert f"{scheme}://127.0.0.1:1/x: " in str(caught.value)


@FROM_MLFLOW
def test_a_kill_while_the_store_is_made_leaves_none_that_is_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_MAKING, tmp_path], capture_output=True, check=False
    )
    assert killed.returncode == -9, killed.stderr
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == []
    monkeypatch.setattr(store, "make_store", inspect.unwrap(store.make_store))
    connect(f"sqlite:///{tmp_path / 'mlflow.db'}").create_experiment("made")
    assert [p.name for p in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_study_of_the_same_name_on_one_database_keeps_its_files_in_its_own_folder(
    tmp_path: Path,
) -> None:
    """As a copy does: its experiment is another, found again by the study's id."""
    uri = sqlite_uri(tmp_path / "shared.db")
    for _ in range(2):
        for uid in ("one", "two"):
            runs = Runs(uri, "same", tmp_path / uid, uid)
            run = connect(uri).get_run(runs._ids["study"])
            place = Path(unquote(run.info.artifact_uri.removeprefix("file://")))
            assert place.is_relative_to((tmp_path / uid).resolve())
    assert len(connect(uri).search_experiments()) == 3  # and Default
