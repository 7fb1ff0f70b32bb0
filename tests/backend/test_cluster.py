"""Studies on Ray clusters that somebody else started: real nodes, all of them on this machine."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ltat_tune import provenance
from ltat_tune.backend.nodes import Node, fitting_on, inspect, node_differences
from ltat_tune.backend.ray_session import cluster_session
from ltat_tune.config.sections import DataConfig
from ltat_tune.errors import StudyError
from ltat_tune.preflight.load import load_space
from ltat_tune.space.resources import ResourcesSpec, fitting
from scripts import fault_loop
from tests.drive import (
    MINI,
    SLOW,
    Running,
    descendants,
    mlflow_runs,
    run,
    steps,
    write_space,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SLURM = Path(__file__).parents[2] / "scripts" / "cluster" / "slurm.sh"
EPOCHS, TRIALS = 150, 5
# trials long enough to be killed in the middle, and nothing after them
LONG: dict[str, Any] = {
    "fixed": {
        **MINI["fixed"],
        "data.imbalance_ratio": 4,
        "optim.epochs": EPOCHS,
        "evaluation.every_epochs": EPOCHS,
    },  # fmt: skip
    "scenarios": {},
    "start_from": [],
    "searcher": {"trials": TRIALS},
    "scheduler": {"name": "none"},
    "confirm": {"top": 0},
}


def _resources(cpus: int = 1, gpus: float = 0, concurrency: int | None = None) -> ResourcesSpec:
    return ResourcesSpec(cpus_per_trial=cpus, gpus_per_trial=gpus, concurrency=concurrency)


@pytest.mark.parametrize(
    ("cpus", "gpus", "per_trial", "fit"),
    [
        (8, 0, (1, 0), 8),
        (8, 0, (3, 0), 2),  # two CPUs stay idle
        (8, 4, (1, 0.5), 8),
        (8, 4, (1, 0.4), 8),  # two on each GPU: a share never lies on two
        (64, 4, (1, 0.1), 40),
        (8, 4, (1, 3), 1),
        (2, 4, (1, 1), 2),  # the CPUs are what is short
        (8, 0, (1, 1), 0),
    ],
)
def test_a_node_holds_what_its_scarcest_part_allows(
    cpus: float, gpus: float, per_trial: tuple[int, float], fit: int
) -> None:
    assert fitting(cpus, gpus, _resources(*per_trial)) == fit


def test_a_cluster_holds_the_sum_of_its_nodes_and_no_task_spreads_over_two() -> None:
    nodes = [Node("a", "a", 3, 0), Node("b", "b", 5, 0), Node("c", "c", 1, 0)]
    assert fitting_on(nodes, _resources(2)) == 1 + 2 + 0
    assert fitting_on(nodes, _resources(1, concurrency=4)) == 4
    assert fitting_on(nodes, _resources(6)) == 0


def test_a_node_with_other_versions_of_what_computes_is_refused() -> None:
    node, ours = Node("a", "10.0.0.2 (gpu2)", 1, 0), provenance.versions()
    assert node_differences(node, ours, provenance.commit()) == ([], [])
    major, minor, _ = ours["python"].split(".")
    other = {**ours, "torch": "2.0.0", "numpy": "2.0.0", "python": f"{major}.{minor}.99"}
    problems, notes = node_differences(node, other, "0123456789ab")
    assert problems == [
        f"node 10.0.0.2 (gpu2) has torch 2.0.0, the driver {ours['torch']}; "
        "install the same on both"
    ]
    assert notes[0] == f"node 10.0.0.2 (gpu2) has numpy 2.0.0, the driver {ours['numpy']}"
    assert "at commit 0123456789ab" in notes[1]


def test_a_node_shows_that_it_sees_the_folder_and_the_images(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("abc")
    digits = DataConfig(name="digits")
    seen = inspect(str(tmp_path), "abc", "n1", [digits], str(tmp_path / "data"))
    assert (seen["problem"], seen["images"]) == ("", "")
    assert (tmp_path / "n1").read_text() == "abc"
    other = inspect(str(tmp_path), "xyz", "n1", [], "")
    assert other["problem"] == "sees another folder under the same name"
    none = inspect(str(tmp_path / "none"), "abc", "n1", [], "")
    assert none["problem"] == "cannot read or cannot write it: No such file or directory"
    absent = DataConfig(name="cifar10", root=str(tmp_path / "none"))
    assert "none" in inspect(str(tmp_path), "abc", "n1", [absent], str(tmp_path))["images"]


def test_an_address_without_a_cluster_is_told_at_once() -> None:
    with pytest.raises(StudyError, match=r"must be auto or HOST:PORT, got ray://h:1; .*README"):
        cluster_session("ray://h:1").__enter__()
    with pytest.raises(StudyError, match="must be auto or HOST:PORT, got local"):
        cluster_session("local").__enter__()
    port = _free_port()
    with pytest.raises(StudyError, match=f"no Ray cluster listens at 127.0.0.1:{port}: Conn"):
        cluster_session(f"127.0.0.1:{port}").__enter__()


def test_the_machine_of_the_driver_limits_no_cluster(tmp_path: Path) -> None:
    many = write_space(tmp_path, resources={"cpus_per_trial": 4096, "gpus_per_trial": 1})
    assert load_space(many, cluster=True).resources.cpus_per_trial == 4096
    (tmp_path / "odd").mkdir()
    odd = write_space(tmp_path / "odd", resources={"gpus_per_trial": 2})
    with pytest.raises(Exception, match="must be at most 1, got 2: a training uses one GPU"):
        load_space(odd, cluster=True)


# -- real nodes -----------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class _RayNode:
    """`ray start --block` with one CPU; ended by its own process id."""

    def __init__(self, folder: Path, name: str, *options: str, prefix: tuple[str, ...] = ()):
        self.log = folder / f"{name}.log"
        command = [
            *prefix, str(Path(sys.executable).parent / "ray"), "start", "--block",
            "--disable-usage-stats", "--num-cpus", "1", "--num-gpus", "0",
            "--min-worker-port", "0", "--max-worker-port", "0",  # two nodes on one machine
            "--object-store-memory", "100000000", "--node-name", name, *options,
        ]  # fmt: skip
        with open(self.log, "w") as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait_until_up(self) -> None:
        _wait(lambda: "Ray runtime started" in self.log.read_text(), self._alive, 240)

    @property
    def raylet(self) -> int:
        lines = descendants(self.process.pid)
        return next(pid for pid, line in lines if line.split(" ")[0].endswith("/raylet"))

    def trains(self) -> bool:
        """Whether a trial's worker runs here."""
        lines = descendants(self.process.pid)
        return any(line.startswith("ray::ImplicitFunc") for _, line in lines)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _alive(self) -> None:
        if self.process.poll() is not None:
            pytest.skip(f"no Ray node can be started here: {self.log.read_text()[-500:]}")


