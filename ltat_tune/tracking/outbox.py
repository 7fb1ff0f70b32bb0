"""A file of writes that wait for an MLflow store. The file outlives the process."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ltat_tune.files import write_bytes

SPOOL = "mlflow-waiting.jsonl"


@dataclass
class Write:
    """One write to a store. Delivering it twice has the same effect as delivering it once.

    Args:
        what: begin, params, metrics, text, file, tags, images, model, experiment or end: a
            method of `client.Runs`.
        key: key of the run.
        data: further arguments of the method, as JSON values.
        tries: number of failed deliveries.
    """

    what: str
    key: str
    data: dict[str, Any]
    tries: int = 0


class Spool:
    """The file of waiting writes: one JSON object per line, the oldest first.

    There is no file if no writes wait. The file is not updated after every delivery, so some
    writes are delivered again after a crash.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / SPOOL

    def read(self) -> list[Write]:
        """Read the writes that an earlier process could not deliver, without torn lines."""
        if not self.path.exists():
            return []
        writes = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                writes.append(Write(entry["what"], entry["key"], entry["data"]))
            except (ValueError, TypeError, KeyError):
                continue
        return writes

    def add(self, writes: Iterable[Write]) -> None:
        """Append writes. Raise OSError if the disk does not take them."""
        text = _lines(writes)
        if not text:
            return
        with open(self.path, "a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                text = text if file.read(1) == b"\n" else b"\n" + text  # after a torn line
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def replace(self, writes: Iterable[Write]) -> None:
        """Replace the content by these writes; without any, delete the file.

        Raises:
            OSError: the disk does not take them. The old content remains.
        """
        text = _lines(writes)
        if not text:
            self.path.unlink(missing_ok=True)
            return
        write_bytes(self.path, text)


def _lines(writes: Iterable[Write]) -> bytes:
    return "".join(json.dumps(_as_data(write)) + "\n" for write in writes).encode()


def _as_data(write: Write) -> dict[str, Any]:
    data = asdict(write)
    del data["tries"]
    return data


def warn(text: str) -> None:
    """Print one line on stderr, even if logging is not configured."""
    logging.getLogger("ltat_tune").warning(text)


def counted(count: int) -> str:
    """Return a number of writes in words."""
    return f"{count} write{'' if count == 1 else 's'}"
