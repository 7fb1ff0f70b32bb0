"""Processes that are told what to do: their answers, ends, limits and floods of warnings."""

from __future__ import annotations

import sys
from contextlib import closing

import pytest

from ltat_tune.errors import StudyError
from ltat_tune.planning.told_process import ToldProcess


def _told(program: str, limit_s: float = 60) -> closing[ToldProcess]:
    return closing(ToldProcess([sys.executable, "-c", program], limit_s=limit_s))


def test_a_process_answers_however_much_it_warns() -> None:
    """A pipe takes 64 KiB; then the process would wait for somebody who reads it."""
    flood = "import sys; sys.stderr.write('warning\\n' * 100_000); print(input()[::-1])"
    with _told(flood) as process:
        process.tell("olleh")
        assert process.hear() == "hello"


def test_the_last_line_of_a_process_that_failed_is_told() -> None:
    with _told("import sys; sys.exit('first\\nno memory')") as process:
        with pytest.raises(StudyError, match="^a training failed: no memory$"):
            process.hear()
        process.tell("nobody hears it")
    with _told("import os; os.kill(os.getpid(), 9)") as process:
        with pytest.raises(StudyError, match="^a training failed: it was killed$"):
            process.hear()


def test_a_process_that_says_nothing_is_waited_for_as_long_as_agreed() -> None:
    with _told("input()", limit_s=1) as process:
        with pytest.raises(StudyError, match="did not begin, or end, within 1 s"):
            process.hear()
