"""Tries networks of torchvision and timm: build, one step of each method, export and reload.

    python scripts/networks_tried.py tried.jsonl                # continues a file that is there
    python scripts/networks_tried.py tried.jsonl --table        # prints it as Markdown

Every classifier of torchvision is built at the smallest of `SIDES` that it takes. One network of
each family takes one step of every method, and is written as safetensors, as the files of an
MLflow model and as ONNX, and read again. A refusal is the sentence that a user sees.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ltat_tune.config.config_file import dump_config
from ltat_tune.config.sections import ModelConfig
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.torchvision_door import import_torchvision
from ltat_tune.errors import ConfigError, LtatError
from ltat_tune.export.onnx_file import onnx_runner, save_onnx
from ltat_tune.export.pyfunc import _load_pyfunc
from ltat_tune.methods import METHODS, build_method, needs_projection
from ltat_tune.models import build_model, measured
from ltat_tune.training.weights_file import CONFIG, WEIGHTS, load_model, save_weights

SIDES = (32, 64, 96, 128, 224)
CLASSES = ("a", "b", "c")
COUNTS = torch.tensor([6, 3, 1])
TOLERANCE = 1e-4  # of ONNX, relative to the largest logit, as `ltat-tune export` has it
# the smallest network of each family, by the name of its module
TORCHVISION = {
    "alexnet": "alexnet", "convnext": "convnext_tiny", "densenet": "densenet121",
    "efficientnet": "efficientnet_b0", "googlenet": "googlenet", "inception": "inception_v3",
    "maxvit": "maxvit_t", "mnasnet": "mnasnet0_5", "mobilenetv2": "mobilenet_v2",
    "mobilenetv3": "mobilenet_v3_small", "regnet": "regnet_y_400mf", "resnet": "resnet18",
    "shufflenetv2": "shufflenet_v2_x0_5", "squeezenet": "squeezenet1_1",
    "swin_transformer": "swin_t", "vgg": "vgg11_bn", "vision_transformer": "vit_b_32",
}  # fmt: skip
TIMM = (
    "test_byobnet", "test_convnext", "test_efficientnet", "test_efficientnet_ln", "test_maxvit",
    "test_mambaout", "test_nfnet", "test_resnet", "test_vit", "lcnet_035", "tinynet_e",
    "ghostnet_050", "mobilenetv3_small_050", "mnasnet_small", "mobilevit_xxs", "regnetx_002",
    "efficientvit_b0", "starnet_s1", "repghostnet_050", "edgenext_xx_small", "dla46_c",
    "inception_next_atto", "mobilenetv4_conv_small_035", "convmixer_768_32",
    "deit_tiny_patch16_224", "xcit_nano_12_p16_224", "mixer_s32_224", "levit_128s",
    "coat_lite_tiny",
    "pvt_v2_b0", "fastvit_t8", "pit_ti_224", "visformer_tiny", "ese_vovnet19b_slim_dw",
    "repvit_m0_9",
    "rexnet_100", "hardcorenas_a", "hgnetv2_b0", "eva02_tiny_patch14_224", "crossvit_tiny_240",
    "poolformer_s12", "efficientformer_l1", "skresnet18", "resnest14d", "nest_tiny",
    "swin_tiny_patch4_window7_224", "davit_tiny", "focalnet_tiny_srf", "cait_xxs24_224",
)  # fmt: skip


def tried(name: str, *, whole: bool, onnx: bool = True) -> dict[str, Any]:
    """Return what works of a network, and the sentence about what is refused.

    Args:
        name: `model.name`.
        whole: whether to take steps and to export, besides building.
        onnx: whether ONNX is among the exports; its exporter takes longer than all else.
    """
    began = time.perf_counter()
    row: dict[str, Any] = {"name": name, "whole": whole}
    for side in SIDES:
        try:
            network = _network(TrialConfig.from_flat({"model.name": name}), side)
        except LtatError as error:
            row.setdefault("refused", str(error))
            if "last linear layer" in str(error) or "end in one linear" in str(error):
                break  # no size helps
            continue
        row |= {"side": side, "parameters": sum(p.numel() for p in network.parameters())}
        if side == SIDES[0]:
            row.pop("refused", None)
        break
    if whole and "side" in row:
        row |= {"steps": {method: _step(name, method, row["side"]) for method in METHODS}}
        row |= _exports(name, row["side"], onnx)
    return row | {"seconds": round(time.perf_counter() - began, 1)}


def _network(config: TrialConfig, side: int) -> nn.Module:
    """Return the network of a configuration, without gradients; methods share one of a shape."""
    network = _built(config.model, needs_projection(config), side)
    network.zero_grad(set_to_none=True)
    return network


@lru_cache(maxsize=3)
def _built(config: ModelConfig, projection: bool, side: int) -> nn.Module:
    return build_model(
        config, in_channels=3, num_classes=len(CLASSES), side=side, projection=projection, seed=0
    )


def _step(name: str, method: str, side: int) -> str:
    """Return `works`, or why one step of a method does not."""
    try:
        config = TrialConfig.from_flat(
            {"model.name": name, "method.name": method, "attack.steps": 1}
        )
        network = _network(config, side).train()
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(4, 3, side, side, generator=generator)
        step = build_method(config, COUNTS).training_step(
            network, images, torch.tensor([0, 0, 1, 2]), class_weights=None, generator=generator
        )
        step.loss.backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        moved = sum(float(gradient.abs().sum()) for gradient in gradients)
        is_finite = bool(torch.isfinite(step.loss)) and 0 < moved < float("inf")
        return "works" if is_finite else f"loss {float(step.loss):g}, gradient {moved:g}"
    except Exception as error:  # whatever a network raises is a finding
        return f"{type(error).__name__}: {error}"[:300]


def _exports(name: str, side: int, onnx: bool) -> dict[str, str]:
    config = TrialConfig.from_flat({"model.name": name})
    network = _network(config, side)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        network(torch.rand(4, 3, side, side, generator=generator))  # BatchNorm's averages move
    model = measured(network.eval(), scale=1.0, shift=None)
    images = torch.rand(3, 3, side, side, generator=generator)
    with torch.inference_mode():
        logits = model(images)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def reloaded() -> torch.Tensor:
            save_weights(
                place / WEIGHTS, model, identity=config.identity, subset_hash="none", epoch=1,
                classes=CLASSES, image_shape=(3, side, side), about={},
            )  # fmt: skip
            dump_config(place / CONFIG, config, comment="")
            with torch.inference_mode():
                return load_model(place / WEIGHTS)(images)

        def served() -> torch.Tensor:
            answer = _load_pyfunc(folder).predict(images.numpy(), {"output": "logits"})
            return torch.from_numpy(answer)

        def ran() -> torch.Tensor:
            save_onnx(place / "model.onnx", model, (3, side, side))
            return onnx_runner(place / "model.onnx")(images)

        return {
            "safetensors": _compared(reloaded, logits), "mlflow": _compared(served, logits),
            "onnx": _compared(ran, logits, TOLERANCE) if onnx else "not tried",
        }  # fmt: skip


def _compared(make: Callable[[], torch.Tensor], logits: torch.Tensor, tolerance: float = 0) -> str:
    """Return `equal`, the largest difference within the tolerance, or why there is no answer."""
    try:
        difference = float((make() - logits).abs().max())
    except Exception as error:  # whatever an exporter raises is a finding
        return f"{type(error).__name__}: {error}"[:300]
    if difference == 0:
        return "equal"
    is_near = difference <= tolerance * max(1.0, float(logits.abs().max()))
    return f"{difference:.1e}" if is_near else f"differs by {difference:.1e}"


def wanted() -> Iterator[tuple[str, bool]]:
    """Yield each network, and whether it is tried as a whole; those that are come first."""
    models = import_torchvision("models")
    for name in TIMM:
        yield f"timm/{name}", True
    for name in TORCHVISION.values():
        yield f"torchvision/{name}", True
    for name in models.list_models(module=models):
        if name not in TORCHVISION.values():
            yield f"torchvision/{name}", False


def table(rows: list[dict[str, Any]]) -> str:
    """Return the networks that were tried as a whole as Markdown, and the refusals below."""
    lines = [
        "| network | million weights | smallest side | a step of each method | safetensors, "
        "MLflow | ONNX: largest difference |",
        "|---|---:|---:|---|---|---|",
    ]
    refusals: dict[str, str] = {}
    for row in rows:
        if "side" not in row:
            refusals[row["name"]] = row["refused"]
            continue
        if not row["whole"]:
            continue
        wrong = {m: text for m, text in row["steps"].items() if text != "works"}
        refusals |= {f"{row['name']}, {method}": text for method, text in wrong.items()}
        forms = [row["safetensors"], row["mlflow"]]
        refusals |= {f"{row['name']}, {form}": row[form] for form in ("safetensors", "onnx")
                     if len(row[form]) > 10}  # fmt: skip
        steps = "works" if not wrong else f"not {', '.join(wrong)}"
        exact = "equal" if forms == ["equal", "equal"] else "differ"
        onnx = row["onnx"] if len(row["onnx"]) <= 10 else "refused"
        millions = f"{row['parameters'] / 1e6:.1f}"
        lines.append(
            f"| {row['name']} | {millions} | {row['side']} | {steps} | {exact} | {onnx} |"
        )
    built = [row for row in rows if not row["whole"] and "side" in row]
    sides = {side: sum(row["side"] == side for row in built) for side in SIDES}
    counts = ", ".join(f"{count} at {side}" for side, count in sides.items() if count)
    lines += ["", f"Built only: {len(built)} more of torchvision ({counts}).", ""]
    return "\n".join(lines + [f"- `{name}`: {text}" for name, text in refusals.items()])


def main() -> None:
    """Try what the file does not have yet, or print the file as a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help="JSON lines, one a network")
    parser.add_argument("--table", action="store_true", help="print the file as Markdown")
    parser.add_argument("--only", nargs="*", help="networks to try, such as timm/test_vit")
    arguments = parser.parse_args()
    lines = arguments.file.read_text().splitlines() if arguments.file.exists() else []
    rows = [json.loads(line) for line in lines]
    if arguments.table:
        print(table(rows))
        return
    torch.set_num_threads(1)
    done = {row["name"] for row in rows}
    names = [(name, True) for name in arguments.only] if arguments.only else wanted()
    for name, whole in names:
        if name in done:
            continue
        try:
            row = tried(name, whole=whole)
        except ConfigError as error:
            row = {"name": name, "whole": whole, "refused": str(error)}
        _built.cache_clear()
        print(name, row.get("side"), row["seconds"] if "seconds" in row else "", flush=True)
        with arguments.file.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
