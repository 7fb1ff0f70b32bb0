"""Every benchmark runs, and the file of results keeps the sections of the others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import benches
from tests.drive import SLOW


def test_a_smoke_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results.md"
    assert benches.main(["--smoke", "--only", "search", "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith("search: done in ")
    assert not out.exists()


@SLOW
def test_every_benchmark_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results.md"
    assert benches.main(["--smoke", "--out", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(": done in ")[0] for line in said] == benches.names()
    assert {"search", "step", "study"} <= set(benches.names())
    assert "timing" not in benches.names()


def test_a_section_says_what_was_run_on_what_and_replaces_its_earlier_one() -> None:
    ran = benches.Ran("study", "python scripts/bench_study.py", "| ours | 3.1 |", 61.4, False)
    first = benches.put("", "study", benches.section(ran))
    assert first.startswith("# What the benchmarks measured\n")
    assert "## study\n\n`python scripts/bench_study.py`, 61 s; " in first
    assert "commit " in first and "torch " in first and "| ours | 3.1 |" in first
    both = benches.put(first, "search", "## search\n\nnew\n")
    assert both.index("## search") < both.index("## study")
    again = benches.put(both, "study", "## study\n\nanother\n")
    assert "| ours | 3.1 |" not in again
    assert again.endswith("## search\n\nnew\n\n## study\n\nanother\n")


def test_a_benchmark_that_fails_is_shown_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "bench_a.py").write_text("raise SystemExit('no such machine')")
    (folder / "bench_b.py").write_text("print('| 4.2 |')")
    monkeypatch.setattr(benches, "FOLDER", folder)
    out = tmp_path / "results.md"
    assert benches.main(["--out", str(out)]) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].startswith("a: failed in")
    assert "no such machine" in shown.err
    assert "| 4.2 |" in out.read_text() and "## a" not in out.read_text()


def test_the_command_is_a_script_that_lists_its_benchmarks() -> None:
    script = Path(benches.__file__).with_name("bench")
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "scripts.benches", "--help"], cwd=script.parent.parent,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "search, step, study" in " ".join(done.stdout.split())
