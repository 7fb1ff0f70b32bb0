#!/usr/bin/env python
"""Everything that needs a GPU, in one command of less than ten minutes, on a bare machine.

    python scripts/bench_gpu.py --json bench_gpu.json [--images cifar10-jpeg.tar.xz]
    python scripts/bench_gpu.py --smoke --device cpu    # does it run, end to end?

It needs torch (2.9 to 2.13) and torchvision for Python 3.11 to 3.13, and what this puts into one
folder that git ignores, for the Python of that machine:

    pip download --only-binary=:all: --python-version 3.12 -d build/wheels pydantic pyautoattack

Each section (`gpu_sections.py`) is a process of its own with a time limit: one that fails, hangs
or loses the GPU leaves the others alone. It says whether it passed and by which rule. After each,
all that was measured is in the JSON. REAT on CIFAR-10 at imbalance ratio 50, ResNet-18, batch 128
and PGD-10, unless a section says otherwise; images are noise of that size and those counts,
because time depends on nothing else. The last section trains on the photographs of --images.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WHEELS = ROOT / "build" / "wheels"
# the longest that each may take, in seconds; the last gets what is left
SECTIONS = {
    "graphs": 75,
    "epochs": 80,
    "determinism": 45,
    "costs": 40,
    "tf32": 40,
    "packing": 100,
    "memory": 45,
    "attacks": 70,
    "training": 120,
}


def unpacked(wheels: Path, folder: Path) -> list[str]:
    """Unpack the wheels that suit this Python. Returns their names."""
    here = f"cp{sys.version_info.major}{sys.version_info.minor}"
    names = []
    for wheel in sorted(wheels.glob("*.whl")):
        python = wheel.stem.split("-")[-3]
        if here in python.split(".") or "py3" in python.split("."):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
            names.append(wheel.name)
    return names


def run_section(
    name: str, options: dict[str, Any], *, limit_s: float, scratch: Path, path: str
) -> dict[str, Any]:
    """Run one section in a process. Returns what it measured, even if it was stopped."""
    out = scratch / f"{name}.json"
    command = [sys.executable, str(ROOT / "scripts" / "gpu_sections.py"), name,
               json.dumps({**options, "limit_s": limit_s}), str(out)]  # fmt: skip
    began = time.monotonic()
    error = ""
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        try:
            said, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            said, error = "", f"stopped after its {limit_s:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with the trainings that it has started
    if process.returncode != 0 and not error:
        error = "\n".join(said.strip().splitlines()[-12:]) or f"exit {process.returncode}"
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    if error:
        found |= {"passed": False, "error": error}
    return {**found, "took_s": round(time.monotonic() - began, 1)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write it here after each section"
    )
    parser.add_argument("--images", type=Path, help="tar archive of CIFAR-10 as an image folder")
    parser.add_argument("--only", help="sections, with commas between them")
    parser.add_argument("--limit-s", type=float, default=560.0, help="all sections together")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--wheels", type=Path, default=WHEELS, help="folder of further wheels")
    given = parser.parse_args(arguments)
    chosen = given.only.split(",") if given.only else list(SECTIONS)
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(f"unknown section {', '.join(sorted(unknown))}; choose from: "
                     f"{', '.join(SECTIONS)}")  # fmt: skip
    options = {
        "smoke": given.smoke, "device": given.device,
        "images": None if given.images is None else str(given.images.resolve()),
    }  # fmt: skip
    end = time.monotonic() + given.limit_s
    found: dict[str, Any] = {"smoke": given.smoke, "device": given.device}
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as made:
        scratch = Path(made)
        packages = scratch / "packages"
        packages.mkdir()
        found["wheels"] = unpacked(given.wheels, packages)
        path = os.pathsep.join([str(ROOT), str(packages), os.environ.get("PYTHONPATH", "")])
        for name in chosen:
            left = end - time.monotonic()
            limit = left if name == "training" else min(left, SECTIONS[name])
            if limit < 5:
                found[name] = {"passed": False, "error": "left out: no time was left"}
            else:
                found[name] = run_section(
                    name, options, limit_s=limit, scratch=scratch, path=path.rstrip(os.pathsep)
                )
            told = found[name]
            said = (
                "passed" if told.get("passed") else f"FAILED: {told.get('error') or told['rule']}"
            )
            print(f"{name}: {said} ({told.get('took_s', 0)} s)", file=sys.stderr, flush=True)
            if given.json is not None:
                given.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0 if all(found[name]["passed"] for name in chosen) else 1


if __name__ == "__main__":
    raise SystemExit(main())
