"""The door through which all output of the commands goes: nothing in it steers the terminal.

Names and values come from files, folders and stores of others. Colours pass to a terminal, and on
stderr the moves of the live view. Everything else that is no text is written out: `\\u001b[2J`.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

_STRANGE = re.compile(r"[^\n\t\x20-\x7e]")
_COLOURS = r"\x1b\[[0-9;]*m"
_MOVES = r"\x1b\[[0-9]*[AK]|\x1b\[\?25[lh]|\r"
_NOTHING = re.compile(r"(?!)")


class CleanStream:
    """A text stream that writes out what would steer the terminal; else the stream itself.

    Args:
        stream: where it goes.
        moves: whether a terminal gets the codes that draw lines again.
    """

    def __init__(self, stream: Any, *, moves: bool) -> None:
        self._stream = stream
        self._allowed = re.compile(f"{_COLOURS}|{_MOVES}" if moves else _COLOURS)

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        self._stream.write(self._clean(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _clean(self, text: str) -> str:
        if not isinstance(text, str) or _STRANGE.search(text) is None:
            return text
        allowed = self._allowed if self._stream.isatty() else _NOTHING
        clean, begin = [], 0
        for code in allowed.finditer(text):
            clean += [_plain(text[begin : code.start()]), code.group()]
            begin = code.end()
        return "".join([*clean, _plain(text[begin:])])


def _plain(text: str) -> str:
    """Return the text with whatever is no letter, sign or space as JSON writes it."""
    return "".join(c if _is_text(c) else json.dumps(c)[1:-1] for c in text)


def _is_text(letter: str) -> bool:
    return letter.isprintable() or letter in "\n\t" or unicodedata.category(letter) == "Zs"


@contextlib.contextmanager
def clean_output() -> Iterator[None]:
    """Let all that this process prints go through the door."""
    before = sys.stdout, sys.stderr
    if not isinstance(sys.stdout, CleanStream):  # a command that calls another
        sys.stdout = CleanStream(sys.stdout, moves=False)
        sys.stderr = CleanStream(sys.stderr, moves=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
