"""A winner whose network is a plugin's: its code travels with every form of it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml

from ltat_tune.config.plugin_loader import copy_plugins
from ltat_tune.errors import StudyError
from tests.drive import MINI, call, mlflow_runs, write_space

MODEL = '''
from torch import nn

from ltat_tune.plugins import param, register_model


class OneLayer(nn.Sequential):
    """One convolution and the mean over the image."""

    def __init__(self, in_channels, *, channels):
        convolution = nn.Conv2d(in_channels, channels, 3, padding=1)
        super().__init__(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.out_features = channels


register_model("one_layer", OneLayer, parameters={"channels": param(32, "filters", ge=1)})
'''
SHA256 = hashlib.sha256(MODEL.encode()).hexdigest()[:16]
BEST = "best-imbalance_ratio_2"


class Exported(NamedTuple):
    """What was exported, and what the commands said; the plugin's own file is gone."""

    root: Path
    folder: Path
    stdout: str
    evaluated: str


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    root = tmp_path_factory.mktemp("plugin-export")
    (root / "shallow.py").write_text(MODEL)
    fixed = {k: v for k, v in MINI["fixed"].items() if not k.startswith("model.")}
    space = write_space(
        root, plugins=["shallow"], scenarios={"data.imbalance_ratio": [2]},
        fixed={**fixed, "model.name": "one_layer", "model.channels": 6, "optim.epochs": 2},
        searcher={"trials": 2}, confirm={**MINI["confirm"], "seeds": [1]},
    )  # fmt: skip
    # that Ray's workers load a plugin: backend/test_in_process.py
    done = call("--space", space, "--in-process", "--quiet", cwd=root)
    assert done.returncode == 0, done.stderr
    evaluated = call("evaluate", "mini", "--attacks", "pgd3", "--no-sentinel", cwd=root)
    assert evaluated.returncode == 0, evaluated.stderr
    done = call("export", "mini", "--checkpoint", "--onnx", "--register", "shallow", cwd=root)
    assert done.returncode == 0, done.stderr
    (root / "shallow.py").unlink()
    return Exported(root, root / "exports", done.stdout, evaluated.stderr)


def python(code: str, *arguments: Path | str, cwd: Path, **environment: str) -> str:
    """Runs code in a new process, to which nothing but its folder and ltat-tune is known."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=cwd, capture_output=True,
        text=True, check=False, timeout=200, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def logits(exported: Exported) -> Path:
    """What the exported weights say of 20 random images, by the code beside them."""
    rng = np.random.default_rng(0)
    np.save(exported.root / "images.npy", rng.random((20, 1, 8, 8), dtype=np.float32))
    code = (
        "import sys, numpy, torch; from ltat_tune.export import load_model; "
        "model = load_model(sys.argv[1]); images = torch.from_numpy(numpy.load(sys.argv[2])); "
        "numpy.save(sys.argv[3], model(images).detach().numpy())"
    )
    place, found = exported.folder / f"{BEST}.safetensors", exported.root / "logits.npy"
    python(code, place, exported.root / "images.npy", found, cwd=exported.root)
    return found


def test_the_module_lies_beside_the_configuration(exported: Exported) -> None:
    assert exported.stdout.splitlines() == [
        f"exports/{name}"
        for name in (f"{BEST}.yaml", f"{BEST}.md", "shallow.py", f"{BEST}.safetensors",
                     f"{BEST}.onnx")
    ]  # fmt: skip
    assert (exported.folder / "shallow.py").read_text() == MODEL
    document = yaml.safe_load((exported.folder / f"{BEST}.yaml").read_text())
    assert [(p["name"], p["sha256"]) for p in document["plugins"]] == [("shallow", SHA256)]


def test_evaluate_says_which_file_it_runs(exported: Exported) -> None:
    assert f"note: plugin shallow runs code of {exported.root}/shallow.py (sha256 {SHA256})" in (
        exported.evaluated
    )
    weights = exported.folder / f"{BEST}.safetensors"
    again = call("evaluate", weights, "--attacks", "pgd3", "--no-sentinel", cwd=exported.root)
    assert again.returncode == 0, again.stderr
    copy = exported.folder / "shallow.py"
    assert f"note: plugin shallow runs code of {copy} (sha256 {SHA256})" in again.stderr


def test_it_trains_again_to_the_recorded_digits(exported: Exported) -> None:
    done = call("train", exported.folder / f"{BEST}.yaml", "--quiet", cwd=exported.root)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mlflow_loads_it_where_the_plugin_is_not(
    exported: Exported, logits: Path, tmp_path: Path
) -> None:
    code = """
