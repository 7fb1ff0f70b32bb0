"""Bytes that changed but still parse: found when they are read, and never a trial's failure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ltat_tune.errors import CheckpointError
from ltat_tune.evaluation.loading import load_target
from ltat_tune.evaluation.targets import find_targets
from ltat_tune.training.weights_file import read_weights
from tests.damage import flip, flipped
from tests.drive import MINI, call, write_space

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SCENARIO = "imbalance_ratio_4"
SMALL = {
    "scenarios": {"data.imbalance_ratio": [4]},
    "fixed": {**MINI["fixed"], "optim.epochs": 2},
    "searcher": {"name": "list"},
    "scheduler": {"name": "none"},
    "confirm": {"top": 1, "seeds": [1], "attacks": ["clean"], "sentinel": False},
}


@pytest.fixture
def copy(small_study: Path, tmp_path: Path) -> Path:
    """The small study in a folder of its own, to be damaged."""
    return Path(shutil.copytree(small_study, tmp_path / "studies" / "mini"))


def _winner(study: Path) -> Path:
    """The checkpoint that `export` takes."""
    (target, *_) = [t for t in find_targets(str(study), study.parent) if SCENARIO in t.name]
    return target.checkpoint


def test_one_flipped_bit_of_a_weight_stops_evaluate_and_export(copy: Path) -> None:
    root, path = copy.parents[1], _winner(copy)
    whole = path.read_bytes()
    weights = torch.load(path, weights_only=True)["model"]["head.weight"]
    flip(path, whole.index(weights.numpy().tobytes()) + 3)  # a sign or an exponent
    export = ["export", "mini", "--scenario", SCENARIO, "--checkpoint"]
    for words in (["evaluate", "mini", "--attacks", "clean"], export):
        done = call(*words, cwd=root)
        assert done.returncode in (1, 2), done.stderr
        assert "its bytes have changed since it was written" in done.stderr
    assert "equal to the last bit" not in done.stdout + done.stderr
    assert not list((root / "exports").glob(f"*{SCENARIO}.safetensors"))


def test_weights_of_0_4_0_are_compared_with_the_result_beside_them(copy: Path) -> None:
    """A checkpoint of 0.4.0 has no digest, but `result.json` has the hash of its weights."""
    path = _winner(copy)
    state = torch.load(path, weights_only=True)
    plain = {name: value for name, value in state.items() if name != "history_digest"}
    torch.save({**plain, "format": 1}, path)
    (target,) = [t for t in find_targets(str(copy), copy.parent) if t.checkpoint == path]
    load_target(target)
    for part in (plain["model"], plain["kept"]["weights"]):
        if "head.weight" in part:
            part["head.weight"][0, 0] += 1e-6
    torch.save({**plain, "format": 1}, path)
    with pytest.raises(CheckpointError, match=r"must hold the weights .*, which result.json reco"):
        load_target(target)


def test_one_flipped_bit_anywhere_in_an_export_is_found(copy: Path, tmp_path: Path) -> None:
    whole = (copy / "best" / f"best-{SCENARIO}.safetensors").read_bytes()
    changed = tmp_path / "changed.safetensors"
    for place in [*range(8, 1500, 31), *range(1500, len(whole), len(whole) // 40), len(whole) - 1]:
        changed.write_bytes(flipped(whole, place))
        with pytest.raises(CheckpointError):
            read_weights(changed)
    changed.write_bytes(whole)
    read_weights(changed)


def test_a_confirmation_whose_weights_are_damaged_is_trained_again_before_its_test(
    copy: Path,
) -> None:
    path = _winner(copy)
    flip(path, path.stat().st_size // 2)
    before = json.loads((path.parent / "test.json").read_text())
    (path.parent / "test.json").unlink()
    (copy / "results.json").unlink()
    done = call("resume", "mini", "--in-process", cwd=copy.parents[1])
    assert done.returncode == 0, done.stderr
    assert json.loads((path.parent / "test.json").read_text()) == before


def test_damaged_decoded_images_change_no_number(tmp_path: Path) -> None:
    write_space(tmp_path, **SMALL)
    call("--space", "mini.yaml", "--in-process", "--quiet", cwd=tmp_path)
    study = tmp_path / "studies" / "mini"
    numbers = json.loads((study / "results.json").read_text())
    (entry,) = (study / "data").glob("digits-train-*")
    images = np.load(entry / "images.npy", mmap_mode="r+")
    images[:] = images[::-1].copy()
    images.flush()
    shutil.rmtree(study / "confirmations")
    (study / "results.json").unlink()
    done = call("resume", "mini", "--in-process", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((study / "results.json").read_text())["scenarios"] == numbers["scenarios"]


def test_a_training_on_other_images_stops_the_study_and_fails_no_trial(tmp_path: Path) -> None:
    write_space(tmp_path, **SMALL)
    call("--space", "mini.yaml", "--in-process", "--quiet", cwd=tmp_path)
    study = tmp_path / "studies" / "mini"
    (record,) = (study / "subsets").iterdir()
    other = record.rename(record.with_name(f"{record.name[:-16]}{'0' * 16}"))
    shutil.rmtree(study / "confirmations")
    (study / "results.json").unlink()
    done = call("resume", "mini", "--in-process", cwd=tmp_path)
    assert done.returncode == 1
    assert "the images have changed since the study began; restore them" in done.stderr
    other.rename(record)
    done = call("resume", "mini", "--in-process", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (scenario,) = json.loads((study / "results.json").read_text())["scenarios"]
    assert scenario["trials"] == {"complete": 2, "pruned": 0, "failed": 0, "diverged": 0}
    assert {path.parent.name for path in study.glob("confirmations/*/*/test.json")}
