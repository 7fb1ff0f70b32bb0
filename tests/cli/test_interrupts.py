"""Ctrl-C, once or twice and at any moment, leaves no words of the interpreter."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.drive import MINI, Running, write_space


@pytest.mark.parametrize("wait_s", [0.2, 1.0, None])
def test_two_interrupts_print_nothing_of_the_interpreter(
    wait_s: float | None, tmp_path: Path
) -> None:
    """While it imports, early and late, and while it trains."""
    space = write_space(
        tmp_path, scenarios={"data.imbalance_ratio": [2]},
        fixed={**MINI["fixed"], "attack.steps": 100}, searcher={"trials": 2},
        confirm={"top": 0, "seeds": [1], "attacks": ["clean"], "sentinel": False},
    )  # fmt: skip
    with Running("--space", space, "--in-process", cwd=tmp_path) as study:
        if wait_s is None:
            study.wait_for("t0000 started")
        else:
            time.sleep(wait_s)
        study.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        status = study.end(signal.SIGINT)
        said = study.log.read_text()
    assert status in (130, -signal.SIGINT)  # the interpreter itself was still starting
    if status == 130:
        assert "Traceback" not in said and "Exception ignored" not in said, said
