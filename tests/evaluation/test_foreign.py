"""Checkpoints of other scripts, measured by the command that measures ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ltat_tune.data.batches import to_unit
from ltat_tune.data.datasets import load_splits
from ltat_tune.data.torchvision_door import import_torchvision
from ltat_tune.evaluation.foreign import written_config
from ltat_tune.evaluation.loading import load_target
from ltat_tune.evaluation.targets import find_targets
from tests.drive import call

_NETWORK = "shufflenet_v2_x0_5"
_CLEAN = ("--attacks", "clean", "--no-sentinel", "--format", "json", "--quiet")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A checkpoint as DataParallel scripts save it."""
    torch.manual_seed(0)
    network = import_torchvision("models").get_model(_NETWORK, num_classes=10)
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "theirs.pt")
    return tmp_path / "theirs.pt"


def test_its_logits_are_those_of_the_script_with_its_normalisation(theirs: Path) -> None:
    config = written_config(theirs.parent, f"torchvision/{_NETWORK}", "digits", (0.4,), (0.3,))
    (target,) = find_targets(str(theirs), theirs.parent, config=config)
    loaded = load_target(target)
    network = import_torchvision("models").get_model(_NETWORK, num_classes=10).eval()
    state = torch.load(theirs, weights_only=True)["state_dict"]
    network.load_state_dict({n.removeprefix("module."): t for n, t in state.items()})
    images = to_unit(load_splits(loaded.config).test().images[:8])
    expected = network(((images - 0.4) / 0.3).expand(-1, 3, -1, -1))
    assert torch.allclose(loaded.model(images), expected, atol=1e-5)


def test_the_command_writes_a_card_and_refuses_another_network(theirs: Path) -> None:
    folder = theirs.parent
    named = ("evaluate", "theirs.pt", "--data", "digits", *_CLEAN)
    done = call(*named, "--model", f"torchvision/{_NETWORK}", cwd=folder)
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)
    assert card["model"]["network"]["name"] == f"torchvision/{_NETWORK}"
    again = call(*card["command"].split()[1:], "--format", "json", "--quiet", cwd=folder)
    assert json.loads(again.stdout)["rows"][0]["numbers"] == card["rows"][0]["numbers"]
    other = call(*named, "--model", "resnet18", cwd=folder)
    assert other.returncode == 2
    assert "must hold the network resnet18 with 10 classes; missing: backbone.stem" in other.stderr
    alone = call("evaluate", "theirs.pt", "--model", "resnet18", cwd=folder)
    assert "--model and --data go together" in alone.stderr
