"""`ltat-tune train`: recorded digits come out again, or it says which did not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ltat_tune.cli.alone import train_file
from ltat_tune.config.config_file import dump_config, load_config
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.datasets import LabelledImages, Splits, load_splits
from ltat_tune.errors import ConfigError
from ltat_tune.provenance import versions
from ltat_tune.seeding import prepare_process
from ltat_tune.training.evaluation import measure_accuracy
from ltat_tune.training.trainer import Trainer
from tests.training.toys import tiny

CONFIG = tiny(optim__epochs=2)


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    """What an export records of CONFIG."""
    prepare_process(1)  # as `threads` says below
    trainer = Trainer(CONFIG)
    result = trainer.fit()
    test = trainer.splits.test()
    measured: dict[str, float] = {}
    for attack in ("clean", "pgd3"):
        accuracy = measure_accuracy(result.model, test, attack, CONFIG, split="test", classes=10)
        measured |= accuracy.metrics(f"test/{attack}", trainer.groups)
    return {
        "epoch": result.epoch,
        "weights": result.weights,
        "subset_hash": trainer.splits.subset_hash,
        "val": {k: v for k, v in result.metrics.items() if k.startswith("val/")},
        "test": measured,
        "attacks": ["clean", "pgd3"],
        "threads": 1,
        "noise": "place",
        "versions": versions(),
    }


Write = Callable[[dict[str, Any] | None], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes CONFIG with what is recorded."""

    def written(record: dict[str, Any] | None, config: TrialConfig = CONFIG) -> Path:
        path = tmp_path / "best.yaml"
        dump_config(path, config, comment="a test", recorded=record)
        return path

    return written


def _run(
    path: Path,
    *,
    test: bool = False,
    seed: int | None = None,
    checkpoint: Path | None = None,
    form: str = "table",
    quiet: bool = False,
) -> int:
    return train_file(
        path,
        test=test,
        seed=seed,
        threads=None,
        device="cpu",
        checkpoint=checkpoint,
        quiet=quiet,
        form=form,
    )


def test_the_file_holds_the_configuration_and_the_digits_exactly(
    recorded: dict[str, Any], write: Write
) -> None:
    assert load_config(write(recorded)) == (CONFIG, recorded)


