"""Kills a study's driver at random moments, resumes it, and counts what that cost.

    python scripts/fault_loop.py                    # 20 kills of 40 trials, about 15 minutes
    python scripts/fault_loop.py --searcher tpe     # with branches, two trials at once
    python scripts/fault_loop.py --kills 2 --trials 4 --no-undisturbed
    python scripts/fault_loop.py --damages 40       # about 15 minutes

A small study on digits, judged by short copies, its trials sharing stems. `kill -9` hits the
driver at a moment drawn with `--seed`: every third time while it starts, else while its trials
train. What it leaves behind is left to the resume. The last start goes on to the end. Then each
of these must be 0:

- lost: trials, epochs of a run in MLflow, or epochs of a checkpoint that are missing;
- doubled: trials or metric points that are there twice;
- recomputed: epochs that a checkpoint held when the driver died and that were trained again;
- left: runs still RUNNING, processes, and files or folders that nobody owns;
- different: trials whose configuration, state or score is not that of an undisturbed study. Only
  for `grid`, which trains one trial at a time: what tpe proposes depends on what it has seen.

With `--damages N`, files are damaged instead (`scripts/damage.py`): N times, one file of the study
is cut, overwritten, doubled, deleted or locked; `doctor STUDY --mend` and a resume follow.

Printed: one line per kill, and the table. Exit status 1 if anything is not 0.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

SCENARIO = "imbalance_ratio_2"
EPOCHS = 16
STARTING_S, TRAINING_S = 15.0, 4.0  # kills fall into so many seconds
RATES = [0.02, 0.05, 0.1, 0.2, 0.4]
LOSSES = ["cross_entropy", "balanced_softmax"]
BETAS = [0.9, 0.99, 0.999, 0.9999]  # acts in the second half: eight stems for all 40


def space_of(name: str, searcher: str, trials: int) -> dict[str, Any]:
    """The space file: for grid of 40 trials, 5 rates, 2 losses and 4 late parameters."""
    grid = searcher == "grid"
    rates = {"type": "categorical", "choices": RATES[: max(2, trials // 8)]}
    spec = {"name": "grid"} if grid else {"name": "tpe", "trials": trials, "branches": 4}
    return {
        "name": name,
        "objective": {"metric": "val/pgd3_balanced_acc"},
        "fixed": {
            "data.name": "digits", "data.val_per_class": 10, "data.max_per_class": 20,
            "model.width": 4, "model.stem": "space_to_depth", "attack.eps": 0.1,
            "attack.step_size": 0.05, "attack.steps": 5, "optim.epochs": EPOCHS,
            "optim.batch_size": 64, "optim.lr_schedule": "cosine",
            "evaluation.every_epochs": 2, "evaluation.val_attack": "pgd3",
            "reweight.name": "class_balanced", "reweight.schedule": "deferred",
            "reweight.start_fraction": 0.5,
        },
        "scenarios": {"data.imbalance_ratio": [2]},
        "tuned": {
            "optim.lr": rates if grid else {"type": "float", "low": 0.02, "high": 0.4},
            "loss.name": {"type": "categorical", "choices": LOSSES},
            "reweight.beta": {"type": "categorical", "choices": BETAS[: max(2, trials // 10)]},
        },
        "searcher": spec,
        "scheduler": {"name": "asha", "rungs": "copy", "reduction_factor": 2},
        "confirm": {"top": 1, "seeds": [1], "attacks": ["clean"], "sentinel": False},
        "resources": {"concurrency": 1 if grid else 2},
    }  # fmt: skip


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A driver in a session of its own; what it says goes into a file."""
    command = [sys.executable, "-m", "ltat_tune.cli", *arguments]
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    if (folder / "tmp").is_dir():
        environment["TMPDIR"] = str(folder / "tmp")
    with open(folder / "log.txt", "ab") as log:
        return subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True, env=environment
        )


def until_it_trains(driver: subprocess.Popen[bytes], study: Path) -> None:
    """Waits until this driver's workers have finished an epoch, or until it ends."""
    before = newest(study)
    while driver.poll() is None and newest(study) == before:
        time.sleep(0.05)


def newest(study: Path) -> int:
    """When a checkpoint was last written, in nanoseconds; 0 before any."""
    return max((path.stat().st_mtime_ns for path in study.rglob("checkpoint.pt")), default=0)


