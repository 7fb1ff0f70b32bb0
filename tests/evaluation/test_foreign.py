"""Checkpoints of other scripts, measured by the command that measures ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ltat_tune import evaluate
from ltat_tune.config.foreign.description import description_of, read_description
from ltat_tune.data.batches import to_unit
from ltat_tune.data.datasets import load_splits
from ltat_tune.data.torchvision_door import import_torchvision
from ltat_tune.errors import ConfigError
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
    described = description_of(f"torchvision/{_NETWORK}", (0.4,), (0.3,))
    config = written_config(theirs.parent, described, "digits")
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
    assert card["model"]["method"] == "another script"
    assert card["model"]["trained_against"] is None
    again = call(*card["command"].split()[1:], "--format", "json", "--quiet", cwd=folder)
    assert json.loads(again.stdout)["rows"][0]["numbers"] == card["rows"][0]["numbers"]
    other = call(*named, "--model", "resnet18", cwd=folder)
    assert other.returncode == 2
    assert "must hold the network resnet18 with 10 classes; missing: backbone.stem" in other.stderr
    alone = call("evaluate", "theirs.pt", "--model", "resnet18", cwd=folder)
    assert "--model and --data go together" in alone.stderr


def test_a_description_beside_the_file_renames_and_normalises(theirs: Path) -> None:
    folder = theirs.parent
    state = torch.load(theirs, weights_only=True)["state_dict"]
    mine = {f"encoder.{n.removeprefix('module.')}": tensor for n, tensor in state.items()}
    torch.save(mine, folder / "mine.pt")
    (folder / "mine.yaml").write_text(
        f"model: torchvision/{_NETWORK}\nclasses: 10\nkeys: {{encoder.: ''}}\n"
        "normalisation: {mean: [0.4], std: [0.3]}\n"
    )
    done = call("evaluate", "mine.pt", "--data", "digits", *_CLEAN, cwd=folder)
    assert done.returncode == 0, done.stderr
    options = ("--model", f"torchvision/{_NETWORK}", "--mean", "0.4", "--std", "0.3")
    same = call("evaluate", "theirs.pt", "--data", "digits", *options, *_CLEAN, cwd=folder)
    first, second = (json.loads(text.stdout)["rows"][0] for text in (done, same))
    assert first["numbers"] == second["numbers"]
    assert first["confusion"] == second["confusion"]
    (measured,) = evaluate(
        folder / "mine.pt", folder / "mine.yaml", data="digits", attacks=["clean"]
    )
    assert measured.numbers == first["numbers"]
    unnamed = call("evaluate", "mine.pt", *_CLEAN, cwd=folder)
    assert "mine.pt is of another script, so the images must be named" in unnamed.stderr


def test_what_a_description_has_wrong_is_told_all_at_once(tmp_path: Path) -> None:
    path = tmp_path / "theirs.yaml"
    path.write_text(
        "model: resnet19\nclasses: 1\nnormalisation: {mean: [0.5], std: [0.0]}\n"
        "keys: {encoder.: 3}\nnormalization: {}\n"
    )
    with pytest.raises(ConfigError) as caught:
        read_description(path)
    told = "\n".join(caught.value.problems)
    assert f"{path}:1: model.name must be one of small_cnn, resnet18" in told
    assert f"{path}:2: classes must be >= 2, got 1" in told
    assert f"{path}:3: normalisation.std.0 must be > 0, got 0" in told
    assert f"{path}:4: keys.encoder. must be text, got 3" in told
    assert f"{path}:5: unknown key normalization; the description of a checkpoint has" in told


def test_classes_and_keys_that_do_not_fit_are_refused(theirs: Path) -> None:
    wrong = theirs.with_suffix(".yaml")
    told = ("evaluate", "theirs.pt", "--data", "digits", *_CLEAN)
    wrong.write_text(f"model: torchvision/{_NETWORK}\nclasses: 12\n")
    refused = call(*told, cwd=theirs.parent).stderr
    assert "must have the 10 classes of digits, but its description says 12" in refused
    wrong.write_text(f"model: torchvision/{_NETWORK}\nkeys: {{encoder.: ''}}\n")
    refused = call(*told, cwd=theirs.parent).stderr
    assert "keys must be beginnings of names in the file, got encoder.; its names" in refused
