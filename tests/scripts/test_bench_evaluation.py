"""Both sides attack the same images from the same start, and the numbers agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import bench_evaluation


def test_smoke_compares_answers_before_it_compares_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evaluation.json"
    assert bench_evaluation.main(["--smoke", "--json", str(path), "--device", "cpu"]) == 0
    assert "torchattacks" in capsys.readouterr().out
    found = json.loads(path.read_text())
    assert {"machine", "device", "commit", "versions"} <= set(found)
    assert [row["attack"] for row in found["attacks"]] == [*bench_evaluation.ATTACKS] * 2
    for row in found["attacks"]:
        assert row["acc"] <= row["clean_acc"]
        # torchattacks also attacks what is wrong already, and may put it right
        assert row["acc"] <= row["torchattacks_acc"]
        assert row["times_faster"] > 0
