"""Weights of other people's checkpoints: wrappers, prefixes, layouts of the releases, starts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ltat_tune.config.foreign.start import content_digits
from ltat_tune.config.sections import ModelConfig
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import CheckpointError, ConfigError
from ltat_tune.models import Classifier, build_model
from ltat_tune.models.foreign.start import start_from
from ltat_tune.models.foreign.weights import fit_weights, read_tensors
from ltat_tune.training.trainer import Trainer
from tests.models.reference import public_net

_WRN = {r"layer(\d)\.": r"block\1.layer.", r"shortcut\.0": "convShortcut", "linear": "fc"}
_REAT = {
    r"^conv1\.": "conv1.0.", r"^bn1\.": "conv1.1.", r"\.(\d)\.conv1": r".\1.residual_function.0",
    r"\.(\d)\.bn1": r".\1.residual_function.1", r"\.(\d)\.conv2": r".\1.residual_function.3",
    r"\.(\d)\.bn2": r".\1.residual_function.4", "linear": "fc",
}  # fmt: skip
_ROBAL = {**_WRN, "linear": "classifier.fc"}


def _model(name: str, seed: int = 0, **more: Any) -> Classifier:
    config = ModelConfig(name=name, width=4, **more)
    return build_model(config, in_channels=3, num_classes=5, seed=seed).eval()


def _named(tensors: dict[str, Tensor], rules: dict[str, str]) -> dict[str, Tensor]:
    for old, new in rules.items():
        tensors = {re.sub(old, new, name): t for name, t in tensors.items()}
    return tensors


@pytest.mark.parametrize(
    "network, rules, prefix",
    [
        ("resnet18", {}, "module."),  # pytorch-cifar, AT-BSL, RobustBench
        ("resnet18", _REAT, ""),
        ("wrn28_10", _WRN, "module."),  # TRADES, REAT
        ("wrn34_10", _WRN, "1."),  # Sequential(normalise, network)
        ("wrn34_10", _ROBAL, "backbone."),
        ("preact_resnet18", {r"^bn1\.": "bn."}, "_orig_mod.model."),
    ],
)
def test_a_release_gives_the_same_logits_here(
    network: str, rules: dict[str, str], prefix: str, tmp_path: Path
) -> None:
    """The release's own network is built layer by layer and run in float64."""
    blocks = {"wrn28_10": 4, "wrn34_10": 5}.get(network, 2)
    release = public_net(_model(network, seed=3), in_channels=3, blocks=blocks).eval()
    tensors = {n: t.float() if t.is_floating_point() else t
               for n, t in release.state_dict().items()}  # fmt: skip
    state = {
        name if name.startswith("classifier") else prefix + name: tensor
        for name, tensor in _named(tensors, rules).items()
    }
    torch.save({"epoch": 7, "state_dict": state}, tmp_path / "theirs.pt")
    model = _model(network)
    fitted = fit_weights(read_tensors(tmp_path / "theirs.pt"), model)
    assert (fitted.left, fitted.unused) == ((), ())
    model.load_state_dict(fitted.weights, strict=False)
    images = torch.rand(4, 3, 16, 16)
    assert torch.allclose(model(images).double(), release(images.double())[0], atol=1e-4)


@pytest.mark.parametrize("wrapper", ["", "state_dict", "model", "net", "model_state_dict"])
def test_a_library_network_is_read_from_a_file_of_any_script(wrapper: str, tmp_path: Path) -> None:
    from ltat_tune.data.torchvision_door import import_torchvision

    theirs = import_torchvision("models").shufflenet_v2_x0_5(num_classes=9).state_dict()
    torch.save({wrapper: theirs} if wrapper else theirs, tmp_path / "theirs.pt")
    model = build_model(
        ModelConfig(name="torchvision/shufflenet_v2_x0_5"), in_channels=3, num_classes=5
    )
    note = start_from(model, str(tmp_path / "theirs.pt"))
    assert note.endswith(
        "at their random start: head.weight, head.bias; not used: head.weight, head.bias"
    )
    assert torch.equal(model.backbone.network.conv1[0].weight, theirs["conv1.0.weight"])  # type: ignore[union-attr, index]