def processes(of: int) -> Iterator[tuple[int, str]]:
    """(id, moment of its start) of all that a process started, and theirs."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == of:
            yield int(entry.name), fields[19]
            yield from processes(int(entry.name))


def lives(process: tuple[int, str]) -> bool:
    """Whether this very process is still there, and no zombie."""
    try:
        fields = Path(f"/proc/{process[0]}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[19] == process[1] and fields[0] != "Z"


def histories(study: Path) -> dict[Path, list[Any]]:
    """What every checkpoint holds: [epoch, metrics, seconds] of each epoch."""
    from ltat_tune.training.checkpoint import read_history

    return {path.relative_to(study): read_history(path) for path in study.rglob("checkpoint.pt")}


def rows_of(study: Path) -> dict[int, list[Any]]:
    """Trial number -> its rows in the ledger: configuration, state and score."""
    from ltat_tune.preflight.load import load_space
    from ltat_tune.storage.ledger import Ledger
    from ltat_tune.storage.trial_state import score_of, state_of

    ledger = Ledger(study / "ledger.journal", load_space(study / "space.yaml"))
    found: dict[int, list[Any]] = {}
    for row in [*ledger.finished(SCENARIO), *ledger.unfinished(SCENARIO)]:
        seen = (sorted(row.params.items()), state_of(row), score_of(row))
        found.setdefault(row.number, []).append(seen)
    return found


def recomputed(before: list[Any], now: list[Any]) -> int:
    """Epochs trained again: their seconds are measured, so they are others then."""
    return sum(now[place] != epoch for place, epoch in enumerate(before[: len(now)]))


def audit_runs(study: Path, count: dict[str, Any], uri: str | None = None) -> None:
    """Counts what MLflow, in the study's folder or on a server, lacks, has twice or RUNNING."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri or f"sqlite:///{study / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(study.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=10000)
    keys = Counter(run.data.tags["ltat.key"] for run in runs)
    count["doubled"] += sum(keys.values()) - len(keys)
    count["lost"] += sum(f"{SCENARIO}/t{n:04d}" not in keys for n in range(count["trials"]))
    count["left"] += sum(run.info.status == "RUNNING" for run in runs)
    for run in runs:
        kind = run.data.tags["kind"]
        if kind == "study":
            continue
        scenario, name = run.data.tags["ltat.key"].split("/")
        place = Path("trials" if kind == "trial" else "confirmations", scenario, name)
        trained = len(count["histories"].get(place / "checkpoint.pt", ()))
        points = client.get_metric_history(run.info.run_id, "train/loss")
        steps = Counter(point.step for point in points)
        count["doubled"] += sum(steps.values()) - len(steps)
        count["lost"] += sum(step not in steps for step in range(1, trained + 1))
        count["points"] += sum(steps.values())


def abandoned() -> list[Path]:
    """Folders of Ray whose drivers are gone: nobody holds their locks."""
    found = []
    for lock in Path(tempfile.gettempdir()).glob("ltat-ray-*/lock"):
        with contextlib.suppress(OSError), open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found.append(lock.parent)
    return found


def audit_files(study: Path, drivers: list[int], count: dict[str, Any]) -> list[str]:
    """Files and folders that nobody owns."""
    known = {f"t{number:04d}" for number in count["rows"]}
    inside = (study / "trials" / SCENARIO).iterdir()
    strange = [p for p in inside if p.name not in known and p.suffix != ".damaged"]
    strange += [study / name for name in ("stems", ".ray") if (study / name).exists()]
    strange += [p for p in study.rglob("*") if p.name.startswith(".") or "-earlier" in p.name]
    strange += abandoned() if drivers else []
    return [str(path) for path in strange]


