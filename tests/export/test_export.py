"""`ltat-tune export`: every form of a winner is loaded as written, and answers as it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ltat_tune.config.config_file import load_config
from ltat_tune.errors import CheckpointError, ConfigError
from ltat_tune.evaluation.loading import load_target
from ltat_tune.evaluation.targets import Target
from ltat_tune.export import load_model
from ltat_tune.training.checkpoint import weights_hash
from ltat_tune.training.weights_file import read_weights
from tests.drive import call

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

NAMES = ("imbalance_ratio_2", "imbalance_ratio_4")
BEST = "best-imbalance_ratio_4"


@pytest.fixture(scope="module")
def exported(small_study: Path) -> Path:
    """The folder of one export with everything."""
    root = small_study.parent.parent
    done = call("export", "mini", "--checkpoint", "--onnx", "--register", "digits", cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"exports/best-{name}{suffix}"
        for name in NAMES
        for suffix in (".yaml", ".md", ".safetensors", ".onnx")
    ]
    (root / "stderr.txt").write_text(done.stderr)
    return root / "exports"


def checkpoint_model(small_study: Path, exported: Path) -> tuple[torch.nn.Module, torch.Tensor]:
    """The winner as its study left it, and its validation images."""
    _, recorded = load_config(exported / f"{BEST}.yaml")
    assert recorded is not None
    place = next(
        path.parent
        for path in (small_study / "confirmations" / NAMES[1]).glob("*/result.json")
        if json.loads(path.read_text())["weights"] == recorded["weights"]
    )
    loaded = load_target(Target("one", place / "config.yaml", place / "checkpoint.pt"))
    return loaded.model, loaded.splits.val.images


def test_the_weights_are_those_of_the_confirmation_with_the_first_seed(
    small_study: Path, exported: Path
) -> None:
    model, images = checkpoint_model(small_study, exported)
    loaded = load_model(exported / f"{BEST}.safetensors")
    assert not loaded.training
    with torch.inference_mode():
        assert torch.equal(loaded(images), model(images))
    config, recorded = load_config(exported / f"{BEST}.yaml")
    assert recorded is not None and config.seeds.seed == 1
    read = read_weights(exported / f"{BEST}.safetensors")
    assert read.weights == recorded["weights"] == weights_hash(read.tensors)
    assert (read.identity, read.image_shape) == (config.identity, (1, 8, 8))
    assert read.classes == tuple("0123456789")


def test_the_lines_of_the_card_load_the_weights(small_study: Path, exported: Path) -> None:
    model, images = checkpoint_model(small_study, exported)
    card = (exported / f"{BEST}.md").read_text()
    blocks = [b for b in re.findall(r"```python\n(.*?)```", card, re.S) if "safetensors" in b]
    assert len(blocks) == 2
    for block in blocks:
        names: dict[str, Any] = {}
        code = block.replace(f'"{BEST}', f'"{exported}/{BEST}')
        exec(code, names)  # noqa: S102
        with torch.inference_mode():
            assert torch.equal(names["model"](images), model(images))


def test_evaluate_takes_exported_weights_for_the_model_they_are(
    small_study: Path, exported: Path
) -> None:
    root = exported.parent
    command = ("--attacks", "pgd3", "--no-sentinel", "--format", "json", "--quiet")
    done = call("evaluate", exported / f"{BEST}.safetensors", *command, cwd=root)
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)
    _, recorded = load_config(exported / f"{BEST}.yaml")
    assert recorded is not None
    assert card["model"]["weights"] == recorded["weights"]
    (clean,) = (row for row in card["rows"] if row["attack"] == "clean")
    assert clean["numbers"]["acc"] == recorded["test"]["test/clean_acc"]


def test_weights_of_another_configuration_are_refused(exported: Path, tmp_path: Path) -> None:
    other = exported / f"best-{NAMES[0]}.yaml"
    with pytest.raises(CheckpointError, match="must belong to configuration .* got .*--config"):
        load_model(exported / f"{BEST}.safetensors", config=other)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_model(exported / f"{BEST}.safetensors", config=tmp_path / "none.yaml")


def test_torn_and_foreign_files_are_told_apart(exported: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torn = tmp_path / "torn.safetensors"
    torn.write_bytes((exported / f"{BEST}.safetensors").read_bytes()[:500])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        read_weights(torn)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(CheckpointError, match="`ltat-tune export --weights`.*another kind"):
        read_weights(foreign)
    with pytest.raises(CheckpointError, match=r"none\.safetensors: cannot be read"):
        read_weights(tmp_path / "none.safetensors")


def test_the_card_has_data_counts_protocol_numbers_and_limits(exported: Path) -> None:
    card = (exported / f"{BEST}.md").read_text()
    _, recorded = load_config(exported / f"{BEST}.yaml")
    assert recorded is not None
    parts = re.findall(r"^## (.*)$", card, re.M)
    assert parts == ["Model", "Data", "Protocol", "Numbers", "Limits",
                     "Checked against the checkpoint", "How to use it"]  # fmt: skip
    assert "105; by class: 0 (20), 1 (17), 2 (14), 3 (12), 4 (10), 5 (9), " in card
    assert "exp, imbalance ratio 4 |" in card  # 20 / 5
    assert f"hash `{recorded['subset_hash']}`" in card
    assert "mean, n = 2" in card and "L∞, eps 0.1" in card
    assert "± is the standard deviation over the seeds." in card
    own = 100 * recorded["test"]["test/pgd3_balanced_acc"]
    assert re.search(rf"\| test/pgd3_balanced_acc \| [\d.]+ ± [\d.]+ \| {own:.1f} \|", card)
    assert "ltat-tune does not know the licence" in card
    assert "AutoAttack was not run" in card and "not checked: the robust accuracy" in card
    assert "selected_on_test" not in card and "Smoke" not in card
    for line in (exported.parent / "stderr.txt").read_text().splitlines():
        if line.startswith(BEST):
            assert line.replace(f"{line.split(': ')[0]}: ", "") in card


def test_onnx_answers_as_torch_and_says_how_closely(small_study: Path, exported: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    from ltat_tune.export.onnx_file import onnx_runner, read_about

    model, images = checkpoint_model(small_study, exported)
    answers = onnx_runner(exported / f"{BEST}.onnx")
    for count in (1, 3, 50):
        with torch.inference_mode():
            difference = (answers(images[:count]) - model(images[:count])).abs().max()
        assert difference < 1e-4
    facts = read_about(exported / f"{BEST}.onnx")
    assert facts["opset"] == "18" and facts["attack"] == "pgd3"
    assert 0 <= float(facts["max_difference_clean"]) < 1e-4
    assert 0 <= float(facts["max_difference_attacked"]) < 1e-4
    said = (exported.parent / "stderr.txt").read_text()
    assert f"{BEST}.onnx: opset 18, onnxruntime: largest difference of a logit" in said


def test_exporting_again_adds_no_version_and_the_alias_stays(
    small_study: Path, exported: Path
) -> None:
    from ltat_tune.tracking.store import connect

    done = call("export", "mini", "--scenario", NAMES[1], "--register", f"digits-{NAMES[1]}",
               "--quiet", cwd=exported.parent)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    client = connect(f"sqlite:///{small_study / 'mlflow.db'}")
    versions = client.search_model_versions(f"name = 'digits-{NAMES[1]}'")
    assert [str(version.version) for version in versions] == ["1"]
    found = client.get_model_version_by_alias(f"digits-{NAMES[1]}", "champion")
    assert str(found.version) == "1"
    assert found.tags["scenario"] == NAMES[1]
    assert str(found.description).startswith("# pgd_at with")


@pytest.fixture(scope="module")
def service(small_study: Path, exported: Path) -> Iterator[str]:
    """`mlflow models serve` over the registered model, in a folder without this package."""
    import os
    import signal

    from ltat_tune.tracking.ui_server import free_port

    port = free_port()
    environment = {
        **os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{small_study / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # mlflow looks for uvicorn there, whether this environment is activated or not
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }  # fmt: skip
    environment.pop("PYTHONPATH", None)
    with open(exported.parent / "service.log", "w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", "serve", "-m",
             f"models:/digits-{NAMES[1]}@champion", "--env-manager", "local", "--host",
             "127.0.0.1", "--port", str(port), "--workers", "1"],
            stdout=log, stderr=log, env=environment, start_new_session=True,
            cwd=exported.parent,
        )  # fmt: skip
        try:
            address = f"http://127.0.0.1:{port}"
            until = time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"{address}/ping", timeout=2).close()
                    break
                except OSError:
                    log.seek(0)
                    assert process.poll() is None and time.monotonic() < until, log.read()
                    time.sleep(0.2)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ask(address: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["predictions"]


def test_the_registered_model_is_served(small_study: Path, exported: Path, service: str) -> None:
    model, images = checkpoint_model(small_study, exported)
    with torch.inference_mode():
        logits = model(images[:3])
    body = {"instances": images[:3].tolist()}
    assert np.allclose(ask(service, body), logits.softmax(dim=1).numpy(), atol=1e-5)
    asked = ask(service, {**body, "params": {"output": "logits"}})
    assert np.allclose(asked, logits.numpy(), atol=1e-4)


def test_the_card_marks_smoke_runs_and_what_was_selected_on_test(
    small_study: Path, tmp_path: Path
) -> None:
    from ltat_tune.engine.study import StudyRun
    from ltat_tune.export.card import model_card
    from ltat_tune.export.winners import export_study

    study = StudyRun.open(small_study, check_machine=False)
    winner = export_study(study.folder, study.space, tmp_path)[0]
    assert "> **" not in model_card(winner)
    marked = replace(
        winner,
        results=winner.results.model_copy(update={"smoke": True}),
        recorded={**winner.recorded, "selected_on_test": True},
    )
    card = model_card(marked)
    assert "> **Smoke run.** The study only showed that its space file runs" in card
    assert "> **selected_on_test.** Epochs and configurations were chosen on the test" in card
    assert "must not be ranked beside honest ones" in card
