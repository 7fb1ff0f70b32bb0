"""Runs the benchmarks, scripts/bench_*.py, and keeps what they print in one file.

    scripts/bench                   # all, one after the other: half an hour on 2 cores
    scripts/bench --only study      # one; the other sections of the file stay
    scripts/bench --smoke           # only whether each runs; writes nothing

Each section says on what machine, of which commit and when it was measured; what its figures are
(medians, and the spread beside them) the benchmark says itself. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ltat_tune.provenance import commit, machine, versions

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "bench_results.md"
_TITLE = "# What the benchmarks measured\n\nWritten by `scripts/bench`.\n"

# How to see in seconds that one runs, where that is not its `--smoke`.
SMOKE = {
    "fooled": ("--seeds", "1"),
    "many_trials": ("--trials", "4"),
    "search": ("--seeds", "1", "--only", "ours/copy"),
    "step": ("--quick", "--width", "2"),
    "study": tuple("--rounds 1 --few 2 --many 3 --reports 2 8 --only ours".split()),
}
_NEED_A_GPU = ("gpu",)
_NO_BENCHMARKS = ("timing",)  # what several of them import


@dataclass(frozen=True)
class Ran:
    """One benchmark's end."""

    name: str
    command: str
    output: str
    seconds: float
    failed: bool


def names() -> list[str]:
    """`study` for scripts/bench_study.py, and so on."""
    found = sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))
    return [name for name in found if name not in _NO_BENCHMARKS]


def run(name: str, *, smoke: bool) -> Ran:
    """Runs one to its end, in a process of its own."""
    options = SMOKE.get(name, ("--smoke",)) if smoke else ()
    words = [f"scripts/bench_{name}.py", *options]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], cwd=FOLDER.parent, capture_output=True, text=True, check=False
    )
    failed = done.returncode != 0
    output = done.stdout + (done.stderr if failed else "")
    return Ran(
        name, " ".join(["python", *words]), output.strip(), time.perf_counter() - began, failed
    )


def section(ran: Ran) -> str:
    """What the file says of one."""
    known = ", ".join(f"{package} {version}" for package, version in versions().items())
    at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"## {ran.name}\n\n`{ran.command}`, {ran.seconds:.0f} s; {machine()}; commit {commit()}; "
        f"{at}; {known}\n\n```\n{ran.output}\n```\n"
    )


def put(document: str, name: str, text: str) -> str:
    """The document with this section in place of its earlier one, in the order of the names."""
    parts = re.split(r"^(?=## )", document or _TITLE, flags=re.MULTILINE)
    sections = {part.splitlines()[0].removeprefix("## "): part.rstrip() for part in parts[1:]}
    sections[name] = "\n".join(line.rstrip() for line in text.rstrip().splitlines())
    return "\n\n".join([parts[0].rstrip(), *(sections[key] for key in sorted(sections))]) + "\n"


def _lacks_a_gpu(name: str) -> bool:
    if name not in _NEED_A_GPU or importlib.util.find_spec("torch") is None:
        return False
    import torch

    return not torch.cuda.is_available()


def main(arguments: list[str] | None = None) -> int:
    """Runs what is asked for; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=names(), choices=names(), metavar="NAME",
                        help=", ".join(names()))  # fmt: skip
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does each run?")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file of results")
    given = parser.parse_args(arguments)
    failed = []
    for name in given.only:
        if not given.smoke and _lacks_a_gpu(name):
            print(f"{name}: left out, there is no GPU here", flush=True)
            continue
        ran = run(name, smoke=given.smoke)
        print(f"{name}: {'failed' if ran.failed else 'done'} in {ran.seconds:.0f} s", flush=True)
        if ran.failed:
            failed.append(name)
            print(ran.output, file=sys.stderr, flush=True)
        elif not given.smoke:
            earlier = given.out.read_text() if given.out.exists() else ""
            given.out.write_text(put(earlier, name, section(ran)))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
