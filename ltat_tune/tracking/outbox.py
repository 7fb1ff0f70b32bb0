"""Writes that wait for an MLflow store to answer, in a file that outlives the process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ltat_tune.files import write_bytes

SPOOL = "mlflow-waiting.jsonl"


@dataclass
class Write:
    """One thing to say to a store; saying it twice is as saying it once.

    Args:
        what: begin, params, metrics, text, file, tags, images, model, experiment or end: a
            method of `runs.Runs`.
        key: whose run.
        data: the method's further arguments, as JSON holds them.
        tries: how often it was said in vain.
    """

    what: str
    key: str
    data: dict[str, Any]
    tries: int = 0


class Spool:
    """The file of waiting writes: one JSON object a line, oldest first; absent while none wait.

    It is not brought up to date with every delivery: after a crash some are said again.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / SPOOL

    def read(self) -> list[Write]:
        """What an earlier process could not deliver; a line torn by a crash is left out."""
        if not self.path.exists():
            return []
        writes = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                found = json.loads(line)
                writes.append(Write(found["what"], found["key"], found["data"]))
            except (ValueError, TypeError, KeyError):
                continue
        return writes

    def add(self, writes: Iterable[Write]) -> None:
        """Appends. Raises: OSError."""
        text = _lines(writes)
        if not text:
            return
        with open(self.path, "a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                text = text if file.read(1) == b"\n" else b"\n" + text  # behind a torn line
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def replace(self, writes: Iterable[Write]) -> None:
        """Holds exactly these, all or as before; without any the file is gone. Raises: OSError."""
        text = _lines(writes)
        if not text:
            self.path.unlink(missing_ok=True)
            return
        write_bytes(self.path, text)


def _lines(writes: Iterable[Write]) -> bytes:
    return "".join(json.dumps(_kept(write)) + "\n" for write in writes).encode()


def _kept(write: Write) -> dict[str, Any]:
    kept = asdict(write)
    del kept["tries"]
    return kept
