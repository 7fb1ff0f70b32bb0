"""Studies on a real `mlflow server` that is killed, freezes, refuses, or never comes back."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ltat_tune.errors import StudyError
from ltat_tune.tracking import Tracker
from ltat_tune.tracking.client import Runs
from ltat_tune.tracking.outbox import SPOOL, Write
from ltat_tune.tracking.store import connect
from tests.drive import MINI, Running, call, write_space

SECRET = "s3cr%40t-w0rd"  # as it stands in a URI; s3cr@t-w0rd when read


class Server:
    """`mlflow server` with one worker over a SQLite file, on loopback."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://{self.address}"

    def start(self, *, wait: bool = True) -> None:
        """Does nothing while it runs."""
        if self._process is None:
            store = ["--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}"]
            files = ["--artifacts-destination", str(self._folder / "artifacts")]
            place = ["--host", "127.0.0.1", "--port", self.address.partition(":")[2]]
            with open(self._folder / "log", "ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "mlflow", "server", "--workers", "1",
                     *store, *files, *place],
                    stdout=log, stderr=log, start_new_session=True,
                    env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                         "MLFLOW_DISABLE_TELEMETRY": "true"},
                )  # fmt: skip
        if wait:
            wait_until(self._answers, 120)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """To the server and its worker."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """As `kill -9`."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


class Line:
    """A line to a server that passes on every request, loses answers while `loses` is set, and
    holds each back for `delay_s`."""

    def __init__(self, address: str) -> None:
        host, _, port = address.partition(":")
        self._server = host, int(port)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.loses = False
        self.delay_s = 0.0
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed by the test
            while True:
                client = self._socket.accept()[0]
                server = socket.create_connection(self._server)
                for one, other in ((client, server), (server, client)):
                    pump = (one, other, one is server)
                    threading.Thread(target=self._pump, args=pump, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError), source, sink:
            while data := source.recv(1 << 16):
                if answers and self.loses:
                    self.lost += 1
                    sink.shutdown(socket.SHUT_RDWR)
                    return
                if answers:
                    time.sleep(self.delay_s)
                sink.sendall(data)

    def close(self) -> None:
        self._socket.close()


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"not after {seconds} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def server(started: Server) -> Server:
    started.start()
    return started


# Quicker than a study needs it.
QUICK: dict[str, Any] = {"flush_s": 0.05, "longest_pause_s": 1.0}


def opened(server: Server, folder: Path, uid: str, **options: Any) -> Tracker:
    folder.mkdir(exist_ok=True)
    tracker = Tracker(server.uri, "outage", folder, uid, **QUICK, **options)
    tracker.start()
    return tracker


def trial(tracker: Tracker, key: str, steps: range = range(1, 6)) -> None:
    tracker.begin(key, key, {"lr": 0.1}, {"kind": "trial", "state": "running"})
    for step in steps:
        tracker.log(key, step, {"acc": step / 10, "loss": 1 / step})


def runs_of(server: Server, uid: str) -> dict[str, Any]:
    """key -> run; no key twice."""
    client = connect(server.uri)
    experiment = client.get_experiment_by_name("outage")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.`ltat.study` = '{uid}'")
    found = {run.data.tags["ltat.key"]: run for run in runs}
    assert len(found) == len(runs)
    return found


def points(server: Server, run: Any, name: str) -> list[tuple[int, float]]:
    history = connect(server.uri).get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value) for point in history)


FIVE = [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4), (5, 0.5)]