def test_keys_of_a_description_rename_what_a_start_takes_and_change_its_identity(
    tmp_path: Path,
) -> None:
    own = _model("small_cnn", seed=1).state_dict()
    start = tmp_path / "start.pt"
    torch.save({f"student.{name}": tensor for name, tensor in own.items()}, start)
    plain = content_digits(start)
    with pytest.raises(CheckpointError, match="would stay at random"):
        start_from(_model("small_cnn"), str(start))
    start.with_suffix(".yaml").write_text("model: small_cnn\nkeys: {student.: ''}\n")
    assert content_digits(start) != plain
    model = _model("small_cnn")
    start_from(model, str(start))
    assert torch.equal(model.head.weight, own["head.weight"])
    start.with_suffix(".yaml").write_text("model: small_cnn\nkeys: 3\n")
    with pytest.raises(ConfigError, match="start.yaml:2: keys must be a mapping, got 3"):
        TrialConfig.from_flat({"model.init": str(start)})


def test_a_start_that_leaves_a_part_at_random_is_refused(tmp_path: Path) -> None:
    save_file(_model("resnet18").state_dict(), tmp_path / "resnet.safetensors")
    with pytest.raises(CheckpointError, match="must fill the whole network but its head"):
        start_from(_model("wrn28_10"), str(tmp_path / "resnet.safetensors"))


def test_a_file_that_might_run_code_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(CheckpointError, match=r"save model.state_dict\(\) alone"):
        read_tensors(tmp_path / "whole.pt")


def test_a_training_starts_from_our_own_checkpoint_and_its_content_is_in_the_identity(
    tmp_path: Path,
) -> None:
    values = {
        "data.name": "digits", "data.imbalance_ratio": 4, "data.max_per_class": 8,
        "data.val_per_class": 4, "optim.epochs": 1, "optim.lr": 1e-9, "optim.warmup_epochs": 0,
        "attack.steps": 0, "evaluation.val_attack": "pgd1", "model.width": 4,
    }  # fmt: skip
    first, other = tmp_path / "first.pt", tmp_path / "moved.pt"
    before = Trainer(TrialConfig.from_flat({**values, "optim.lr": 0.1})).fit(checkpoint=first)
    other.write_bytes(first.read_bytes())
    config = TrialConfig.from_flat({**values, "model.init": str(first)})
    after = Trainer(config).fit()
    for name, weight in before.model.named_parameters():
        assert torch.allclose(dict(after.model.named_parameters())[name], weight, atol=1e-6)
    assert config.identity == config.replace({"model.init": str(other)}).identity
    assert config.identity != TrialConfig.from_flat(values).identity
    first.write_bytes(other.read_bytes() + b" ")
    with pytest.raises(CheckpointError, match="the file has changed"):
        Trainer(config).fit()
    with pytest.raises(ConfigError, match="model.init must name a file of weights, got .*No such"):
        config.replace({"model.init": str(tmp_path / "none.pt")})


@pytest.mark.parametrize("name", ["small_cnn", "resnet18", "preact_resnet18", "wrn28_10"])
def test_our_own_names_are_known_wrapped_and_as_a_backbone_alone(name: str) -> None:
    model = _model(name)
    own = model.state_dict()
    wrapped = {f"module.{key}": tensor for key, tensor in own.items()}
    alone = {key.removeprefix("backbone."): tensor for key, tensor in own.items()}
    for found in (wrapped, alone):
        fitted = fit_weights(found, _model(name, seed=1))
        assert fitted.left == fitted.unused == ()
        assert all(torch.equal(tensor, own[key]) for key, tensor in fitted.weights.items())
