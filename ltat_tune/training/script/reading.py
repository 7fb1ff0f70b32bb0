"""What a script tells of its epochs: numbers out of lines, by a pattern, JSON or CSV."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ltat_tune.config.sections.script import ScriptSpec


@dataclass
class LineReader:
    """Reads the epochs that a script's lines tell, in their order.

    Epochs are counted from 1 in the order in which they end, whatever the script calls its first
    one. A script that begins again at a lower number, as a second stage does, is counted on. A
    script that was resumed tells where it is by its own numbers.

    Args:
        script: its `metrics` and `score`.
        done: epochs that ended before this start.
    """

    script: ScriptSpec
    done: int = 0
    written: int | None = None  # the script's own number of its last epoch
    _names: list[str] = field(default_factory=list)

    def tells(self, line: str) -> bool:
        """Return whether a line ends an epoch."""
        return _number(self._values(line).get(self.script.score_group, "")) is not None

    def read(self, line: str) -> tuple[int, dict[str, float]] | None:
        """Return the epoch and the numbers of a line that ends an epoch, else None."""
        found = self._values(line)
        numbers = {name: number for name, text in found.items()
                   if name != "epoch" and (number := _number(text)) is not None}  # fmt: skip
        if self.script.score_group not in numbers:
            return None
        written = _number(found.get("epoch", ""))
        if written is None or self.written is None or written <= self.written:
            self.done += 1
        else:
            self.done += int(written - self.written)
        if written is not None:
            self.written = int(written)
        return self.done, numbers

    def resumes_at(self, written: int, done: int) -> None:
        """Note that the script's number `written` was its epoch `done` in an earlier start."""
        self.written, self.done = written, done

    def _values(self, line: str) -> Mapping[str, str]:
        if self.script.metrics == "json":
            try:
                values = json.loads(line) if line.lstrip().startswith("{") else None
            except ValueError:
                return {}
            if not isinstance(values, dict):
                return {}
            return {name: str(value) for name, value in values.items()}
        if self.script.metrics == "csv":
            cells = [cell.strip() for cell in next(csv.reader([line]), [])]
            if not self._names:
                self._names = cells
                return {}
            return dict(zip(self._names, cells, strict=False))
        match = re.search(self.script.metrics, line)
        return {} if match is None else {n: v for n, v in match.groupdict().items() if v}


def _number(text: str) -> float | None:
    """Return a number; None for text, not a number and infinity stay what they are."""
    try:
        return float(text.strip().rstrip("%"))
    except ValueError:
        return None


def is_finite(numbers: Mapping[str, float]) -> bool:
    """Return whether no number of an epoch is NaN or infinite."""
    return all(map(math.isfinite, numbers.values()))
