"""A process that measures when it is told to, line by line."""

from __future__ import annotations

import math
import select
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import IO, cast

from ltat_tune.errors import StudyError


class ToldProcess:
    """A process that reads lines and answers with lines.

    Its stderr is a file: a process that warns at length into a pipe would wait for its reader.

    Args:
        command: the program and its arguments.
        limit_s: seconds from now after which nothing more is expected of it.
    """

    def __init__(self, command: Sequence[str], *, limit_s: float = math.inf) -> None:
        self._limit_s, self._deadline = limit_s, time.monotonic() + limit_s
        self._errors = tempfile.TemporaryFile("w+", errors="replace")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )

    def tell(self, line: str) -> None:
        """Write a line to the process; `hear` reports it if the process has ended."""
        stdin = cast(IO[str], self._process.stdin)
        try:
            stdin.write(f"{line}\n")
            stdin.flush()
        except BrokenPipeError:
            pass

    def hear(self) -> str:
        """Return the next line that the process writes, without its end.

        Raises:
            StudyError: it ended, with the last line of its stderr; or it wrote nothing in time.
        """
        out = cast(IO[str], self._process.stdout)
        if math.isfinite(self._limit_s):
            left_s = max(0.0, self._deadline - time.monotonic())
            if not select.select([out], [], [], left_s)[0]:
                raise StudyError(f"a training did not begin, or end, within {self._limit_s:.0f} s")
        if line := out.readline().strip():
            return line
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()
        raise StudyError(f"a training failed: {said[-1] if said else 'it was killed'}")

    def close(self) -> None:
        """Kill the process if it runs."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()
