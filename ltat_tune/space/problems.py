"""Collects the problems of a space file, each with its line, and raises all of them at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ltat_tune.errors import SpaceError
from ltat_tune.yaml_lines import Key


class Problems:
    """The problems of one file, each placed at the line of its key."""

    def __init__(
        self,
        file: str,
        lines: Mapping[Key, int],
        overridden: set[str],
        problems: Sequence[str],
        options: Mapping[str, str] | None = None,
    ) -> None:
        self._file, self._lines, self._overridden = file, lines, overridden
        self._options = options or {}
        self._problems: dict[tuple[int, str], None] = {(0, text): None for text in problems}

    def add(self, path: Key, problem: str) -> None:
        """Note a problem at the nearest enclosing key that the file has."""
        dotted = ".".join(path[:2]) if path[:1] not in (("fixed",), ("scenarios",)) else path[-1]
        if dotted in self._overridden:
            rule, option = problem.removeprefix(f"{dotted} "), self._options.get(dotted)
            place = f"{option}" if option and rule.startswith("must") else f"{option}:"
            self._problems[(0, f"{place if option else f'--set {dotted}:'} {rule}")] = None
            return
        while path and path not in self._lines:
            path = path[:-1]
        line = self._lines.get(path, 1)
        self._problems[(line, f"{self._file}:{line}: {problem}")] = None

    def add_about(self, problem: str, *, names: str = "") -> None:
        """Note a problem at the first parameter of the file that it, or `names`, mentions."""
        for path in re.findall(r"[a-z_]+\.[a-z_]+", names or problem):
            for part in ("fixed", "scenarios", "tuned"):
                if path in self._overridden or (part, path) in self._lines:
                    self.add(("fixed" if path in self._overridden else part, path), problem)
                    return
        self.add(("fixed",), problem)

    def raise_if_any(self) -> None:
        """Raise SpaceError with all problems noted so far, in the order of the file, if any."""
        if self._problems:
            raise SpaceError([text for _, text in sorted(self._problems, key=lambda p: p[0])])
