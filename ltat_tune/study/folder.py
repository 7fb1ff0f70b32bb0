"""The folder of a study: where each thing lies, and the lock that keeps a second driver out."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ltat_tune.errors import StudyError

FORMAT = 1
_LEAST_FREE_MIB = 64


@dataclass(frozen=True)
class StudyFolder:
    """Paths inside one study; nothing is made until `create`."""

    root: Path

    @property
    def space(self) -> Path:
        """The space file as run, every --set in place."""
        return self.root / "space.yaml"

    @property
    def facts(self) -> Path:
        """Format, versions, commit and command of the first start."""
        return self.root / "study.json"

    @property
    def ledger(self) -> Path:
        """Optuna's journal: every proposal and every score."""
        return self.root / "ledger.journal"

    @property
    def results(self) -> Path:
        """Winners, baseline, counts: what `compare` and `export` read."""
        return self.root / "results.json"

    @property
    def summary(self) -> Path:
        """The results as the terminal showed them."""
        return self.root / "summary.txt"

    @property
    def best(self) -> Path:
        """One configuration file for each scenario's winner."""
        return self.root / "best"

    @property
    def cache(self) -> Path:
        """Decoded images, shared by all trials."""
        return self.root / "data"

    @property
    def stems(self) -> Path:
        """Beginnings that trials share; needed only while the study searches."""
        return self.root / "stems"

    @property
    def spent(self) -> Path:
        """Hours of all starts; only of a study whose budget is in hours."""
        return self.root / "spent.json"

    @property
    def ray(self) -> Path:
        """Ray's own bookkeeping; needed only while the study runs."""
        return self.root / ".ray"

    def trial(self, scenario: str, number: int) -> Path:
        """One search trial: config.yaml, checkpoint.pt, result.json."""
        return self.root / "trials" / scenario / f"t{number:04d}"

    def confirmation(self, scenario: str, recipe: str, seed: int) -> Path:
        """One confirmation: the same files, and test.json."""
        return self.root / "confirmations" / scenario / f"{recipe}-seed{seed}"

    @property
    def resume_command(self) -> str:
        """What to type to go on with the study, or to see it to its end."""
        return f"ltat-tune resume {self.root.name}{self.out_option}"

    @property
    def out_option(self) -> str:
        """` --out DIR` where the study is not in the default place, else nothing."""
        return "" if self.root.parent == Path("studies") else f" --out {self.root.parent}"

    def create(self, document: dict[str, Any], facts: dict[str, Any]) -> None:
        """Makes the folder of a new study.

        Raises:
            StudyError: it exists already, cannot be written, or the disk is nearly full.
        """
        if self.root.exists() and any(self.root.iterdir()):
            raise StudyError(f"{self.root} exists already and is not empty")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            check_space_left(self.root)
            self.write_space(document)
            self.write_facts({"format": FORMAT, **facts})
        except OSError as error:
            raise StudyError(
                f"cannot write the study into {self.root}: {error.strerror}; "
                "choose another folder with --out"
            ) from error

    def write_space(self, document: dict[str, Any]) -> None:
        """The space file of this study; comments are the original's and stay there."""
        header = f"# As run; go on with: ltat-tune resume {self.root.name}\n"
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
        write_text(self.space, header + text)

    @classmethod
    def open(cls, root: Path) -> StudyFolder:
        """The folder of a study that exists.

        Raises:
            StudyError: no study there, or one of a later format.
        """
        folder = cls(root)
        if not folder.facts.exists() or not folder.space.exists():
            names = ", ".join(list_studies(root.parent)) or "none"
            raise StudyError(f"no study in {root}; studies in {root.parent}: {names}")
        facts = folder.read_facts()
        if facts.get("format") != FORMAT:
            raise StudyError(
                f"{root} has study format {facts.get('format')}, this version reads {FORMAT}"
            )
        return folder

    def read_facts(self) -> dict[str, Any]:
        """What `create` recorded."""
        facts: dict[str, Any] = json.loads(self.facts.read_text())
        return facts

    def write_facts(self, facts: dict[str, Any]) -> None:
        """Replaces what `create` recorded; only its owner reads it, a URI may hold a password."""
        write_json(self.facts, facts, mode=0o600)

    def read_results(self) -> dict[str, Any] | None:
        """The results, or None before the study's end."""
        if not self.results.exists():
            return None
        results: dict[str, Any] = json.loads(self.results.read_text())
        return results

    def overview(self) -> dict[str, str]:
        """One line for `ltat-tune ls`."""
        facts, results = self.read_facts(), self.read_results()
        return {
            "study": self.root.name,
            "state": "running" if self.is_locked() else "finished" if results else "unfinished",
            "trials": str(len(list((self.root / "trials").glob("*/t*")))),
            "created": str(facts["created"])[:16].replace("T", " "),
            "space file": str(facts["space_file"]),
        }

    def is_locked(self) -> bool:
        """Whether a driver is at work on it; leaves no trace."""
        try:
            with open(self.root / "study.lock", "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the study for this process; the lock goes with the process, however it ends.

        Raises:
            StudyError: another process drives the study.
        """
        with open(self.root / "study.lock", "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                owner = file.read().strip() or "another process"
                raise StudyError(
                    f"study {self.root.name} is being run by {owner}; wait for it or stop it first"
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} since {time.strftime('%H:%M:%S')}")
            file.flush()
            yield


def list_studies(out: Path) -> list[str]:
    """Names of the studies in a folder, sorted."""
    if not out.is_dir():
        return []
    return sorted(p.name for p in out.iterdir() if (p / "study.json").exists())


def check_space_left(folder: Path) -> None:
    """Raises: StudyError where less than 64 MiB are free."""
    free = shutil.disk_usage(folder).free >> 20
    if free < _LEAST_FREE_MIB:
        raise StudyError(f"{folder} has {free} MiB free, a study needs at least {_LEAST_FREE_MIB}")


def write_text(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Writes beside `path`, syncs and renames, so a reader finds all of it or none of it.

    Args:
        path: the file.
        text: all of its content.
        mode: of the file from its first moment; the umask is taken off.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any, *, mode: int = 0o666) -> None:
    """As `write_text`, sorted and indented; NaN is refused."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
    write_text(path, text, mode=mode)


def read_json(path: Path) -> Any:
    """The file's content, or None if it is not there."""
    return json.loads(path.read_text()) if path.exists() else None
