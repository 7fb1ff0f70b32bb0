"""Damages files of a study, one after the other, and counts what it then loses or believes.

`scripts/fault_loop.py --damages N` runs it. Each time, a whole study is copied, its tests are
undone so that a resume has work, and one of its files is damaged. Then come `doctor --mend` and
`resume`. Each of these must be 0:

- tracebacks: commands that end with one, or that take more than two minutes;
- stuck: studies that do not come to their end after the mend;
- believed: studies whose winners, scores or tests differ from those of the whole study;
- lost, doubled, left: as `scripts/fault_loop.py` counts them, in ledger, MLflow, folders,
  processes and temporary files, and what `ltat-tune doctor STUDY` still finds.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from scripts.fault_loop import (
    audit_files,
    audit_runs,
    histories,
    lives,
    processes,
    rows_of,
    space_of,
    start,
)

HOW = ("cut", "garbage", "double", "delete", "lock")
NAME, TRIALS, LONGEST_S = "damaged", 4, 120.0
# a value that changed in these, and still parses, is refused by name: only the user can tell
FOR_THE_USER = ("study.json", "space.yaml", "config.yaml")


def command(folder: Path, *words: str) -> tuple[int, str, set[tuple[int, str]]]:
    """Run a command: its status, None being -1, what it said, and the processes it had."""
    log = folder / "log.txt"
    log.unlink(missing_ok=True)
    driver = start(folder, *words)
    seen: set[tuple[int, str]] = set()
    deadline = time.monotonic() + LONGEST_S
    while driver.poll() is None and time.monotonic() < deadline:
        seen |= set(processes(driver.pid))
        time.sleep(0.1)
    if driver.poll() is None:
        driver.kill()
    return driver.wait(), log.read_text(errors="replace"), seen


def whole_study(folder: Path) -> Path:
    """The study that is copied; two trials and one confirmation."""
    document = space_of(NAME, "grid", TRIALS)
    document["fixed"]["optim.epochs"] = 4
    document["tuned"].pop("loss.name")
    document["scheduler"] = {"name": "none"}
    (folder / "space.yaml").write_text(yaml.safe_dump(document))
    status, said, _ = command(folder, "--space", "space.yaml", "--in-process")
    if status:
        raise SystemExit(f"the whole study failed:\n{said}")
    return folder / "studies" / NAME


def numbers_of(study: Path) -> Any:
    """What a study found, without times."""
    return json.loads((study / "results.json").read_text())["scenarios"]


def undo_last(study: Path) -> None:
    """Take the test of the confirmation and the results away, so that a resume has work."""
    for path in (*study.glob("confirmations/*/*/test.json"), study / "results.json"):
        path.unlink()


def harm(path: Path, how: str, draw: random.Random) -> None:
    """Damage a file."""
    content = path.read_bytes()
    place = draw.randrange(max(1, len(content)))
    if how == "cut":
        path.write_bytes(content[:place])
    elif how == "garbage":
        noise = draw.randbytes(min(64, max(1, len(content) - place)))
        path.write_bytes(content[:place] + noise + content[place + len(noise) :])
    elif how == "double":
        path.write_bytes(content + content)
    elif how == "delete":
        path.unlink()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file as another program would: a database by a transaction, others by flock."""
    if path.suffix == ".db":
        connection = sqlite3.connect(path)
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.close()
        return
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def audit(study: Path, seen: set[tuple[int, str]], count: Counter[str]) -> None:
    """Count what is wrong in ledger, MLflow, folders, processes and temporary files."""
    rows = rows_of(study)
    found: dict[str, Any] = {
        "trials": len(rows), "rows": rows, "histories": histories(study), "points": 0,
        "lost": 0, "doubled": sum(len(each) - 1 for each in rows.values()), "left": 0,
    }  # fmt: skip
    audit_runs(study, found)
    deadline = time.monotonic() + 10
    while any(map(lives, seen)) and time.monotonic() < deadline:
        time.sleep(0.2)
    left = [*map(str, filter(lives, seen)), *audit_files(study, [], found)]
    for what in left:
        print(f"  left: {what}")
    count["lost"] += found["lost"]
    count["doubled"] += found["doubled"]
    count["left"] += found["left"] + len(left)
    done = subprocess.run(
        [sys.executable, "-m", "ltat_tune.cli", "doctor", study.name, "--format", "json"],
        cwd=study.parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    findings = [each for each in json.loads(done.stdout or "[]") if each["level"] != "ok"]
    for finding in findings:
        print(f"  found: {finding['text']}")
    count["left"] += len(findings)


def one(folder: Path, whole: Path, target: Path, how: str, seed: int) -> Counter[str]:
    """Damage one file of a copy, mend, resume; return the counts."""
    count: Counter[str] = Counter()
    (folder / "tmp").mkdir()  # where its commands keep what is temporary
    expected = numbers_of(whole)
    study = folder / "studies" / NAME
    shutil.copytree(whole, study)
    path = study / target
    if target.name not in ("results.json", "test.json"):
        undo_last(study)
    seen: set[tuple[int, str]] = set()
    with contextlib.ExitStack() as stack:
        if how == "lock":
            stack.enter_context(locked(path))
            turns = [("resume", NAME, "--in-process")]
        else:
            harm(path, how, random.Random(seed))
            turns = [("doctor", NAME, "--mend"), ("resume", NAME, "--in-process")]
        for words in turns:
            status, said, more = command(folder, *words)
            seen |= more
            count["tracebacks"] += status < 0 or "Traceback" in said
            if "Traceback" in said:
                print(said[-1500:])
    if status and how == "lock":  # once it is let go
        status, said, more = command(folder, "resume", NAME, "--in-process")
        seen |= more
        count["tracebacks"] += status < 0 or "Traceback" in said
    if status:
        named = target.name in FOR_THE_USER and target.name in said
        count["stuck"] += not named
        print(f"  {'refused' if named else 'stuck'}: {said.strip().splitlines()[-1][:300]}")
    else:
        count["believed"] += numbers_of(study) != expected
        audit(study, seen, count)
    left = [path for path in (folder / "tmp").iterdir() if path.name.startswith("ltat")]
    count["left"] += len(left)
    return count


def damage_loop(folder: Path, times: int, seed: int) -> int:
    """Damage files `times` times; print the table. Return 1 if anything is not 0."""
    draw = random.Random(seed)
    made = folder / "whole"
    made.mkdir()
    study = whole_study(made)
    files = sorted(
        path.relative_to(study) for path in study.rglob("*")
        if path.is_file() and "mlflow-artifacts" not in path.parts and path.stat().st_size
        and path.name != "study.lock"
    )  # fmt: skip
    kinds: dict[str, list[Path]] = {}
    for path in files:
        kinds.setdefault(path.suffix if len(path.parts) > 1 else path.name, []).append(path)
    total: Counter[str] = Counter()
    for number in range(times):
        target, how = draw.choice(kinds[draw.choice(sorted(kinds))]), draw.choice(HOW)
        print(f"{number + 1}: {how} {target}", flush=True)
        place = folder / f"turn-{number + 1}"
        place.mkdir()
        counts = one(place, study, target, how, seed + number)
        if counts.total():
            print(f"  {dict(counts)}", flush=True)
        total += counts
        if not counts.total():
            shutil.rmtree(place)
    names = ("tracebacks", "stuck", "believed", "lost", "doubled", "left")
    print("\n| fault | times |", " | ".join(names), "|")
    print("|" + "---|" * (2 + len(names)))
    print(f"| a damaged file | {times} |", " | ".join(str(total[name]) for name in names), "|")
    return int(total.total() > 0)
