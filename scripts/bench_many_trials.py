"""A study of 1,000 trials: time per trial, memory of the driver and size of the ledger.

    python scripts/bench_many_trials.py                    # about ten minutes
    python scripts/bench_many_trials.py --trials 200 --searcher tpe

A real study on a handful of digits whose trainings take no time, so that what is measured is ours:
Ray, ledger, MLflow. Printed: one line per tenth of the trials, and how long a resume of the whole
study takes. Growth is linear where the lines are alike.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from ltat_tune.provenance import machine


def space_of(trials: int, searcher: str) -> dict[str, Any]:
    """The space file: one epoch on 20 images."""
    return {
        "name": "many",
        "objective": {"metric": "val/pgd1_balanced_acc"},
        "fixed": {
            "data.name": "digits", "data.val_per_class": 1, "data.max_per_class": 2,
            "model.width": 1, "model.stem": "space_to_depth", "attack.steps": 1,
            "optim.epochs": 1, "evaluation.val_attack": "pgd1",
        },
        "scenarios": {"data.imbalance_ratio": [1]},
        "tuned": {"optim.lr": {"type": "float", "low": 0.001, "high": 0.4, "log": True},
                  "optim.weight_decay": {"type": "float", "low": 0, "high": 0.01}},
        "searcher": {"name": searcher, "trials": trials},
        "scheduler": {"name": "none"},
        "confirm": {"top": 0},
    }  # fmt: skip


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ltat_tune.cli", *arguments]


def resident_mib(process: int) -> float:
    """Memory of a process now; 0 once it is gone."""
    try:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--searcher", choices=("random", "tpe"), default="random")
    options = parser.parse_args()
    step = max(1, options.trials // 10)
    print(f"{options.trials} trials, {options.searcher}; {machine()}")
    print("| trials | seconds per trial | driver MiB | journal KiB | MLflow KiB |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="many-trials-") as name:
        folder = Path(name)
        text = yaml.safe_dump(space_of(options.trials, options.searcher))
        (folder / "space.yaml").write_text(text)
        study, log = folder / "studies" / "many", folder / "log.txt"
        with open(log, "w") as file:
            driver = subprocess.Popen(
                command("--space", "space.yaml"), cwd=folder, stdout=file, stderr=file
            )
        said, ended, since = "", 0, time.perf_counter()
        while driver.poll() is None:
            time.sleep(0.2)
            said = log.read_text()
            now = len(re.findall(r"complete: |stopped early|failed: |diverged: ", said))
            if now >= ended + step:
                seconds = (time.perf_counter() - since) / (now - ended)
                kib = [(study / f).stat().st_size / 1024 for f in ("ledger.journal", "mlflow.db")]
                print(f"| {now} | {seconds:.3f} | {resident_mib(driver.pid):.0f} "
                      f"| {kib[0]:.0f} | {kib[1]:.0f} |", flush=True)  # fmt: skip
                ended, since = now, time.perf_counter()
        if driver.returncode:
            raise SystemExit(f"the study failed: {log.read_text()[-2000:]}")
        (study / "results.json").unlink()
        began = time.perf_counter()
        subprocess.run(command("resume", "many"), cwd=folder, check=True, capture_output=True)
        print(f"a resume that finds all of it done: {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