def _wait(done: Callable[[], bool], still: Callable[[], None], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        still()
        assert time.monotonic() < deadline
        time.sleep(0.1)


class _Nodes:
    """A head, and whatever joins it; all with one token."""

    def __init__(self, folder: Path) -> None:
        self.folder, port = folder, _free_port()
        self.address = f"127.0.0.1:{port}"
        options = ("--head", "--port", str(port), "--include-dashboard", "false",
                   "--temp-dir", str(folder / "ray"))  # fmt: skip
        self._all = [_RayNode(folder, "one", *options)]
        self._all[0].wait_until_up()

    def join(self, name: str, prefix: tuple[str, ...] = ()) -> _RayNode:
        node = _RayNode(self.folder, name, "--address", self.address, prefix=prefix)
        self._all.append(node)
        node.wait_until_up()
        return node

    def stop(self) -> None:
        for node in reversed(self._all):
            node.stop()


@pytest.fixture(scope="module")
def nodes() -> Iterator[_Nodes]:
    """A cluster of one node with one CPU."""
    folder = Path(tempfile.mkdtemp(prefix="ltat-nodes-"))  # Ray's sockets need a short path
    (folder / "token").write_text(secrets.token_hex(32))
    (folder / "token").chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(folder / "token"))
        # a lost node is given up after two seconds or so instead of twelve
        patch.setenv("RAY_health_check_period_ms", "500")
        patch.setenv("RAY_health_check_timeout_ms", "2000")
        patch.setenv("RAY_health_check_failure_threshold", "3")
        started = None
        try:
            started = _Nodes(folder)
            yield started
        finally:
            if started is not None:
                started.stop()
            shutil.rmtree(folder, ignore_errors=True)


