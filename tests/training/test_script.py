"""Scripts of the field, which train as they are: five of them, with no changed line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ltat_tune.config.plugin_loader import forget, load_plugins
from ltat_tune.config.sections.script import ScriptSpec
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import CheckpointError, ConfigError, TrainingDiverged
from ltat_tune.models import build_model
from ltat_tune.presentation.names import AS_SAID
from ltat_tune.training.fit_result import EpochMetrics
from ltat_tune.training.script.guard import GRACE_S
from ltat_tune.training.script.process import (
    RunningScript,
    filled_command,
    hash_of,
    make_folder,
    values_of,
)
from ltat_tune.training.script.reading import LineReader
from ltat_tune.training.script.run import ScriptFailed
from ltat_tune.training.script.weights import load_into, read_state_dict
from ltat_tune.training.trainer import Trainer

SCRIPTS = Path(__file__).parents[1] / "data" / "scripts"
ARGPARSE = (
    "python train.py --lr {optim.lr} --beta {script.beta} --epochs {optim.epochs} "
    "--seed {seeds.seed} --out {folder}"
)
DEFINITIONS: dict[str, dict[str, Any]] = {
    "argparse_prints": {
        "command": f"{ARGPARSE} {{script.nesterov}}",
        "metrics": r"Epoch (?P<epoch>\d+)/.*robust (?P<pgd>[\d.]+)%",
        "checkpoint": "{folder}/last.pt", "resume": "--resume {checkpoint}",
        "parameters": {"beta": {"default": 6.0, "ge": 0},
                       "nesterov": {"default": False, "flag": "--nesterov"}},
    },
    "csv_log": {
        "command": ARGPARSE, "metrics": "csv", "log": "{folder}/log.csv", "score": "pgd_acc",
        "percent": False, "checkpoint": "{folder}/epoch_last.pt",
        "parameters": {"beta": {"default": 6.0}},
    },
    "config_file": {
        "command": "python train.py config.yaml", "templates": ["config.yaml"],
        "metrics": "json", "score": "robust_acc", "percent": False,
        "checkpoint": "checkpoint/ckpt.pth",
        "parameters": {"beta": {"default": 6.0},
                       "loss": {"default": "ce", "choices": ["ce", "bsl"]}},
    },
    "two_stages": {
        "command": [f"{ARGPARSE.replace('{optim.epochs}', '2')} --stage 1",
                    f"{ARGPARSE.replace('{optim.epochs}', '2')} --stage 2"],
        "metrics": r"stage (?P<stage>\d)\] epoch: (?P<epoch>\d+) \| adv acc: (?P<adv>[\d.]+)",
        "score": "adv", "percent": False, "checkpoint": "{folder}/stage2.pth",
        "parameters": {"beta": {"default": 6.0}},
    },
    "data_parallel": {
        "command": ARGPARSE, "metrics": r"Epoch: \[(?P<epoch>\d+)\]\s+Robust Prec@1 (?P<r>[\d.]+)",
        "checkpoint": "{folder}/last.pt", "resume": "--resume {checkpoint}",
        "parameters": {"beta": {"default": 6.0}},
    },
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("scripts_forgotten")


@pytest.fixture(autouse=True)
def small_net() -> Iterator[None]:
    """The scripts' network, as a plugin."""
    (plugin,) = load_plugins(["small_net"], beside=SCRIPTS)
    yield
    forget(plugin)


@pytest.fixture(autouse=True)
def python_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def _config(name: str, **values: Any) -> TrialConfig:
    changed = {path: value for path, value in values.items() if "." in path}
    definition = {**DEFINITIONS[name], "folder": str(SCRIPTS / name)}
    definition |= {key: value for key, value in values.items() if "." not in key}
    return TrialConfig.from_flat(
        {
            "script.definition": definition, "data.name": "digits", "data.val_per_class": 20,
            "model.name": "small_net", "optim.epochs": 4, "evaluation.val_attack": "pgd5",
            "attack.eps": 0.1, "evaluation.every_epochs": 2, "script.beta": 1.0,
            "data.profile": "full", **changed,
        }
    )  # fmt: skip


