"""Weights and ONNX files of every network: what goes in comes out again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch

from ltat_tune.config.config_file import dump_config
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import CheckpointError, DataError, StudyError
from ltat_tune.export.onnx_file import save_onnx
from ltat_tune.export.pyfunc import Predictor, _load_pyfunc
from ltat_tune.export.verify import Sample, compare_predictions
from ltat_tune.models import MODELS, build_model, measured
from ltat_tune.training.weights_file import CONFIG, WEIGHTS, load_model, save_weights
from tests.damage import flipped
from tests.drive import SLOW

CLASSES = ("a", "b", "c")
QUICK = ("small_cnn", "wrn28_10")  # the other residual ones take as long and differ little
NAMES = [name if name in QUICK else pytest.param(name, marks=SLOW) for name in MODELS]


def built(name: str, **other: object) -> tuple[TrialConfig, torch.nn.Module]:
    """A small network that uses everything: cosine head, normalisation, scale and log-prior."""
    config = TrialConfig.from_flat({
        "model.name": name, "model.width": 16 if name.startswith("wrn") else 4,
        "model.head": "cosine", "model.inference_scale": 10.0, "model.posthoc_tau": 0.5, **other,
    })  # fmt: skip
    network = build_model(
        config.model, in_channels=3, num_classes=3, mean=torch.full((3,), 0.4),
        std=torch.full((3,), 0.25), seed=3,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    network.train()(torch.rand(8, 3, 32, 32, generator=generator))  # BatchNorm's averages move
    shift = torch.tensor([-0.1, -1.0, -2.0])
    return config, measured(network.eval(), scale=10.0, shift=shift)


@pytest.mark.parametrize("name", list(MODELS))
def test_exported_weights_make_the_same_model(name: str, tmp_path: Path) -> None:
    config, model = built(name)
    save_weights(
        tmp_path / WEIGHTS, model, identity=config.identity, subset_hash="s",
        epoch=1, classes=CLASSES, image_shape=(3, 32, 32), about={"study": "none"},
    )  # fmt: skip
    dump_config(tmp_path / CONFIG, config, comment="none")
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        logits = model(images)
        assert torch.equal(load_model(tmp_path / WEIGHTS)(images), logits)
        inner = cast(torch.nn.Module, model.model)
        assert not torch.equal(logits, inner(images))  # the scale and the prior are in them
    served = _load_pyfunc(str(tmp_path))
    asked = torch.from_numpy(served.predict(images.numpy(), {"output": "logits"}))
    assert torch.equal(asked, logits)
    found = torch.from_numpy(served.predict(images.double().numpy()))
    assert torch.allclose(found, logits.softmax(dim=1))


@pytest.mark.parametrize("name", NAMES)
def test_every_network_becomes_onnx_with_its_normalisation_scale_and_prior(
    name: str, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    from ltat_tune.export.onnx_file import onnx_runner, save_onnx

    _, model = built(name)
    save_onnx(tmp_path / "model.onnx", model, (3, 32, 32))
    run = onnx_runner(tmp_path / "model.onnx")
    for count in (1, 5):
        images = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(count))
        with torch.inference_mode():
            logits = model(images)
        assert torch.allclose(run(images), logits, atol=1e-4 * float(logits.abs().max()))


def test_a_service_refuses_what_is_no_image_in_the_unit_range() -> None:
    served = Predictor(torch.nn.Flatten())
    with pytest.raises(DataError, match=r"must lie in \[0, 1\], got 0 to 255; divide bytes"):
        served.predict([[0.0, 255.0]])
    with pytest.raises(DataError, match="probabilities, logits, got 'classes'"):
        served.predict([[0.0]], {"output": "classes"})


def test_a_form_that_answers_otherwise_is_refused() -> None:
    images = torch.zeros(4, 1)
    logits = torch.tensor([[0.0, 2.0]]).repeat(4, 1)
    sample = Sample(images, images, logits, logits, "pgd3")
    exact = compare_predictions(sample, lambda part: logits[: len(part)], what="it", tolerance=0)
    assert str(exact).startswith(
        "equal to the last bit; 8 of 8 predictions the same (4 validation"
    )
    near = compare_predictions(
        sample, lambda part: logits[: len(part)] + 1e-5, what="it", tolerance=1e-4
    )
    assert near.clean == pytest.approx(1e-5, rel=0.05)
    for wrong in (logits + 1e-3, logits * float("nan"), logits.flip(1)):
        with pytest.raises(StudyError, match="it must answer as its checkpoint does, to within"):
            compare_predictions(sample, _always(wrong), what="it", tolerance=1e-4)


def _always(logits: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda images: logits


def test_without_the_extra_onnx_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    from ltat_tune.export.write import ExportForms

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    ExportForms(checkpoint=True).check()
    with pytest.raises(StudyError, match=r"pip install 'ltat-tune\[onnx\]' .*onnxruntime"):
        ExportForms(onnx=True).check()


class _Branches(torch.nn.Module):
    """A network whose way depends on the images, which no file can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3 * 8 * 8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(images.flatten(1))
        return logits if float(images.sum()) > 0 else -logits


def test_a_network_that_the_exporter_refuses_is_refused_with_the_reason(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    with pytest.raises(StudyError) as caught:
        save_onnx(tmp_path / "odd.onnx", _Branches().eval(), (3, 8, 8))
    assert "odd.onnx cannot be written: torch's exporter refuses this network (" in str(
        caught.value
    )
    assert str(caught.value).endswith("leave out --onnx, and use --checkpoint or --register")
    assert list(tmp_path.iterdir()) == []


def test_an_onnx_file_carries_a_digest_that_finds_every_change(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from ltat_tune.export.onnx_file import onnx_runner, read_about, write_about

    weight = torch.rand(3, 3).numpy()
    node = onnx.helper.make_node("MatMul", ["images", "weight"], ["logits"])
    ends = [onnx.helper.make_tensor_value_info(name, 1, [1, 3]) for name in ("images", "logits")]
    graph = onnx.helper.make_graph(
        [node], "model", [ends[0]], [ends[1]], [onnx.numpy_helper.from_array(weight, "weight")]
    )
    path = tmp_path / "model.onnx"
    onnx.save_model(onnx.helper.make_model(graph), str(path))
    assert read_about(path) == {}  # as earlier versions wrote it
    write_about(path, {"weights": "abcd", "classes": "a, b"})
    assert read_about(path) == {"weights": "abcd", "classes": "a, b"}
    assert torch.allclose(onnx_runner(path)(torch.ones(1, 3)), torch.tensor(weight.sum(axis=0)))
    whole = path.read_bytes()
    places = [whole.index(weight.tobytes()) + 3, whole.index(b"abcd")]
    for changed in (*(flipped(whole, place) for place in places), whole[:-40], b"text"):
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match="export it again"):
            read_about(path)
        with pytest.raises(CheckpointError, match="export it again"):
            onnx_runner(path)