def test_a_request_that_no_node_can_meet_starts_nothing(nodes: _Nodes, tmp_path: Path) -> None:
    space = write_space(tmp_path, resources={"cpus_per_trial": 2})
    done = run("--space", space, "--address", nodes.address, cwd=tmp_path)
    assert done.returncode == 2
    assert "error: one node must have the 2 CPUs that resources asks for each trial" in done.stderr
    assert "(one): 1 CPUs, 0 GPUs" in done.stderr
    assert not (tmp_path / "studies" / "mini").exists()


def test_a_node_that_does_not_see_the_folder_is_named_before_the_start(
    nodes: _Nodes, tmp_path: Path
) -> None:
    (tmp_path / "studies").mkdir()
    elsewhere = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"')
    own = (*elsewhere, str(tmp_path / "studies"))
    if shutil.which("unshare") is None or subprocess.run([*own, "true"], check=False).returncode:
        pytest.skip("this machine allows no mount namespace")
    blind = nodes.join("blind", prefix=own)
    try:
        space = write_space(tmp_path)
        done = run("--space", space, "--address", nodes.address, cwd=tmp_path)
    finally:
        blind.stop()
    assert done.returncode == 2
    assert "(blind) must see the study's folder" in done.stderr
    assert "No such file or directory; choose a folder that all nodes mount" in done.stderr
    assert not (tmp_path / "studies" / "mini").exists()


@SLOW
def test_a_node_joins_and_another_is_lost_in_the_middle_of_a_study(
    nodes: _Nodes, tmp_path: Path
) -> None:
    two = nodes.join("two")
    space = write_space(tmp_path, **LONG)
    study = tmp_path / "studies" / "mini"
    with Running("--space", space, "--address", nodes.address, cwd=tmp_path) as running:
        running.wait_for("of 2 nodes with 2 CPUs and 0 GPUs: 2 tasks at once")
        three = nodes.join("three")
        running.wait_for("(three) joined: 3 tasks at once")

        def still() -> None:
            assert running.process.poll() is None, running.log.read_text()

        places = [
            study / "trials" / "default" / f"t000{n}" / "checkpoint.pt" for n in range(TRIALS)
        ]
        # both train, and what trains has neither just begun nor is about to end
        _wait(lambda: two.trains() and three.trains() and _amid(places) >= 2, still, 240)
        os.kill(two.raylet, signal.SIGKILL)
        held = {place: _history(place) for place in places if place.exists()}
        running.wait_for("(two) left: 2 tasks at once")
        assert running.end() == 0, running.log.read_text()
    shown = running.log.read_text()
    assert "failed" not in shown and "runs code from anyone" not in shown
    results = json.loads((study / "results.json").read_text())
    assert results["scenarios"][0]["trials"] == {
        "complete": TRIALS, "pruned": 0, "failed": 0, "diverged": 0,
    }  # fmt: skip
    for place, history in held.items():  # the seconds too: no epoch was trained again
        assert _history(place)[: len(history)] == history
    found = [r for r in mlflow_runs(study) if r.data.tags["kind"] == "trial"]
    keys = Counter(r.data.tags["ltat.key"] for r in found)
    assert keys == {f"default/t000{n}": 1 for n in range(TRIALS)}
    for trial in found:
        assert trial.info.status == "FINISHED"
        assert steps(study, trial, "train/loss") == list(range(1, EPOCHS + 1))
    assert not (study / ".cluster").exists()


@SLOW
def test_trials_on_two_nodes_share_their_stems(nodes: _Nodes, tmp_path: Path) -> None:
    two = nodes.join("sharing")
    space = {**fault_loop.space_of("mini", "grid", 40), "scheduler": {"name": "none"}}
    del space["tuned"]["optim.lr"]  # two losses and four late values are left: two stems
    space["fixed"]["optim.lr"] = 0.1
    (tmp_path / "mini.yaml").write_text(yaml.safe_dump({**space, "resources": {}}))
    study, seen = tmp_path / "studies" / "mini", set()
    with Running("--space", "mini.yaml", "--address", nodes.address, cwd=tmp_path) as running:
        _wait(two.trains, lambda: None, 240)
        while running.process.poll() is None:
            seen |= {path.name for path in study.glob("stems/*.pt")}
            time.sleep(0.05)
        assert running.end() == 0, running.log.read_text()
    two.stop()
    assert len(seen) == 2
    epochs = json.loads((study / "results.json").read_text())["scenarios"][0]["epochs"]
    # the two that start together, one on each node, both train it; the other two of each do not
    assert epochs["planned"] == 8 * 16
    assert 2 * 2 * 8 <= epochs["saved"] <= 2 * 3 * 8
    assert not (study / "stems").exists()