def test_a_server_that_is_killed_and_restarted_has_everything_once(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    tracker = opened(server, tmp_path, "killed")
    tracker.wait_until_ready()
    tracker.begin("open", "open", {}, {})
    killer = threading.Thread(target=server.kill)
    for number in range(10):
        if number == 4:  # while it takes the writes of those before
            wait_until(lambda: "t0" in runs_of(server, "killed"), 60)
            killer.start()
        trial(tracker, f"t{number}")
        state = "pruned" if number % 2 else "complete"
        tracker.end(
            f"t{number}", state, metrics={"test/acc": 0.25}, files={"note.txt": f"of t{number}"}
        )
    killer.join()
    wait_until((tmp_path / SPOOL).exists, 30)
    server.start()
    tracker.finish("complete")
    assert not (tmp_path / SPOOL).exists()
    runs = runs_of(server, "killed")
    assert set(runs) == {"study", "open", *(f"t{number}" for number in range(10))}
    for number in range(10):
        run = runs[f"t{number}"]
        assert run.info.status == "FINISHED"
        assert points(server, run, "acc") == FIVE
        assert points(server, run, "test/acc") == [(5, 0.25)]
        assert run.data.params == {"lr": "0.1"}
        assert [f.path for f in connect(server.uri).list_artifacts(run.info.run_id)] == [
            "note.txt"
        ]
    assert (runs["study"].info.status, runs["open"].info.status) == ("FINISHED", "KILLED")
    said = [record.getMessage() for record in caplog.records if record.name == "ltat_tune"]
    assert "the study continues" in said[0] and str(tmp_path / SPOOL) in said[0]
    assert said[-1] == "MLflow has received all waiting writes"
    assert "".join(capfd.readouterr()) == ""


def test_what_a_server_never_took_is_kept_and_delivered_by_the_resume(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = opened(server, tmp_path / "one", "one", end_wait_s=0.5)
    two = opened(server, tmp_path / "two", "two", end_wait_s=300)
    for tracker in (one, two):
        tracker.wait_until_ready()
        trial(tracker, "before", range(1, 3))
    wait_until(lambda: "before" in runs_of(server, "one"), 20)
    wait_until(lambda: points(server, runs_of(server, "one")["before"], "acc") == FIVE[:2], 20)
    server.kill()
    for tracker in (one, two):
        for step in (3, 4, 5):
            tracker.log("before", step, {"acc": step / 10, "loss": 1 / step})
        tracker.end("before", "complete", metrics={"test/acc": 0.5})
        trial(tracker, "after")
    began = time.monotonic()
    one.finish("interrupted")
    assert time.monotonic() - began < 15
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()  # Ctrl-C
    began = time.monotonic()
    two.finish("interrupted")
    assert time.monotonic() - began < 15
    said = caplog.text
    assert "waiting up to 300 s for MLflow to answer; Ctrl-C ends the waiting" in said
    kept = len((tmp_path / "two" / SPOOL).read_text().splitlines())
    assert f"{tmp_path / 'two' / SPOOL} keeps {kept} writes to MLflow" in said
    assert "`ltat-tune resume two` delivers them" in said

    refused = opened(server, tmp_path / "one", "one")
    with pytest.raises(StudyError, match=r"connection refused; \d+ writes stay in .*waiting"):
        refused.wait_until_ready()
    refused.close()
    resumed = opened(server, tmp_path / "one", "one", start_wait_s=120)
    server.start(wait=False)  # while the resume waits for it
    resumed.wait_until_ready()
    assert resumed.closed("before") and not resumed.closed("after")
    trial(resumed, "after", range(1, 7))  # its checkpoint knows one epoch more
    resumed.end("after", "complete")
    resumed.finish("complete")
    assert not (tmp_path / "one" / SPOOL).exists()
    runs = runs_of(server, "one")
    assert {key: run.info.status for key, run in runs.items()} == dict.fromkeys(
        ("study", "before", "after"), "FINISHED"
    )
    assert points(server, runs["before"], "acc") == FIVE
    assert points(server, runs["before"], "test/acc") == [(5, 0.5)]
    assert points(server, runs["after"], "acc") == [*FIVE, (6, 0.6)]


def test_a_run_whose_making_was_not_answered_is_not_made_twice(
    server: Server, tmp_path: Path
) -> None:
    line = Line(server.address)
    tracker = Tracker(line.uri, "outage", tmp_path, "unanswered", **QUICK)
    tracker.start()
    tracker.wait_until_ready()
    line.loses = True
    trial(tracker, "t0")
    tracker.end("t0", "complete", metrics={"test/acc": 0.5})
    wait_until(lambda: line.lost >= 2, 30)
    line.loses = False
    tracker.finish("complete")
    line.close()
    runs = runs_of(server, "unanswered")
    assert set(runs) == {"study", "t0"}
    assert runs["t0"].info.status == "FINISHED"
    assert points(server, runs["t0"], "acc") == FIVE
    assert points(server, runs["t0"], "test/acc") == [(5, 0.5)]


def test_a_frozen_server_does_not_make_a_run_twice(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    tracker = opened(server, tmp_path, "frozen")
    tracker.wait_until_ready()
    tries: list[int] = []
    deliver = Runs.deliver

    def counted(runs: Runs, write: Write) -> None:
        tries.append(write.tries)
        deliver(runs, write)

    monkeypatch.setattr(Runs, "deliver", counted)
    server.signal(signal.SIGSTOP)
    trial(tracker, "t0")
    tracker.end("t0", "complete")
    wait_until((tmp_path / SPOOL).exists, 20)
    wait_until(lambda: max(tries) >= 2, 60)  # its making is said for the third time
    server.signal(signal.SIGCONT)
    tracker.finish("complete")
    runs = runs_of(server, "frozen")
    assert set(runs) == {"study", "t0"}
    assert runs["t0"].info.status == "FINISHED"
    assert points(server, runs["t0"], "acc") == FIVE


def test_what_the_server_refuses_is_said_once_and_holds_up_nothing(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = opened(server, tmp_path, "refused")
    tracker.wait_until_ready()
    trial(tracker, "t0", range(1, 2))
    tracker.begin("t0", "t0", {"lr": 0.2}, {})  # a parameter cannot change
    tracker.log("t0", 2, {"name[1]": 1.0})
    tracker.log("t0", 3, {"acc": 0.3})
    tracker.end("t0", "complete")
    trial(tracker, "t1")
    tracker.end("t1", "complete")
    tracker.finish("complete")
    said = [record.getMessage() for record in caplog.records if record.name == "ltat_tune"]
    assert len(said) == 1 and "MLflow refused to write params of t0 (" in said[0]
    runs = runs_of(server, "refused")
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert points(server, runs["t1"], "acc") == FIVE
    assert not (tmp_path / SPOOL).exists()


def test_no_password_reaches_a_terminal_a_log_or_a_file(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG, "ltat_tune")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    tracker = Tracker(
        f"http://me:{SECRET}@{server.address}", "outage", tmp_path, "secret", **QUICK
    )
    tracker.start()
    tracker.wait_until_ready()
    trial(tracker, "t0")
    server.signal(signal.SIGSTOP)
    tracker.end("t0", "complete", artifacts=(Path(__file__),))
    wait_until((tmp_path / SPOOL).exists, 20)
    kept = (tmp_path / SPOOL).read_text()
    server.signal(signal.SIGCONT)
    tracker.begin("t1", "t1", {"lr": 0.1}, {})
    tracker.begin("t1", "t1", {"lr": 0.2}, {})  # refused
    tracker.finish("complete")
    lost = Tracker(f"http://me:{SECRET}@127.0.0.1:1", "outage", tmp_path, "secret")
    lost.start()
    with pytest.raises(
        StudyError, match="MLflow store http://127.0.0.1:1: connection refused"
    ) as e:
        lost.wait_until_ready()
    every = "".join([*capfd.readouterr(), caplog.text, kept, str(e.value), repr(vars(e.value))])
    assert "s3cr" not in every and "w0rd" not in every
    assert "does not accept writes" in every and "refused to write params of t1" in every


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_results_go_to_a_slow_server_ends_the_study_within_seconds(
    number: signal.Signals, server: Server, tmp_path: Path
) -> None:
    """No run is left RUNNING, the interpreter prints nothing, and a resume delivers the rest."""
    line = Line(server.address)
    space = write_space(
        tmp_path, name=f"slow-{number.name.lower()}", scenarios={"data.imbalance_ratio": [2]},
        fixed={**MINI["fixed"], "optim.epochs": 2}, searcher={"trials": 1},
        confirm={"top": 0, "seeds": [1], "attacks": ["clean"], "sentinel": False},
    )  # fmt: skip
    name = f"slow-{number.name.lower()}"
    with Running("--space", space, "--tracking-uri", line.uri, "--in-process",
                 cwd=tmp_path) as study:  # fmt: skip
        study.wait_for("t0000 started")
        line.delay_s = 1.5
        study.wait_for("writing the results")
        began = time.monotonic()
        assert study.end(number) == 130
        assert time.monotonic() - began < 20
        said = study.log.read_text()
    line.delay_s = 0.0
    assert "Traceback" not in said and "Exception ignored" not in said
    assert f"`ltat-tune resume {name}` delivers them" in said or "resume with" in said
    client = connect(server.uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    states = {run.info.status for run in client.search_runs([experiment.experiment_id])}
    assert states and "RUNNING" not in states
    done = call("resume", name, "--in-process", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["state"] for run in runs} == {"complete"}
    line.close()
