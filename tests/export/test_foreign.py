"""A study of a network that others wrote, started from others' weights, and its exports."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ltat_tune.config.config_file import load_config
from ltat_tune.data.torchvision_door import import_torchvision
from ltat_tune.training.weights_file import load_model
from tests.drive import MINI, call, write_space

_NETWORK = "shufflenet_v2_x0_5"


def test_it_is_exported_and_registered_and_the_start_is_not_needed_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = tmp_path / "start.pt"
    theirs = import_torchvision("models").get_model(_NETWORK, num_classes=7)
    state = {f"student.{name}": tensor for name, tensor in theirs.state_dict().items()}
    torch.save(state, start)
    (tmp_path / "start.yaml").write_text(
        f"model: torchvision/{_NETWORK}\nkeys: {{student.: ''}}\n"
    )
    fixed = {name: value for name, value in MINI["fixed"].items()
             if name not in ("model.width", "model.stem")}  # fmt: skip
    fixed |= {
        "model.name": f"torchvision/{_NETWORK}", "model.init": str(start), "optim.epochs": 2,
        "data.image_size": 16, "data.imbalance_ratio": 2, "attack.steps": 1,
    }  # fmt: skip
    space = write_space(
        tmp_path, fixed=fixed, scenarios={}, searcher={"trials": 1},
        confirm={"top": 1, "seeds": [1], "attacks": ["clean"], "sentinel": False},
    )  # fmt: skip
    done = call("--space", space, "--in-process", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    start.unlink()  # a trained model is whole without it
    forms = ("--checkpoint", "--register", "other")
    exported = call("export", "mini", *forms, cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    lines = exported.stderr.splitlines()
    for form in ("safetensors", "models:/other"):
        assert any(form in line and "equal to the last bit" in line for line in lines), lines
    (weights,) = (tmp_path / "exports").glob("*.safetensors")
    model = load_model(weights)
    images = torch.rand(2, 1, 16, 16)
    assert model(images).shape == (2, 10)
    config, _ = load_config(weights.with_suffix(".yaml"))
    assert str(config.model.init).startswith(f"{start}@")
    needs = [path.read_text() for path in (tmp_path / "studies").rglob("requirements.txt")]
    assert needs and all("torchvision==" in text for text in needs)
    measured = call("evaluate", weights, "--attacks", "clean", "--no-sentinel", "--quiet",
                    "--format", "json", cwd=tmp_path)  # fmt: skip
    assert json.loads(measured.stdout)["model"]["network"]["name"] == config.model.name