def _amid(checkpoints: list[Path]) -> int:
    """How many trainings are neither at their beginning nor at their end."""
    return sum(2 <= _epochs(path) <= EPOCHS - 8 for path in checkpoints)


def _history(checkpoint: Path) -> list[Any]:
    history: list[Any] = torch.load(checkpoint, weights_only=True)["history"]
    return history


def _epochs(checkpoint: Path) -> int:
    return len(_history(checkpoint)) if checkpoint.exists() else 0


# -- scripts/cluster ------------------------------------------------------------------------------

# every task here, with its number, its log and the signals
SRUN = """#!/usr/bin/env bash
while [[ ${1:-} == --* ]]; do
    case $1 in
        --ntasks=*) tasks=${1#*=} ;;
        --output=*) output=${1#*=} ;;
    esac
    shift
done
pids=()
for ((task = 0; task < tasks; task++)); do
    SLURM_PROCID=$task "$@" > "${output//%t/$task}" 2>&1 &
    pids+=($!)
done
trap 'kill -TERM "${pids[@]}" 2>/dev/null' TERM
wait "${pids[@]}"
wait "${pids[@]}"
"""
SCONTROL = '#!/usr/bin/env bash\necho "$@" >> "$SCONTROL_LOG"\n'


def test_the_slurm_script_is_clean() -> None:
    checker = shutil.which("shellcheck")
    if checker is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([checker, SLURM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@SLOW
def test_the_slurm_script_ends_in_time_and_goes_on_when_requeued(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    job = str(secrets.randbelow(10_000))
    environment = {
        **os.environ, "SLURM_JOB_ID": job, "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "1",
        "SCONTROL_LOG": str(tmp_path / "scontrol.log"),
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    epochs = EPOCHS // 2
    fixed = {**LONG["fixed"], "optim.epochs": epochs, "evaluation.every_epochs": epochs}
    short = {**LONG, "fixed": fixed, "searcher": {"trials": 2}}
    write_space(tmp_path, **short)
    command = ["bash", str(SLURM), "mini.yaml"]
    with open(tmp_path / "first.log", "w") as file:
        first = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    shown = tmp_path / "first.log"
    try:

        def still() -> None:
            assert first.poll() is None, shown.read_text()

        places = [
            tmp_path / "studies" / "mini" / "trials" / "default" / f"t000{n}" / "checkpoint.pt"
            for n in (0, 1)
        ]
        _wait(lambda: any(_epochs(place) >= 2 for place in places), still, 180)
        first.terminate()  # as Slurm does before the time is over: to the script alone
        assert first.wait(timeout=60) == 130, shown.read_text()
    finally:
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)
    assert "of 2 nodes with 2 CPUs and 0 GPUs: 2 tasks at once" in shown.read_text()
    assert (tmp_path / "scontrol.log").read_text() == f"requeue {job}\n"
    held = {place: _history(place) for place in places if place.exists()}
    assert any(2 <= len(history) < epochs for history in held.values())

    second = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert second.returncode == 0, second.stderr
    assert "2 trials: 2 complete" in second.stdout
    for place, history in held.items():
        assert _history(place)[: len(history)] == history
    # no token, log or scratch folder stays, and no Ray
    assert [path.name for path in (tmp_path / "studies").iterdir()] == ["mini"]
    assert not Path(f"/tmp/ltat-slurm-{job}").exists()


def test_the_kuberay_job_has_one_folder_and_a_token_on_all_nodes() -> None:
    (job,) = yaml.safe_load_all((SLURM.parent / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = set()
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        images.add(container["image"])
        (volume,) = pod["volumes"]
        (mount,) = container["volumeMounts"]
        assert volume["name"] == mount["name"]
        assert volume["persistentVolumeClaim"] == {"claimName": "ltat-studies"}
        assert mount["mountPath"] in job["spec"]["entrypoint"]
    assert len(images) == 1
    shell, option, script = shlex.split(job["spec"]["entrypoint"])
    assert (shell, option) == ("bash", "-c")
    subprocess.run(["bash", "-n", "-c", script], check=True)
    assert script.count("--address auto") == 2  # to start, and to go on
