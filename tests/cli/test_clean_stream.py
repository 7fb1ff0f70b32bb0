"""No name and no value that is printed steers the terminal, and narrow ones lose none of it."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import click
import pytest
from rich.console import Console
from rich.text import Text

from ltat_tune.cli import main
from ltat_tune.cli.clean_stream import CleanStream
from tests.drive import MINI, call
from tests.made_studies import made_study

HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\x08\u202e"
WRITTEN = "\\u001b]0;title\\u0007\\u001b[2J\\u009b31m\\b\\u202e"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_every_way_of_printing_goes_through_the_door(terminal: bool) -> None:
    stream = _Terminal() if terminal else io.StringIO()
    door = CleanStream(stream, moves=False)
    click.echo(f"a{HOSTILE}b", file=door)  # type: ignore[arg-type]
    console = Console(file=door, force_terminal=terminal, width=200)  # type: ignore[arg-type]
    console.print(Text(HOSTILE + "c", style="bold"))
    door.writelines([HOSTILE, "ü ± x\u202fy\n"])
    printed = stream.getvalue()
    assert WRITTEN in printed and "ü ± x\u202fy" in printed
    left = printed.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert not set(left) & set("\x1b\x07\x08\x9b\u202e")
    assert ("\x1b[1m" in printed) == terminal


def test_a_terminal_gets_the_moves_of_the_live_view_on_stderr_alone() -> None:
    for moves in (True, False):
        stream = _Terminal()
        CleanStream(stream, moves=moves).write("\x1b[2K\x1b[1A\x1b[?25l\rx\x1b[5n")
        assert stream.getvalue() == (
            "\x1b[2K\x1b[1A\x1b[?25l\rx\\u001b[5n" if moves
            else "\\u001b[2K\\u001b[1A\\u001b[?25l\\rx\\u001b[5n"
        )  # fmt: skip


def test_names_of_studies_scenarios_trials_and_errors_are_written_out(tmp_path: Path) -> None:
    made = made_study(tmp_path / "studies", "made", fixed={"data.name": "digits"})
    hostile = tmp_path / "studies" / f"made{HOSTILE}"
    shutil.copytree(made.root, hostile)
    (hostile / "study.json").write_text("{")
    results = json.loads(made.results.read_text())
    results["study"] = f"made{HOSTILE}"
    made.results.write_text(json.dumps(results))
    place = made.trial("imbalance_ratio_2", 3)
    document = json.loads((place / "result.json").read_text())
    (place / "result.json").write_text(json.dumps({**document, "reason": HOSTILE}))
    (tmp_path / f"{HOSTILE}.yaml").write_text(json.dumps({**MINI, f"key{HOSTILE}": HOSTILE}))
    (tmp_path / "space.yaml").write_text(
        json.dumps({**MINI, "fixed": {**MINI["fixed"], "data.root": HOSTILE}})
    )
    for words in (
        ("ls",), ("ls", "spaces"), ("show", "made", "imbalance_ratio_2/t0003"),
        ("logs", "made", "imbalance_ratio_2/t0003"), ("compare", "made"), ("doctor", "made"),
        ("doctor", f"made{HOSTILE}"), ("plan", f"{HOSTILE}.yaml"), ("run", f"{HOSTILE}.yaml"),
        ("plan", "space.yaml"), ("run", "space.yaml", "--dry-run"), ("params", HOSTILE),
        ("gc",), (f"no{HOSTILE}",), ("evaluate", HOSTILE), ("ls", f"--{HOSTILE}"),
        ("export", "made"), ("report", "made"), ("train", f"{HOSTILE}.yaml"),
    ):  # fmt: skip
        done = call(*words, cwd=tmp_path)
        printed = done.stdout + done.stderr
        assert not set(printed) & set("\x1b\x07\x08\x9b\u202e"), (words, printed)


def test_the_door_is_closed_behind_the_command(tmp_path: Path) -> None:
    import sys

    before = sys.stdout
    call("version", cwd=tmp_path)
    assert sys.stdout is before
    assert main.name


def test_a_narrow_terminal_wraps_names_and_cuts_none(tmp_path: Path) -> None:
    made_study(tmp_path / "studies", "made")
    for words in (
        ("ls",), ("ls", "spaces"), ("show", "made", "imbalance_ratio_2/t0000"),
        ("show", "made", "imbalance_ratio_2/t0003"), ("compare", "made"),
        ("compare", "made", "--by", "loss.name"), ("params", "loss"), ("gc",),
        ("plan", "studies/made/space.yaml"), ("figures", "--list"), ("doctor", "made"),
    ):  # fmt: skip
        done = call(*words, cwd=tmp_path, columns=40)
        assert "…" not in done.stdout, (words, done.stdout)
