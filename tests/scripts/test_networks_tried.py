"""Some networks of torchvision and timm: a step of each method, and the same after an export."""

from __future__ import annotations

import pytest

from ltat_tune.data.torchvision_door import import_torchvision
from scripts.networks_tried import TIMM, TORCHVISION, table, tried


@pytest.mark.parametrize(
    "name",
    ["torchvision/shufflenet_v2_x0_5", "timm/test_convnext", "timm/test_vit", "timm/test_resnet"],
)
def test_a_network_takes_a_step_of_each_method_and_is_the_same_after_export(name: str) -> None:
    import_torchvision()  # which timm imports
    if name.startswith("timm/"):
        pytest.importorskip("timm", reason="the extra timm is not installed")
    row = tried(name, whole=True, onnx=name == "timm/test_vit")
    assert row["side"] == 32
    assert set(row["steps"].values()) == {"works"}, row["steps"]
    assert (row["safetensors"], row["mlflow"]) == ("equal", "equal")
    if name == "timm/test_vit":
        assert row["onnx"] == "equal" or float(row["onnx"]) < 1e-4  # a refusal is no number


def test_a_refusal_is_the_sentence_that_a_user_sees() -> None:
    row = tried("torchvision/squeezenet1_1", whole=False)
    assert "does not end in one linear layer, so its features are unknown" in row["refused"]
    assert "side" not in row
    assert row["refused"] in table([row])


def test_every_family_is_tried_once() -> None:
    assert len(TIMM) >= 20 and len(set(TIMM)) == len(TIMM)
    models = import_torchvision("models")
    own = {models.get_model_builder(name).__module__.rpartition(".")[2]
           for name in models.list_models(module=models)}  # fmt: skip
    assert set(TORCHVISION) == own
