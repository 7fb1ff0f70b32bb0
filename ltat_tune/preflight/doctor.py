"""`ltat-tune doctor`: checks whether this machine can run a study, and names remedies."""

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
_RAY = "ltat_tune.backend.self_test"

__all__ = ["Finding", "examine"]


def examine(out: Path, uri: str | None, *, ray: bool = True) -> list[Finding]:
    """Return the findings of all checks in the order of the report.

    Ray's start is the slowest check, so it runs in a thread beside the others.

    Args:
        out: folder of the studies; it need not exist yet.
        uri: the MLflow store to check; None is each study's own file.
        ray: also start Ray once.
    """
    with ThreadPoolExecutor(1) as beside:
        started = beside.submit(lambda: list(_check_ray_starts())) if ray else None
        first: list[Callable[[], Iterator[Finding]]] = [
            _check_python, _check_packages, _check_torch, _check_torchvision, _check_gpu,
            _check_cpu,
        ]  # fmt: skip
        findings = [finding for check in first for finding in _tried(check)]
        findings += _tried(_check_ray_room)
        last: list[Callable[[], Iterator[Finding]]] = [
            lambda: check_disk(out), lambda: check_mlflow(uri, out), check_data, _check_extras,
        ]  # fmt: skip
        rest = [finding for check in last for finding in _tried(check)]
        return [*findings, *(started.result() if started else []), *rest]


def _tried(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Return the findings of a check; one that raises gives a warning, and the report goes on."""
    try:
        return list(check())
    except Exception as error:
        name = getattr(check, "__name__", "check").removeprefix("_check_")
        return [Finding(name, "warn", f"could not be checked: {type(error).__name__}: {error}")]


def _check_python() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} in {sys.prefix}")


def _check_packages() -> Iterator[Finding]:
    """Compare the installed versions with those that ltat-tune requires."""
    from packaging.requirements import Requirement

    wrong = []
    for text in metadata.requires("ltat-tune") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} does not fit {requirement.specifier}")
    if wrong:
        yield Finding("packages", "fail", "; ".join(wrong), "pip install --upgrade ltat-tune")
    else:
        yield Finding("packages", "ok", "all required packages are there, in versions that fit")


def _check_torch() -> Iterator[Finding]:
    import torch

    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    total = float((torch.ones(64, 64) @ torch.ones(64, 64)).sum())
    if total != 64.0**3:
        yield Finding("torch", "fail", f"{torch.__version__} multiplies wrongly", "reinstall it")
    else:
        yield Finding("torch", "ok", f"{torch.__version__}, built for {built}")


def _check_torchvision() -> Iterator[Finding]:
    """Import torchvision, and say whether its compiled operators are there."""
    from ltat_tune.config.foreign.operators import missing_operators
    from ltat_tune.data.torchvision_door import import_torchvision
    from ltat_tune.errors import DataError

    try:
        version = import_torchvision().__version__
    except DataError as error:
        yield Finding("torchvision", "fail", str(error))
        return
    if missing := missing_operators():
        yield Finding("torchvision", "ok", f"{version}, without its compiled operators "
                      f"({', '.join(missing)}), which data sets and classifiers do not use",
                      "if a plugin detects objects, install the torchvision that matches this "
                      "torch, from the same package index")  # fmt: skip
    else:
        yield Finding("torchvision", "ok", f"{version}, compiled for this torch")


def _check_gpu() -> Iterator[Finding]:
    import torch

    seen = _nvidia_smi()
    if not torch.cuda.is_available():
        if not seen:
            yield Finding("gpu", "ok", "none; trials train on the CPU")
        elif torch.version.cuda is None:
            yield Finding("gpu", "warn", f"{seen}, but this torch is built for CPUs only",
                          "install a torch built for CUDA: https://pytorch.org")  # fmt: skip
        else:
            yield Finding("gpu", "fail", f"{seen}, but torch (CUDA {torch.version.cuda}) cannot "
                          "use it", "update the driver, or install a torch for an older CUDA; "
                          "check that CUDA_VISIBLE_DEVICES is not empty")  # fmt: skip
        return
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        used = (total - free) / total
        text = f"{index}: {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        if used > 0.5:
            yield Finding("gpu", "warn", text, "other programs use most of its memory; "
                          "nvidia-smi lists them")  # fmt: skip
        else:
            yield Finding("gpu", "ok", text)


def _nvidia_smi() -> str:
    """Return the GPUs that the driver lists, or an empty text."""
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
    entry = next((line for line in lines if line.startswith("MemAvailable:")), None)
    return int(entry.split()[1]) << 10 if entry else None


def _check_ray_room() -> Iterator[Finding]:
    """Check what Ray needs before it starts: shared memory and the loopback interface."""
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        text = f"/dev/shm has {free >> 20} MiB free"
        if free < _LEAST_SHM:
            yield Finding("shared memory", "warn", text, "Ray then keeps its store in /tmp, "
                          "which is slower; in a container: docker run --shm-size=1g")  # fmt: skip
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
        yield Finding("loopback", "ok", "127.0.0.1 accepts connections")


def _check_ray_starts() -> Iterator[Finding]:
    """Start Ray in a process of its own, as a study does, and run one task."""
    version = metadata.version("ray")
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", _RAY], capture_output=True, text=True, env=environment,
            timeout=_RAY_WAIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        yield Finding("ray", "fail", f"{version} did not start within {_RAY_WAIT_S:.0f} s",
                      "look for a full /tmp, a proxy for 127.0.0.1 (set NO_PROXY), or a limit "
                      "on processes (ulimit -u)")  # fmt: skip
        return
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        text = f"{version} does not start: {lines[-1][:200]}"
        yield Finding("ray", "fail", text, "check that $TMPDIR is neither full nor mounted noexec")
    else:
        yield Finding("ray", "ok", f"{version} starts on 127.0.0.1 with a token and runs a task")


def _check_extras() -> Iterator[Finding]:
    """Report which optional dependencies are installed."""
    from packaging.requirements import Requirement

    installed: dict[str, bool] = {}
    for text in metadata.requires("ltat-tune") or []:
        requirement = Requirement(text)
        for extra in metadata.metadata("ltat-tune").get_all("Provides-Extra") or []:
            if requirement.marker is None or not requirement.marker.evaluate({"extra": extra}):
                continue
            if requirement.marker.evaluate({"extra": ""}):
                continue
            try:
                metadata.version(requirement.name)
                installed.setdefault(extra, True)
            except metadata.PackageNotFoundError:
                installed[extra] = False
    for extra, complete in installed.items():
        if extra != "dev":
            how = "" if complete else f"if you want it: pip install 'ltat-tune[{extra}]'"
            text = f"[{extra}] is {'installed' if complete else 'not installed'}"
            yield Finding("extra", "ok", text, how)