import sys, warnings
warnings.simplefilter("ignore")
import importlib.util, mlflow, numpy
assert importlib.util.find_spec("shallow") is None
model = mlflow.pyfunc.load_model(sys.argv[1])
numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2]), {"output": "logits"}))
print(importlib.util.find_spec("shallow").origin)
"""
    uri = f"sqlite:///{exported.root / 'studies' / 'mini' / 'mlflow.db'}"
    origin = python(
        code, "models:/shallow@champion", exported.root / "images.npy", tmp_path / "found.npy",
        cwd=tmp_path, MLFLOW_TRACKING_URI=uri,
    )  # fmt: skip
    assert origin.strip().endswith("/code/shallow.py")
    assert np.allclose(np.load(tmp_path / "found.npy"), np.load(logits), atol=1e-5)


def test_the_registered_code_is_refused_once_it_was_edited(
    exported: Exported, tmp_path: Path
) -> None:
    (code,) = (exported.root / "studies" / "mini").rglob("code/shallow.py")
    model = code.parent.parent
    code.write_text(MODEL + "# edited\n")
    try:
        script = (
            "import sys, mlflow\ntry:\n    mlflow.pyfunc.load_model(sys.argv[1])\n"
            "except Exception as error:\n    print(type(error).__name__, error)"
        )
        said = python(script, model, cwd=tmp_path)
    finally:
        code.write_text(MODEL)
    assert said.startswith("ConfigError") and "plugin shallow has changed" in said
    assert f"the recorded sha256 {SHA256}, got" in said


def test_onnx_needs_no_plugin(exported: Exported, logits: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    session = onnxruntime.InferenceSession(str(exported.folder / f"{BEST}.onnx"))
    (found,) = session.run(["logits"], {"images": np.load(exported.root / "images.npy")})
    assert np.allclose(found, np.load(logits), atol=1e-4)


def test_the_card_says_whose_code_runs_and_its_lines_load_the_weights(
    exported: Exported, logits: Path
) -> None:
    card = (exported.folder / f"{BEST}.md").read_text()
    assert "| plugin `shallow` | code that is not part of ltat-tune: `shallow.py` beside" in card
    assert f"(sha256 `{SHA256}`; any other file is refused) adds `model.name: one_layer`" in card
    blocks = [b for b in re.findall(r"```python\n(.*?)```", card, re.S) if "safetensors" in b]
    assert len(blocks) == 2
    answer = (
        "import numpy, sys, torch\nimages = torch.from_numpy(numpy.load(sys.argv[1]))\n"
        "wanted = torch.from_numpy(numpy.load(sys.argv[2]))\n"
        "assert torch.equal(model(images).detach(), wanted)\n"
    )
    for block in blocks:
        python(block + answer, exported.root / "images.npy", logits, cwd=exported.folder)


def test_the_study_s_own_model_has_the_code_too(exported: Exported) -> None:
    runs = mlflow_runs(exported.root / "studies" / "mini")
    confirmed = [r for r in runs if r.data.tags.get("kind") == "confirmation"]
    assert len(confirmed) >= 1
    found = list((exported.root / "studies" / "mini").rglob("code/shallow.py"))
    assert len(found) == 1  # logged when the study ended, and not again by --register
    assert (exported.root / "studies/mini/best/shallow.py").read_text() == MODEL


def test_another_file_of_its_name_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "shallow.py"
    file.write_text(MODEL)
    target = tmp_path / "exports"
    plugin = {"name": "shallow", "file": str(file), "sha256": SHA256}
    assert copy_plugins([plugin], target) == {"shallow": target / "shallow.py"}
    (target / "shallow.py").write_text("# mine\n")
    with pytest.raises(
        StudyError, match=r"shallow.py must have sha256 .*, got another file .*--to, or delete it"
    ):
        copy_plugins([plugin], target)
    assert (target / "shallow.py").read_text() == "# mine\n"
    file.write_text(MODEL + "# edited\n")
    with pytest.raises(
        ValueError, match=f"must be the file that the study ran, .* {SHA256}, but it has"
    ):
        copy_plugins([plugin], tmp_path / "other")
