"""The GPU benchmark runs end to end on a CPU, and its checks check."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ltat_tune.config.trial_config import TrialConfig
from scripts import bench_gpu


def test_smoke_runs_every_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gpu.json"
    assert bench_gpu.main(["--smoke", "--json", str(path), "--device", "cpu"]) == 0
    found = json.loads(path.read_text())
    assert json.loads(capsys.readouterr().out) == found
    assert set(bench_gpu.PARTS) <= set(found)
    assert found["smoke"] is True and found["images"] == "noise"
    checks = found["checks"]
    assert checks["bf16_against_fp32"]["loss_difference"] < 0.05
    for precision in ("fp32", "bf16"):
        assert checks[f"graphs_{precision}"]["recorded"] is False  # a CPU has no graphs
        assert [b["largest_difference"] for b in checks[f"graphs_{precision}"]["batches"]] == [
            0
        ] * 4
    assert {row["piece"] for row in found["breakdown"]} >= {"attack", "optimiser"}
    assert found["epoch"]["training_images"] == 50
    assert [row["at_once"] for row in found["packing"]] == [1, 2]
    assert all(row["acc"] <= row["clean_acc"] for row in found["evaluation"])


def test_a_machine_without_a_gpu_measures_nothing_to_quote(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        bench_gpu.main(["--device", "cpu"])
    assert stopped.value.code == 2
    assert "there is no GPU here; --smoke runs it on a CPU" in capsys.readouterr().err


def test_a_part_that_fails_is_told_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(bench: bench_gpu.Bench) -> None:
        raise ValueError("no such kernel")

    parts = {"checks": broken, "breakdown": lambda bench: ["ran"]}
    monkeypatch.setattr(bench_gpu, "PARTS", parts)
    assert bench_gpu.main(["--smoke", "--device", "cpu"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["checks"] == "failed: ValueError: no such kernel"
    assert found["breakdown"] == ["ran"]


def test_what_there_is_no_time_for_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--smoke", "--device", "cpu", "--limit-s", "-1", "--only", "breakdown"]
    assert bench_gpu.main(given) == 0
    assert json.loads(capsys.readouterr().out)["breakdown"] == "left out: no time left"


def test_noise_has_the_counts_of_cifar10_at_ratio_50() -> None:
    config = TrialConfig.from_flat(bench_gpu.REAT)
    splits = bench_gpu.synthetic(config, smoke=False)
    counts = splits.samples_per_class.tolist()
    assert counts[0] == 4900 and counts[-1] == 98
    assert len(splits.val) == 1000 and splits.train.images.shape[1:] == (3, 32, 32)


def test_it_imports_no_ray() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import sys, scripts.bench_gpu; print('ray' in sys.modules)"],
        capture_output=True, text=True, check=True, cwd=Path(bench_gpu.__file__).parent.parent,
    )  # fmt: skip
    assert told.stdout.strip() == "False"