def test_robust_digits_of_another_noise_are_not_compared(
    recorded: dict[str, Any], write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """As 0.4.0 recorded them; its clean accuracies are those of today."""
    before = copy.deepcopy(recorded)
    del before["noise"]
    before["test"]["test/pgd3_acc"] += 0.01
    assert _run(write(before), test=True) == 0
    shown = capsys.readouterr().err
    assert f"reproduced: weights {recorded['weights']} and all 16 recorded numbers" in shown
    assert "the file's robust accuracies are of 0.4.0, whose attacks started from other" in shown
    before["test"]["test/clean_acc"] += 0.01
    assert _run(write(before), test=True) == 1


@pytest.mark.parametrize("test", [False, True])
def test_recorded_digits_are_reproduced(
    test: bool, recorded: dict[str, Any], write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(write(recorded), test=test) == 0
    shown = capsys.readouterr()
    numbers = 16 if not test else 32  # eight groups by attack, two attacks by split
    assert (
        f"reproduced: weights {recorded['weights']} and all {numbers} recorded numbers measured"
        in shown.err
    )
    assert "not reproduced" not in shown.err
    value = recorded["val"]["val/pgd2_balanced_acc"]
    assert f"{'val/pgd2_balanced_acc':32} {value:.6f}" in shown.out
    assert ("test/pgd3_acc" in shown.out) is test


@pytest.mark.parametrize(
    ("section", "name", "named"),
    [
        ("val", "val/pgd2_acc", "val/pgd2_acc"),
        ("test", "test/pgd3_worst_acc", "test/pgd3_worst_acc"),
        (None, "weights", "weights"),
        (None, "subset_hash", "images"),
    ],
)
def test_an_altered_record_is_named_and_the_command_fails(
    section: str | None,
    name: str,
    named: str,
    recorded: dict[str, Any],
    write: Write,
    capsys: pytest.CaptureFixture[str],
) -> None:
    altered = copy.deepcopy(recorded)
    place = altered[section] if section else altered
    true = place[name]
    place[name] = "0" * 16 if isinstance(true, str) else true + 1e-9
    assert _run(write(altered), test=True) == 1
    shown = capsys.readouterr().err
    assert "not reproduced:" in shown
    differences = [line for line in shown.splitlines() if ", recorded " in line]
    assert differences == [f"  {named} {true}, recorded {place[name]}"]
    assert "no package version; perhaps the processor or thread count" in shown


def test_a_changed_version_is_named(
    recorded: dict[str, Any], write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    altered = {**recorded, "weights": "0" * 16, "versions": {**versions(), "torch": "0.1"}}
    assert _run(write(altered)) == 1
    assert f"changed since: torch {versions()['torch']}, then 0.1" in capsys.readouterr().err


def test_without_test_a_recorded_test_number_is_not_compared_and_test_is_not_read(
    recorded: dict[str, Any], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> LabelledImages:
        raise AssertionError("the test split was read")

    def unread_test(config: TrialConfig, *, cache_dir: Path | None = None) -> Splits:
        return replace(load_splits(config, cache_dir=cache_dir), test=refuse)

    altered = copy.deepcopy(recorded)
    altered["test"]["test/clean_acc"] = 2.0
    monkeypatch.setattr("ltat_tune.training.trainer.load_splits", unread_test)
    assert _run(write(altered)) == 0


def test_json_says_what_differs(
    recorded: dict[str, Any], write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(write(recorded), form="json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report == {
        "epoch": 2,
        "weights": recorded["weights"],
        "metrics": recorded["val"],
        "reproduced": True,
        "differences": [],
        "checked": "digits",
    }
    assert _run(write({**recorded, "weights": "0" * 16}), form="json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["reproduced"] is False
    assert report["differences"] == [f"weights {recorded['weights']}, recorded {'0' * 16}"]


def test_it_trains_in_the_precision_that_is_recorded(
    recorded: dict[str, Any], write: Write
) -> None:
    """The digits of a GPU's bfloat16, say, on a machine that would take float32 by itself."""
    coarse = Trainer(CONFIG, precision="bf16").fit()
    val = {k: v for k, v in coarse.metrics.items() if k.startswith("val/")}
    record = {**recorded, "weights": coarse.weights, "val": val}
    assert coarse.weights != recorded["weights"]
    assert _run(write({**record, "precision": "bf16"})) == 0
    assert _run(write({**record, "precision": "fp32"})) == 1


def test_a_file_without_digits_is_only_trained(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(write(None), form="json") == 0
    shown = capsys.readouterr()
    assert set(json.loads(shown.out)) == {"epoch", "weights", "metrics"}
    assert "reproduced" not in shown.err


def test_of_a_file_without_digits_clean_and_the_validation_attack_are_tested(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(write(None), test=True, form="json") == 0
    names = json.loads(capsys.readouterr().out)["metrics"]
    tested = {name.split("_")[0] for name in names if name.startswith("test/")}
    assert tested == {"test/clean", "test/pgd2"}


def test_another_seed_is_not_compared(
    recorded: dict[str, Any], write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(recorded)
    assert _run(path, seed=1, form="json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["weights"] != recorded["weights"]
    assert "reproduced" not in shown.err
    assert _run(path, seed=0) == 0
    assert "reproduced: " in capsys.readouterr().err


def test_only_compared_numbers_are_counted(
    recorded: dict[str, Any], write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    partial = {**recorded, "val": {"val/clean_acc": recorded["val"]["val/clean_acc"]}, "test": {}}
    assert _run(write(partial)) == 0
    assert "and all 1 recorded numbers measured" in capsys.readouterr().err


def test_quiet_leaves_only_the_results(
    recorded: dict[str, Any], write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(write(recorded), quiet=True) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "val/clean_acc" in shown.out


def test_a_checkpoint_is_kept_and_resumed_to_the_same_digits(
    recorded: dict[str, Any], write: Write, tmp_path: Path
) -> None:
    for _ in range(2):
        assert _run(write(recorded), test=True, checkpoint=tmp_path / "checkpoint.pt") == 0
    assert (tmp_path / "checkpoint.pt").exists()


def test_a_diverged_training_fails_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    config = tiny(optim__lr=100, optim__weight_decay=10, optim__momentum=0)
    dump_config(path, config, comment="a test")
    assert _run(path) == 1
    shown = capsys.readouterr()
    assert "diverged: " in shown.err
    assert "non-finite in epoch" in shown.err
    assert shown.out == ""


def test_a_device_that_is_not_there_is_refused_before_anything(
    write: Write, recorded: dict[str, Any]
) -> None:
    for device in ("cuda:99", "tpu"):
        with pytest.raises(ConfigError, match=f"--device must be one of auto, cpu.*got {device}"):
            train_file(
                write(recorded), test=False, seed=None, threads=1, device=device,
                checkpoint=None, quiet=True, form="table",
            )  # fmt: skip


@pytest.mark.parametrize("near", [True, False])
def test_what_another_device_recorded_is_compared_within_a_tolerance(
    write: Write,
    recorded: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    near: bool,
) -> None:
    changed = copy.deepcopy(recorded)
    changed |= {"arithmetic": "NVIDIA H200, bf16, no TF32, deterministic", "weights": "0" * 16}
    changed["val"]["val/clean_acc"] += 0.02 if near else 0.04
    status = train_file(
        write(changed), test=False, seed=None, threads=1, device="cpu", checkpoint=None,
        quiet=False, form="table",
    )  # fmt: skip
    told = " ".join(capsys.readouterr().err.split())
    assert status == (0 if near else 1)
    assert "recorded on NVIDIA H200, bf16, no TF32, deterministic, trained on cpu, fp32" in told
    assert ("reproduced within 3 points: all" in told) is near
    assert ("not reproduced: val/clean_acc" in told) is not near


def test_quiet_still_tells_what_was_not_reproduced(
    write: Write, recorded: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    changed = copy.deepcopy(recorded)
    changed["weights"] = "0" * 16
    for record, told in ((changed, True), (recorded, False)):
        status = train_file(
            write(record), test=False, seed=None, threads=1, device="cpu", checkpoint=None,
            quiet=True, form="table",
        )  # fmt: skip
        assert status == int(told)
        assert ("not reproduced" in capsys.readouterr().err) is told
