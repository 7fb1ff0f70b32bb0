"""Running `ltat-tune` as users do, and reading what it left behind.

`run` and `Running` start a Python process: seconds of imports, and ten more with Ray. They are for
tests of processes, signals and Ray. `call` runs the same command in the process of the tests, and
`call("--space", space, "--in-process", cwd=folder)` a whole study.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ltat_tune.api.isolation import process_kept
from ltat_tune.cli import main
from ltat_tune.config import plugin_loader

SLOW = pytest.mark.skipif(
    "LTAT_TEST_SLOW" not in os.environ,
    reason="takes minutes; run it with LTAT_TEST_SLOW=1",
)

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, and it as IPv6

MINI: dict[str, Any] = {
    "name": "mini",
    # six epochs teach a network so little that three steps flatter it, and every trial is doubted
    "objective": {"metric": "val/pgd3_balanced_acc", "second_opinion": False},
    "fixed": {
        "data.name": "digits",
        "data.val_per_class": 10,
        "data.max_per_class": 20,
        "model.width": 4,
        "model.stem": "space_to_depth",
        "attack.eps": 0.1,
        "attack.step_size": 0.05,
        "attack.steps": 3,
        "optim.epochs": 6,
        "optim.batch_size": 64,
        "optim.lr_schedule": "cosine",
        "evaluation.every_epochs": 2,
        "evaluation.val_attack": "pgd3",
    },
    "scenarios": {"data.imbalance_ratio": [2, 4]},
    "tuned": {
        "optim.lr": {"type": "float", "low": 0.02, "high": 0.4, "log": True},
        "loss.name": {"type": "categorical", "choices": ["cross_entropy", "balanced_softmax"]},
    },
    "start_from": [
        {"optim.lr": 0.1, "loss.name": "cross_entropy"},
        {"optim.lr": 0.2, "loss.name": "balanced_softmax"},
    ],
    "searcher": {"trials": 4},
    # the sentinel takes longer than all of this together; the tests that are about it ask for it
    "confirm": {"top": 1, "seeds": [1, 2], "attacks": ["clean", "pgd3"], "sentinel": False},
}

ALONE = {"concurrency": 1}  # one worker to start; for studies of which nothing else is checked


def write_space(folder: Path, **changes: Any) -> Path:
    """The mini study's space file with some of its keys replaced."""
    path = folder / "mini.yaml"
    document = {**MINI, **changes}
    if isinstance(document.get("searcher"), dict):  # rungs stop trials; predict has none
        document["searcher"] = {"name": "tpe", **document["searcher"]}
    path.write_text(yaml.safe_dump(document))
    return path


def command(*arguments: str | Path) -> list[str]:
    """`ltat-tune ARGUMENTS` of the environment that runs the tests."""
    return [sys.executable, "-m", "ltat_tune.cli", *map(str, arguments)]


def run(
    *arguments: str | Path, cwd: Path, timeout_s: float = 400
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; its status is the test's to judge."""
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    return subprocess.run(
        command(*arguments), cwd=cwd, env=environment, capture_output=True, text=True,
        timeout=timeout_s, check=False,
    )  # fmt: skip


def call(*arguments: str | Path, cwd: Path, columns: int = 80) -> subprocess.CompletedProcess[str]:
    """Run a command to its end as `run` does, but in this process, which is left as it was."""
    environment = {"MLFLOW_TRACKING_URI": None, "COLUMNS": str(columns)}
    words = [str(argument) for argument in arguments]
    loaded = set(plugin_loader.loaded())
    with process_kept():
        os.chdir(cwd)
        done = CliRunner(env=environment).invoke(main, words, prog_name="ltat-tune")
    for plugin in set(plugin_loader.loaded()) - loaded:
        plugin_loader.forget(plugin)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


class Running:
    """A command under way, its stderr in a file that can be waited on."""

    def __init__(self, *arguments: str | Path, cwd: Path, out: Path | None = None) -> None:
        if out is not None:
            arguments = (*arguments, "--out", out)
        self.log = cwd / f"stderr-{time.monotonic_ns()}.txt"
        with open(self.log, "w") as file:
            self.process = subprocess.Popen(
                command(*arguments), cwd=cwd, stdout=subprocess.PIPE, stderr=file, text=True,
                start_new_session=True,
            )  # fmt: skip

    def wait_for(self, text: str, timeout_s: float = 120) -> None:
        """Waits until stderr holds a text."""
        deadline = time.monotonic() + timeout_s
        while text not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"no {text!r} in: {self.log.read_text()}"
            time.sleep(0.05)

    def wait_for_workers(self, count: int, timeout_s: float = 120) -> list[int]:
        """Waits until so many Ray workers train; their process ids."""
        deadline = time.monotonic() + timeout_s
        while True:
            lines = descendants(self.process.pid)
            workers = [pid for pid, line in lines if line.startswith("ray::ImplicitFunc")]
            if len(workers) >= count:
                return workers
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, lines
            time.sleep(0.05)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def end(self, number: signal.Signals | None = None, timeout_s: float = 200) -> int:
        """Sends a signal, if any, and waits for the end; the exit status, negative for a kill."""
        if number is not None:
            self.process.send_signal(number)
        self.process.communicate(timeout=timeout_s)
        return self.process.returncode


def descendants(process: int) -> list[tuple[int, str]]:
    """(process id, command line) of all that a process started and theirs."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if int(stat[1]) == process:
            found.append((int(entry.name), line))
            found += descendants(int(entry.name))
    return found


def listening(process: int) -> set[str]:
    """The addresses on which a process and all that it started listen for TCP, in hexadecimal."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                sockets[f"socket:[{fields[9]}]"] = fields[1].partition(":")[0]
    found = set()
    for owner in (process, *(pid for pid, _ in descendants(process))):
        with contextlib.suppress(OSError):  # it ended
            for entry in Path(f"/proc/{owner}/fd").iterdir():
                with contextlib.suppress(OSError):
                    found.add(sockets.get(os.readlink(entry), ""))
    return found - {""}


def mlflow_runs(study: Path) -> list[Any]:
    """All runs of a study's own store."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, about what it is built on
        client = _client(study)
        experiment = client.get_experiment_by_name(study.name)
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id], max_results=1000))


def steps(study: Path, run: Any, metric: str) -> list[int]:
    """The steps at which a run has a metric, in order, doubled ones twice."""
    return sorted(point.step for point in _points(study, run, metric))


def logged_values(study: Path, run: Any, metric: str) -> list[float]:
    """All values that a run has of a metric."""
    return [point.value for point in _points(study, run, metric)]


def _points(study: Path, run: Any, metric: str) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(_client(study).get_metric_history(run.info.run_id, metric))


def _client(study: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{study / 'mlflow.db'}")
