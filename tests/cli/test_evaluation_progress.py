"""The time that an evaluation still takes rests on the passes of its attacks."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from ltat_tune.cli.evaluation_progress import EvaluationBars, EvaluationWork
from ltat_tune.config.config_file import dump_config
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.evaluation.request import Request
from ltat_tune.evaluation.targets import Target


def targets(folder: Path, count: int = 2) -> list[Target]:
    config = TrialConfig.from_flat({"data.name": "digits", "evaluation.aa_images": 50})
    dump_config(folder / "config.yaml", config, comment="")
    return [Target(f"m{n}", folder / "config.yaml", folder / "c.pt") for n in range(count)]


def test_the_work_is_that_of_all_models_radii_and_attacks(tmp_path: Path) -> None:
    request = Request(("clean", "pgd20", "aa"), eps=(0.1, 0.2), sentinel=True)
    work = EvaluationWork(targets(tmp_path), request)
    work.add("m0 clean", 100, 400)
    # half a pass a clean image; pgd20 has 20.5, on 400 images; AutoAttack 3600.5, on 50 of them
    one = 400 * 0.5 + 2 * (400 * 20.5 + 50 * 3600.5) + 400 * 760
    assert work.total == pytest.approx(2 * one)
    assert work.done == pytest.approx(50.0)
    work.add("m0 clean", 400, 400)
    work.add("m0 pgd20 eps 0.1", 200, 400)
    work.add("m0 sentinel margin", 3, 6)
    assert work.done == pytest.approx(200 + 200 * 20.5 + 400 * 760 / 2)


def test_everything_that_is_done_is_the_whole(tmp_path: Path) -> None:
    request = Request(("clean", "pgd20x2"), images=100, sentinel=False)
    work = EvaluationWork(targets(tmp_path), request)
    for name in ("m0", "m1"):
        work.add(f"{name} clean", 100, 100)
        work.add(f"{name} pgd20x2 eps 0.1", 100, 100)
    assert work.done == pytest.approx(work.total)


def test_a_terminal_shows_the_attack_and_the_time_left_for_all(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    request = Request(("clean", "pgd20"), sentinel=False)
    with EvaluationBars(console, targets(tmp_path), request) as bars:
        bars.on_progress("m0 clean", 400, 400, 300)
        bars.on_progress("m0 pgd20 eps 0.1", 200, 400, 100)
        with bars.away():
            console.print("a card")
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "model 1 of 2: pgd20 eps 0.1" in text and "200/400 50.0 %" in text
    # (400 / 2 + 200 * 20.5) of 2 * (400 / 2 + 400 * 20.5) passes
    assert f"{4300 / 16800:.0%}" in text
    assert "\n" not in text.partition("a card")[0].rpartition("\x1b[2K")[2]  # bars are wiped first
