"""The folder of a study: the place of each file, and the lock that keeps a second driver out."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, TypeAdapter

from ltat_tune.errors import StudyError
from ltat_tune.files import write_json, write_text
from ltat_tune.storage.versioned import FileModel, parse, read_stored
from ltat_tune.tracking.store import public_uri

STUDY_FORMAT = 1
_LEAST_FREE_MIB = 64


def _is_plain(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must have no control characters")
    return text


def _is_json(text: str) -> str:
    json.loads(text)
    return text


_Plain = Annotated[str, AfterValidator(_is_plain)]
_Record = dict[str, Any]


class _Start(FileModel):
    code: str


class _Facts(FileModel):
    """What `study.json` may hold, where it holds it; a file of 0.4.0 has less."""

    format: Annotated[int, Field(strict=True, ge=0, le=1000)]
    uid: _Plain = ""
    name: _Plain | None = None
    place: _Plain | None = None
    space_file: str = ""
    created: _Plain = ""
    tracking_uri: _Plain | None = None
    smoke: str | bool = ""
    space: _Record = {}
    defaults: dict[str, Annotated[str, AfterValidator(_is_json)]] = {}
    versions: dict[str, str] = {}
    commit: str | None = ""
    machine: str = ""
    precision: Literal["fp32", "bf16"] | None = None
    gpu_share: _Record = {}
    history: list[_Start] = []
    searched_on: list[_Record] = []


_FACTS = TypeAdapter(_Facts)


@dataclass(frozen=True)
class StudyFolder:
    """The paths inside a study's folder; nothing exists until `create`."""

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
    def described(self) -> tuple[Path, ...]:
        """The files of which MLflow keeps a copy: `ltat-tune doctor` makes them again from it."""
        return self.space, self.facts

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
    def subsets(self) -> Path:
        """Which images the trainings used: see `storage.subsets`."""
        return self.root / "subsets"

    @property
    def stems(self) -> Path:
        """Beginnings that trials share; needed only while the study searches."""
        return self.root / "stems"

    @property
    def spent(self) -> Path:
        """Hours of all starts; exists only if the study's budget is in hours."""
        return self.root / "spent.json"

    @property
    def ray(self) -> Path:
        """Ray's own bookkeeping; needed only while the study runs."""
        return self.root / ".ray"

    def trial(self, scenario: str, number: int) -> Path:
        """Return the folder of a search trial: config.yaml, checkpoint.pt, result.json."""
        return self.root / "trials" / scenario / f"t{number:04d}"

    def confirmation(self, scenario: str, recipe: str, seed: int) -> Path:
        """Return the folder of a confirmation: the same files, and test.json."""
        return self.root / "confirmations" / scenario / f"{recipe}-seed{seed}"

    @property
    def resume_command(self) -> str:
        """The command that continues the study, or finishes it."""
        return f"ltat-tune resume {shlex.quote(self.root.name)}{self.out_option}"

    @property
    def out_option(self) -> str:
        """The text ` --out DIR` if the study is not in the default place, else an empty one."""
        return (
            ""
            if self.root.parent == Path("studies")
            else (f" --out {shlex.quote(str(self.root.parent))}")
        )

    def create(self, document: dict[str, Any], facts: dict[str, Any]) -> None:
        """Create the folder of a new study.

        Raises:
            StudyError: it exists already, is not writable, or the disk is nearly full.
        """
        if self.root.exists() and any(self.root.iterdir()):
            raise StudyError(f"{self.root} exists already and is not empty")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            check_space_left(self.root)
            self.write_space(document)
            self.write_facts({"format": STUDY_FORMAT, **facts})
        except OSError as error:
            raise StudyError(
                f"cannot write the study into {self.root}: {error.strerror}; "
                "choose another folder with --out"
            ) from error

    def write_space(self, document: dict[str, Any]) -> None:
        """Write the space file of this study, without the comments of the original."""
        header = f"# As run. Continue with: ltat-tune resume {self.root.name}\n"
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
        write_text(self.space, header + text)

    @classmethod
    def open(cls, root: Path) -> StudyFolder:
        """Open the folder of a study that exists.

        Raises:
            StudyError: there is no study, it cannot be read, or it has a later format.
        """
        folder = cls(root)
        lost = [path for path in (folder.facts, folder.space) if not os.path.exists(path)]
        if lost and folder.is_one():
            raise StudyError(
                f"{lost[0]} is gone; `ltat-tune doctor {root} --mend` writes it again if the rest "
                "of the study tells it, or restore it from a copy"
            )
        if lost:
            names = list_studies(root.parent)
            close = get_close_matches(root.name, names, n=1)
            meant = f"did you mean {close[0]}? " if close else ""
            there = ", ".join(names) or "none"
            raise StudyError(f"no study in {root}; {meant}studies in {root.parent}: {there}")
        facts = folder.read_facts()
        if facts.get("format") != STUDY_FORMAT:
            raise StudyError(
                f"{root} has study format {facts.get('format')}; this version reads {STUDY_FORMAT}"
            )
        return folder

    def is_one(self) -> bool:
        """Return whether a study was here, even if some of its files are gone."""
        return os.path.lexists(self.facts) or any(
            os.path.exists(path) for path in (self.ledger, self.root / "trials")
        )

    def read_facts(self) -> dict[str, Any]:
        """Return the facts that `create` recorded. Raises: StudyError."""
        facts = read_stored(self.facts)
        remedy = (
            f"let `ltat-tune doctor {self.root} --mend` write it again from the study's records, "
            "or restore it from a copy"
        )
        if facts is None:
            raise StudyError(f"{self.facts} is gone; {remedy}")
        parse(self.facts, _FACTS, facts, remedy)
        with contextlib.suppress(StudyError):  # of another user, who alone uses the store
            facts |= read_stored(self._secrets) or {}
        return {"created": "", "space_file": "", "uid": "", "tracking_uri": None, **facts}

    def write_facts(self, facts: dict[str, Any]) -> None:
        """Replace the recorded facts. A URI with a password goes to a file of its owner alone."""
        uri = facts.get("tracking_uri")
        shown = None if uri is None else public_uri(str(uri))
        if shown != uri:
            write_json(self._secrets, {"tracking_uri": uri}, mode=0o600)
        else:
            self._secrets.unlink(missing_ok=True)
        write_json(self.facts, {**facts, "tracking_uri": shown})

    @property
    def _secrets(self) -> Path:
        return self.root / "secrets.json"

    def state(self) -> str:
        """Return running, finished or unfinished."""
        if self.is_running():
            return "running"
        return "finished" if self.results.exists() else "unfinished"

    def is_running(self) -> bool:
        """Return whether a driver holds the study's lock. Writes nothing."""
        try:
            with open(self.root / "study.lock") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        except OSError:  # of another user, or on a file system without locks
            return False
        return False

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the study for this process; the lock ends with the process, however that ends.

        Raises:
            StudyError: another process drives the study.
        """
        try:
            file = open(self.root / "study.lock", "a+")
        except OSError as error:
            raise StudyError(
                f"{self.root} cannot be changed: {error.strerror}; run it as its owner, or copy it"
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
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
    """Return the names of the studies in a folder, sorted."""
    try:
        names = os.listdir(out)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StudyError(f"{out} cannot be read: {error.strerror}") from None
    # a folder that nobody may open holds no study
    return sorted(n for n in names if n[0] != "." and os.path.isfile(out / n / "study.json"))


def check_space_left(folder: Path) -> None:
    """Check that enough disk space is left for a study.

    Raises:
        StudyError: less than 64 MiB are free.
    """
    free = shutil.disk_usage(folder).free >> 20
    if free < _LEAST_FREE_MIB:
        raise StudyError(f"{folder} has {free} MiB free; a study needs at least {_LEAST_FREE_MIB}")