def _fit(config: TrialConfig, folder: Path) -> tuple[Trainer, list[EpochMetrics]]:
    seen: list[EpochMetrics] = []
    trainer = Trainer(config)
    trainer.fit(seen.append, checkpoint=folder / "checkpoint.pt")
    return trainer, seen


# --- whole trainings ---


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_script_of_the_field_trains_unchanged_and_our_validation_counts(
    name: str, tmp_path: Path
) -> None:
    config = _config(name)
    _, seen = _fit(config, tmp_path)
    assert [each.epoch for each in seen] == [1, 2, 3, 4]
    last = seen[-1].metrics
    assert last[AS_SAID] == 0 and last["val/clean_acc"] > 0.3
    assert {"val/pgd5_acc", "val/pgd5_balanced_acc"} <= set(last)
    assert seen[0].metrics[AS_SAID] == 1  # no validation is due after it
    assert 0 <= seen[0].metrics["val/pgd5_balanced_acc"] <= 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []
    # whoever opens the checkpoint afterwards runs no script
    again = Trainer(config).fit(checkpoint=tmp_path / "checkpoint.pt")
    assert again.metrics == last


def test_the_weights_are_the_scripts(tmp_path: Path) -> None:
    """The script alone, with the same arguments, gives the same weights to the bit."""
    trainer, _ = _fit(_config("argparse_prints"), tmp_path / "ours")
    subprocess.run(
        [sys.executable, "train.py", "--lr", "0.1", "--beta", "1", "--epochs", "4", "--seed",
         "0", "--out", tmp_path / "alone"],
        cwd=SCRIPTS / "argparse_prints", check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    alone = read_state_dict(tmp_path / "alone" / "last.pt")
    assert torch.equal(
        alone["conv.0.weight"], trainer.model.state_dict()["backbone.conv.0.weight"]
    )
    assert torch.equal(alone["fc.bias"], trainer.model.head.bias)


class _Stop(BaseException):
    pass


def test_a_rung_ends_the_whole_process_group(tmp_path: Path) -> None:
    script = tmp_path / "forks.py"
    script.write_text(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('child', child.pid)\nprint('epoch 1 acc 5.0')\ntime.sleep(600)\n"
    )
    config = _config(
        "argparse_prints", folder=str(tmp_path), command="python forks.py",
        metrics=r"epoch (?P<epoch>\d+) acc (?P<acc>[\d.]+)", resume=None,
    )  # fmt: skip

    def stop(done: EpochMetrics) -> None:
        raise _Stop

    out = tmp_path / "out"
    with pytest.raises(_Stop):
        Trainer(config).fit(stop, checkpoint=out / "checkpoint.pt")
    child = int((out / "script.log").read_text().split()[1])
    deadline = time.monotonic() + 10  # the kernel takes a moment on a busy machine
    while _lives(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(child)


def _lives(process: int) -> bool:
    try:
        return "Z" != Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


_TRAINS = """
import sys
from pathlib import Path
from ltat_tune.config.config_file import load_config
from ltat_tune.training.trainer import Trainer
Trainer(load_config(Path(sys.argv[1]))[0]).fit(
    lambda done: print(done.epoch, flush=True), checkpoint=Path(sys.argv[2]))
"""


def test_after_kill_9_the_script_is_gone_and_resumes_to_the_same_weights(tmp_path: Path) -> None:
    from ltat_tune.config.config_file import dump_config

    command = f"{ARGPARSE} --batch-size 4"  # epochs of some tenths of a second
    config = _config("argparse_prints", command=command, **{"optim.epochs": 6})
    dump_config(tmp_path / "config.yaml", config, comment="")
    whole, _ = _fit(config, tmp_path / "whole")
    killed = tmp_path / "killed"
    killed.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", _TRAINS, tmp_path / "config.yaml", killed / "checkpoint.pt"],
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 3:
                process.send_signal(signal.SIGKILL)
                break
    assert (killed / "script-kept" / "epoch").exists()
    end = time.monotonic() + 20
    while time.monotonic() < end and _with_argument(str(killed)):
        time.sleep(0.05)
    assert _with_argument(str(killed)) == []
    resumed, seen = _fit(config, killed)
    assert seen[0].replayed and [each.epoch for each in seen] == list(range(1, 7))
    assert "=> resumed at epoch" in (killed / "script.log").read_text()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


_OWNS = """
import sys, time
from pathlib import Path
from ltat_tune.training.script.process import RunningScript

code = sys.argv[2] + "import time; time.sleep(600)  # train.py"
sleeps = [sys.executable, "-c", code, sys.argv[1]]
with RunningScript([sleeps], Path(sys.argv[1]), Path(sys.argv[1]) / "log") as running:
    print("runs", flush=True)
    time.sleep(float(sys.argv[3]))
"""
_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "


@pytest.mark.parametrize(("script", "at_least"), [("", 0.0), (_DEAF, GRACE_S)])
@pytest.mark.parametrize("kill", [True, False])
def test_a_script_that_would_run_on_ends_with_its_owner_or_its_context(
    script: str, at_least: float, kill: bool, tmp_path: Path
) -> None:
    seconds = "600" if kill else "1"
    with subprocess.Popen(
        [sys.executable, "-c", _OWNS, tmp_path, script, seconds], stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == b"runs\n"
        while not _with_argument(str(tmp_path)):
            time.sleep(0.05)
        time.sleep(0.5)  # until a deaf script has told the system so
        if kill:
            owner.send_signal(signal.SIGKILL)
        else:
            owner.wait()
        end = time.monotonic() + at_least + (20 if kill else 0)
        while time.monotonic() < end and _with_argument(str(tmp_path)):
            time.sleep(0.05)
    assert _with_argument(str(tmp_path)) == []
    assert "Traceback" not in (tmp_path / "log").read_text()  # of the guard


def _with_argument(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            found += [int(entry.name)] if text in words and "train.py" in words else []
    return found


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"command": "python train.py --lr nonsense"}, ScriptFailed,
         r"failed \(exit status 2\) after 0 of 4 epochs(?s:.*)invalid float value: 'nonsense'"),
        ({"command": "python train.py --epochs 2 --out {folder}"}, ScriptFailed,
         "ended after 2 of 4 epochs that"),
        ({"command": "nowhere train.py"}, ScriptFailed, "nowhere: No such file or directory"),
        ({"checkpoint": "{folder}/other.pt"}, CheckpointError,
         "must save its weights to script.checkpoint, .*other.pt, and has not"),
        ({"sha256": "0" * 16}, CheckpointError, "must be the one that the study began with"),
        ({"model.name": "small_cnn"}, CheckpointError,
         "tensors of the network are missing .*set model"),
        ({"metrics": r"loss (?P<acc>\S+)  robust", "optim.lr": 100, "script.beta": 1e9},
         TrainingDiverged,
         "the script's numbers became non-finite in epoch"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said(
    changed: dict[str, Any], error: type[Exception], says: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        _fit(_config("argparse_prints", **changed), tmp_path)


# --- what is read ---


def _reader(metrics: str, score: str) -> LineReader:
    return LineReader(ScriptSpec(command="x", checkpoint="x", metrics=metrics, score=score))


def test_epochs_are_counted_from_one_whatever_the_script_calls_them() -> None:
    reader = _reader(r"epoch (?P<epoch>\d+) acc (?P<acc>[\d.]+)", "acc")
    lines = ["begin", "epoch 0 acc 1", "epoch 1 acc 2.5", "epoch 3 acc 4", "epoch 1 acc 5"]
    assert [reader.read(line) for line in lines] == [
        None, (1, {"acc": 1.0}), (2, {"acc": 2.5}), (4, {"acc": 4.0}), (5, {"acc": 5.0}),
    ]  # fmt: skip


def test_numbers_come_from_json_and_from_csv() -> None:
    reader = _reader("json", "acc")
    assert reader.read('{"epoch": 7, "acc": 0.5, "lr": "x"}') == (1, {"acc": 0.5})
    assert reader.read("{torn") is None and reader.read("[1]") is None
    table = LineReader(
        ScriptSpec(command="x", checkpoint="x", metrics="csv", score="acc", log="a.csv")
    )
    assert table.read("epoch,acc,note") is None
    assert table.read("1, 52.5%, fine") == (1, {"acc": 52.5})


def test_values_are_put_in_and_other_braces_stay(tmp_path: Path) -> None:
    config = _config("argparse_prints", **{"optim.lr": 0.05, "script.nesterov": True})
    values = values_of(config, tmp_path / "a b", "last.pt")
    assert filled_command(
        "train --lr {optim.lr} --dict '{a: {b}}' --out={folder} {script.nesterov} {checkpoint}",
        values,
    ) == ["train", "--lr", "0.05", "--dict", "{a: {b}}", f"--out={tmp_path}/a b", "--nesterov",
          "last.pt"]  # fmt: skip
    without = values_of(config.replace({"script.nesterov": False}), tmp_path)
    assert filled_command("train {script.nesterov} --x", without) == ["train", "--x"]


def test_a_training_runs_in_a_folder_of_its_own(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "run"
    (source / "checkpoint").mkdir(parents=True)
    (source / "checkpoint" / "theirs.pt").touch()
    (source / "data").mkdir()
    (source / "a.yaml").write_text("lr: {optim.lr} # {not one}\n")
    config = _config("argparse_prints", folder=str(source), templates=["a.yaml"])
    script = config.script.definition
    assert script is not None
    make_folder(script, folder, values_of(config, folder))
    assert (folder / "data").is_symlink()
    assert list((folder / "checkpoint").iterdir()) == []
    assert (folder / "a.yaml").read_text() == "lr: 0.1 # {not one}\n"
    before = hash_of(script)
    (source / "a.yaml").write_text("lr: 1\n")
    assert hash_of(script) != before


def test_a_second_start_waits_for_the_first_to_end(tmp_path: Path) -> None:
    first = RunningScript([["sleep", "600"]], tmp_path, tmp_path / "log")
    with first:
        pass
    with RunningScript([["echo", "two"]], tmp_path, tmp_path / "log") as second:
        assert list(second.lines()) == ["two"]
        assert second.status == 0


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {"net": {f"_orig_mod.module.{name}": v for name, v in state.items()}},
    ],
)
def test_wrapped_and_prefixed_checkpoints_are_read(wrap: Any, tmp_path: Path) -> None:
    config = _config("argparse_prints")
    model = build_model(config.model, in_channels=1, num_classes=10, seed=1)
    names = {"head.weight": "fc.weight", "head.bias": "fc.bias"}
    state = {names.get(n, n.removeprefix("backbone.")): v for n, v in model.state_dict().items()
             if n not in ("mean", "std")}  # fmt: skip
    torch.save(wrap(state), tmp_path / "a.pt")
    other = build_model(config.model, in_channels=1, num_classes=10, seed=2)
    load_into(other, tmp_path / "a.pt")
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_a_checkpoint_that_holds_code_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": _Code()}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_state_dict(tmp_path / "a.pt")


class _Code:
    def __reduce__(self) -> Any:
        return (os.system, ("touch /tmp/ltat-was-run",))


# --- the configuration ---


def test_only_what_the_command_names_acts_and_is_in_the_identity() -> None:
    config = _config("argparse_prints")
    for path, value, acts in (
        ("optim.lr", 0.2, True), ("script.beta", 2.0, True), ("seeds.seed", 3, True),
        ("optim.momentum", 0.5, False), ("method.name", "trades", False),
        ("evaluation.val_attack", "pgd7", True), ("attack.eps", 0.2, True),
    ):  # fmt: skip
        assert (config.replace({path: value}).identity != config.identity) == acts, path


def test_a_configuration_with_a_script_survives_json() -> None:
    config = _config("argparse_prints")
    again = TrialConfig.from_flat(json.loads(json.dumps(config.flat())))
    assert again == config and again.identity == config.identity


def test_a_parameter_of_a_script_keeps_its_bounds() -> None:
    with pytest.raises(ConfigError, match="script.beta must be >= 0, got -1"):
        _config("argparse_prints").replace({"script.beta": -1})


def test_an_average_that_only_the_script_keeps_is_not_validated(tmp_path: Path) -> None:
    weights = []
    for name, command, values in (
        ("own", ARGPARSE, {"script.beta": 0.5}),
        ("named", f"{ARGPARSE} --beta {{optim.ema_decay}}", {"optim.ema_decay": 0.5}),
    ):
        config = _config("argparse_prints", command=command, **{"optim.epochs": 1, **values})
        trained = Trainer(config).fit(checkpoint=tmp_path / name / "checkpoint.pt")
        weights.append(trained.weights)  # the script trains the same in both
    assert weights[0] == weights[1]
