"""Terminals that cannot show, take or outlive what is printed; proxies; helpers left behind."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from urllib.error import HTTPError

import pytest

from ltat_tune.backend.stop_signals import kept_handlers
from ltat_tune.tracking.loopback import is_loopback, open_url, without_proxy
from tests.drive import MINI, Running, call, command, descendants, mlflow_runs, write_space


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_a_terminal_cannot_show_becomes_a_question_mark(encoding: str) -> None:
    done = subprocess.run(
        command("params", "lambda"), env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"method.separation_weight" in done.stdout
    done.stdout.decode(encoding)


@pytest.mark.parametrize("words", [("params", "lambda"), ("version",)])
def test_output_that_cannot_be_written_is_one_sentence(words: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(*words), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "error: cannot write the output: No space left on device\n"


def test_requests_to_this_machine_pass_by_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.delenv("NO_PROXY", raising=False)
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(HTTPError, match="Unsupported method"):  # it answered
            open_url(f"http://127.0.0.1:{server.server_port}/", 5)
    finally:
        server.shutdown()
        server.server_close()
    assert is_loopback("http://localhost:5000") and not is_loopback("http://10.0.0.1:5000")
    without_proxy()
    assert os.environ["no_proxy"] == "example.org,127.0.0.1,localhost,::1"
    assert os.environ["NO_PROXY"] == "127.0.0.1,localhost,::1"


def test_a_killed_ui_leaves_no_server_behind(small_study: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("ui", "mini", "--no-browser"), cwd=small_study.parent.parent,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    served = descendants(process.pid)
    assert any("mlflow" in line for _, line in served)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 20
    while alive := [line for pid, line in served if Path(f"/proc/{pid}/exe").exists()]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)


def test_handlers_of_signals_survive_what_puts_the_systems_own_in_their_place() -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    mine = signal.default_int_handler
    signal.signal(signal.SIGTERM, mine)
    try:
        with kept_handlers():
            for number in before:
                signal.signal(number, signal.SIG_DFL)
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGHUP) is before[signal.SIGHUP]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_closed_terminal_stops_a_study_as_ctrl_c_does_and_a_second_start_is_told_who_runs_it(
    tmp_path: Path,
) -> None:
    space = write_space(
        tmp_path, scenarios={"data.imbalance_ratio": [2]},
        # longer than the two commands below take on a busy machine
        fixed={**MINI["fixed"], "attack.steps": 100, "optim.epochs": 200}, searcher={"trials": 2},
        confirm={"top": 0, "seeds": [1], "attacks": ["clean"], "sentinel": False},
    )  # fmt: skip
    with Running("--space", space, "--in-process", cwd=tmp_path) as study:
        study.wait_for("t0000 started")
        for more in ((), ("--overwrite",)):
            done = call("--space", space, "--in-process", *more, cwd=tmp_path)
            assert done.returncode == 2
            assert f"study mini is being run by process {study.process.pid} since" in done.stderr
        assert study.end(signal.SIGHUP) == 130
    assert "stopped by SIGHUP" in study.log.read_text()
    assert "resume with: ltat-tune resume mini" in study.log.read_text()
    assert {r.info.status for r in mlflow_runs(tmp_path / "studies" / "mini")} == {"KILLED"}