def disturbed(folder: Path, searcher: str, trials: int, kills: int, seed: int) -> dict[str, Any]:
    """Runs the study with kills; returns its counts."""
    draw = random.Random(seed)
    (folder / "space.yaml").write_text(yaml.safe_dump(space_of("killed", searcher, trials)))
    study = folder / "studies" / "killed"
    held: list[dict[Path, list[Any]]] = []
    seen: set[tuple[int, str]] = set()
    drivers: list[int] = []
    for turn in range(kills + 1):
        resumable = (study / "study.json").exists()
        new = ("--space", "space.yaml", "--overwrite")
        driver = start(folder, *(("resume", "killed") if resumable else new))
        drivers.append(driver.pid)
        if turn == kills:
            break
        starting = turn % 3 == 0
        wait_s = draw.uniform(0, STARTING_S if starting else TRAINING_S)
        try:
            if not starting:
                until_it_trains(driver, study)
            driver.wait(wait_s)
            print(f"ended after {turn} kills, before the next", flush=True)
            break
        except subprocess.TimeoutExpired:
            seen |= set(processes(driver.pid))
            driver.kill()
            driver.wait()
        held.append(histories(study))
        epochs = sum(map(len, held[-1].values()))
        when = "its start" if starting else "its first epoch"
        print(
            f"kill {turn + 1}, {wait_s:.2f} s after {when}: checkpoints hold {epochs} epochs",
            flush=True,
        )
    status = driver.wait()
    deadline = time.monotonic() + 60
    while any(map(lives, seen)) and time.monotonic() < deadline:
        time.sleep(0.5)
    rows, final = rows_of(study), histories(study)
    count: dict[str, Any] = {
        "kills": len(held), "status": status, "trials": len(rows), "points": 0, "rows": rows,
        "histories": final, "lost": 0, "doubled": 0, "recomputed": 0, "left": 0, "different": 0,
    }  # fmt: skip
    count["lost"] += sum(n not in rows for n in range(trials)) if searcher == "tpe" else 0
    count["doubled"] += sum(len(found) - 1 for found in rows.values())
    count["left"] += sum(state == "running" for found in rows.values() for _, state, _ in found)
    for snapshot in held:
        for path, before in snapshot.items():
            now = final.get(path, [])
            count["lost"] += max(0, len(before) - len(now))
            count["recomputed"] += recomputed(before, now)
    audit_runs(study, count)
    left = [*map(str, filter(lives, seen)), *audit_files(study, drivers, count)]
    for what in left:
        print(f"left: {what}")
    count["left"] += len(left)
    return count


def undisturbed(folder: Path, searcher: str, trials: int) -> dict[int, list[Any]]:
    """The same study without a kill; its rows."""
    (folder / "calm.yaml").write_text(yaml.safe_dump(space_of("calm", searcher, trials)))
    if start(folder, "--space", "calm.yaml").wait():
        raise SystemExit(f"the undisturbed study failed; see {folder / 'log.txt'}")
    return rows_of(folder / "studies" / "calm")


def main(argv: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--searcher", choices=("grid", "tpe"), default="grid")
    parser.add_argument("--undisturbed", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--damages", type=int, default=0, help="damage files, so many times")
    parser.add_argument("--folder", type=Path, help="a new folder; default: a temporary one")
    options = parser.parse_args(argv)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    folder = options.folder or Path(tempfile.mkdtemp(prefix="fault-loop-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {options.seed}, {options.searcher}, in {folder}", flush=True)
    if options.damages:
        from scripts.damage import damage_loop  # which uses what stands above

        return damage_loop(folder, options.damages, options.seed)
    count = disturbed(folder, options.searcher, options.trials, options.kills, options.seed)
    compares = options.searcher == "grid" and options.undisturbed
    if compares:
        calm = undisturbed(folder, options.searcher, options.trials)
        numbers = calm.keys() | count["rows"].keys()
        count["different"] = sum(calm.get(n) != count["rows"].get(n) for n in numbers)
    counted = ("lost", "doubled", "recomputed", "left", "different")
    shown = [str(count[name]) for name in counted[:-1]]
    shown += [str(count["different"]) if compares else "-"]
    print("\n| fault | times | trials | metric points |", " | ".join(counted), "|")
    print("|" + "---|" * 9)
    print(f"| kill -9 of the driver | {count['kills']} | {count['trials']} | {count['points']} |",
          " | ".join(shown), "|")  # fmt: skip
    if count["status"]:
        print(f"the last start ended with status {count['status']}; see {folder / 'log.txt'}")
    return int(count["status"] != 0 or any(count[name] for name in counted))


if __name__ == "__main__":
    sys.exit(main())
