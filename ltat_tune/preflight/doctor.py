"""`ltat-tune doctor`: what a study needs of this machine, each with what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Literal

from ltat_tune.preflight.doctor_places import check_data, check_disk, check_mlflow
from ltat_tune.preflight.finding import Finding

_RAY_WAIT_S = 40.0
_LEAST_SHM = 128 << 20
_RAY = """
from ltat_tune.backend.ray_session import ray_session
with ray_session(1) as resources:
    import ray
    @ray.remote(num_cpus=1)
    def one(): return 1
    assert ray.get(one.remote(), timeout=30) == 1
"""

__all__ = ["Finding", "examine"]


def examine(out: Path, uri: str | None, *, ray: bool = True) -> list[Finding]:
    """Everything, in the order of the report. Ray's start, the slowest, runs beside the others.

    Args:
        out: folder of the studies, or where it would be.
        uri: the MLflow store to ask; None is each study's own file.
        ray: also start Ray once.
    """
    with ThreadPoolExecutor(1) as beside:
        started = beside.submit(lambda: list(_check_ray_starts())) if ray else None
        first: list[Callable[[], Iterator[Finding]]] = [
            _check_python, _check_packages, _check_torch, _check_gpu, _check_cpu,
        ]  # fmt: skip
        found = [finding for check in first for finding in _tried(check)]
        found += _tried(_check_ray_room)
        last: list[Callable[[], Iterator[Finding]]] = [
            lambda: check_disk(out), lambda: check_mlflow(uri, out), check_data, _check_extras,
        ]  # fmt: skip
        rest = [finding for check in last for finding in _tried(check)]
        return [*found, *(started.result() if started else []), *rest]


def _tried(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """A check that breaks is a finding, not the end of the report."""
    try:
        return list(check())
    except Exception as error:
        name = getattr(check, "__name__", "check").removeprefix("_check_")
        return [Finding(name, "warn", f"could not be checked: {type(error).__name__}: {error}")]


def _check_python() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} in {sys.prefix}")


def _check_packages() -> Iterator[Finding]:
    """Installed versions against those that the package asks for."""
    from packaging.requirements import Requirement

    wrong = []
    for text in metadata.requires("ltat-tune") or []:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            there = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        if not wanted.specifier.contains(there, prereleases=True):
            wrong.append(f"{wanted.name} {there} is not {wanted.specifier}")
    if wrong:
        yield Finding("packages", "fail", "; ".join(wrong), "pip install --upgrade ltat-tune")
    else:
        yield Finding("packages", "ok", "all that ltat-tune asks for, in versions that fit")


def _check_torch() -> Iterator[Finding]:
    import torch

    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    total = float((torch.ones(64, 64) @ torch.ones(64, 64)).sum())
    if total != 64.0**3:
        yield Finding("torch", "fail", f"{torch.__version__} multiplies wrongly", "reinstall it")
    else:
        yield Finding("torch", "ok", f"{torch.__version__}, built for {built}")


def _check_gpu() -> Iterator[Finding]:
    import torch

    seen = _nvidia_smi()
    if not torch.cuda.is_available():
        if not seen:
            yield Finding("gpu", "ok", "none; trainings run on the processor")
        elif torch.version.cuda is None:
            yield Finding("gpu", "warn", f"{seen}, but torch is built for processors only",
                          "install a torch built for CUDA: https://pytorch.org")  # fmt: skip
        else:
            yield Finding("gpu", "fail", f"{seen}, but torch (CUDA {torch.version.cuda}) cannot "
                          "use it", "update the driver, or install a torch for an older CUDA; "
                          "see that CUDA_VISIBLE_DEVICES is not empty")  # fmt: skip
        return
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        used = (total - free) / total
        text = f"{index}: {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        if used > 0.5:
            yield Finding("gpu", "warn", text, "other programs hold most of its memory: "
                          "nvidia-smi names them")  # fmt: skip
        else:
            yield Finding("gpu", "ok", text)


def _nvidia_smi() -> str:
    """The GPUs that the driver knows, or nothing."""
    if shutil.which("nvidia-smi") is None:
        return ""
    done = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
        capture_output=True, text=True, timeout=10, check=False,
    )  # fmt: skip
    return "; ".join(f"GPU {line}" for line in done.stdout.splitlines()[:2])


def _check_cpu() -> Iterator[Finding]:
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    every = os.cpu_count() or cores
    text = f"{cores} cores" + (f" of {every}" if every != cores else "") + f", load {load:.1f}"
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads and threads.isdigit() and int(threads) > cores:
        remedy = "unset OMP_NUM_THREADS: resources.cpus_per_trial sets the threads"
        yield Finding("cpu", "warn", f"{text}; OMP_NUM_THREADS is {threads}", remedy)
    elif load > 2 * cores:
        yield Finding("cpu", "warn", text, "other programs use the cores; trials will be slow")
    else:
        yield Finding("cpu", "ok", text)
    free = _memory_available()
    if free is not None:
        level: Literal["ok", "warn"] = "ok" if free > 2 << 30 else "warn"
        remedy = "" if level == "ok" else "a Ray worker takes about 0.5 GiB; lower concurrency"
        yield Finding("memory", level, f"{free / 2**30:.1f} GiB available", remedy)


def _memory_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith("MemAvailable:")), None)
    return int(found.split()[1]) << 10 if found else None


def _check_ray_room() -> Iterator[Finding]:
    """What Ray needs before it starts: shared memory, and the loopback interface."""
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        text = f"/dev/shm has {free >> 20} MiB free"
        if free < _LEAST_SHM:
            yield Finding("shared memory", "warn", text, "Ray puts its store into /tmp instead, "
                          "slower; in a container: docker run --shm-size=1g")  # fmt: skip
        else:
            yield Finding("shared memory", "ok", text)
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=2).close()
    except OSError as error:
        remedy = "bring the interface up (ip link set lo up), or allow it in the sandbox"
        text = f"127.0.0.1 cannot be used: {error.strerror or error}"
        yield Finding("loopback", "fail", text, remedy)
    else:
        yield Finding("loopback", "ok", "127.0.0.1 gives ports and answers")


def _check_ray_starts() -> Iterator[Finding]:
    """Starts Ray as a study does, in a process of its own, and runs one task."""
    version = metadata.version("ray")
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _RAY], capture_output=True, text=True, env=environment,
            timeout=_RAY_WAIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        yield Finding("ray", "fail", f"{version} did not start within {_RAY_WAIT_S:.0f} s",
                      "look for a full /tmp, a proxy for 127.0.0.1 (set NO_PROXY), or no room "
                      "for processes (ulimit -u)")  # fmt: skip
        return
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        text = f"{version} does not start: {lines[-1][:200]}"
        yield Finding("ray", "fail", text, "is the folder of $TMPDIR full, or mounted noexec?")
    else:
        yield Finding("ray", "ok", f"{version} starts on 127.0.0.1 with a token and runs a task")


def _check_extras() -> Iterator[Finding]:
    """What is installed of the optional parts."""
    from packaging.requirements import Requirement

    there: dict[str, bool] = {}
    for text in metadata.requires("ltat-tune") or []:
        wanted = Requirement(text)
        for extra in metadata.metadata("ltat-tune").get_all("Provides-Extra") or []:
            if wanted.marker is None or not wanted.marker.evaluate({"extra": extra}):
                continue
            if wanted.marker.evaluate({"extra": ""}):
                continue
            try:
                metadata.version(wanted.name)
                there.setdefault(extra, True)
            except metadata.PackageNotFoundError:
                there[extra] = False
    for extra, whole in there.items():
        if extra != "dev":
            how = "" if whole else f"if you want it: pip install 'ltat-tune[{extra}]'"
            text = f"[{extra}] is {'installed' if whole else 'not installed'}"
            yield Finding("extra", "ok", text, how)
