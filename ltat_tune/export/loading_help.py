"""Write the lines of a card that show how to load each exported form; tests run them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ltat_tune.config.extensions import Part
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.methods import needs_projection
from ltat_tune.models import is_foreign

if TYPE_CHECKING:
    from ltat_tune.export.winner import Winner
    from ltat_tune.tracking.model_registry import Registered


def weights_help(winner: Winner, path: Path, channels: int, side: int) -> str:
    """Return how to load the weights: with this package, and from the tensors alone."""
    config = winner.training.config
    model = config.model
    settings = [f'name="{model.name}"']
    settings += [] if model.width is None else [f"width={model.width}"]
    settings += [f'stem="{model.stem}"'] if model.stem != "conv" else []
    settings += (
        [f'head="cosine", head_scale={model.head_scale!r}, head_gamma={model.head_gamma!r}']
        if model.head == "cosine" else []
    )  # fmt: skip
    settings += [] if model.features is None else [f'features="{model.features}"']
    settings += [f"{path.partition('.')[2]}={config.get(path)!r}"
                 for part in _own_network(config) for path in part.defaults]  # fmt: skip
    shape = f"in_channels={channels}, num_classes={len(winner.confirmed.samples_per_class)}"
    shape += f", side={side}" if is_foreign(model.name) else ""
    projection = ", projection=True" if needs_projection(config) else ""
    shift = ", shift=shift" if model.posthoc_tau > 0 else ""
    adjusted = model.inference_scale != 1 or shift
    last = (
        f"model = measured(network.eval(), scale={model.inference_scale!r}{shift})"
        if adjusted else "model = network.eval()"
    )  # fmt: skip
    names = "build_model, measured" if adjusted else "build_model"
    pop = 'shift = state.pop("shift")  # the log-prior\n' if shift else ""
    return (
        "To load the weights, checked against the configuration beside them:\n\n```python\n"
        "from ltat_tune.export import load_model\n"
        f'model = load_model("{path.name}")  # eval mode; images in [0, 1] -> logits\n```\n\n'
        "To build the same model from the tensors alone:\n\n```python\n"
        "from safetensors.torch import load_file\n"
        "from ltat_tune.config.sections import ModelConfig\n"
        f"from ltat_tune.models import {names}\n"
        f"{_load_plugins(config)}"
        f'state = load_file("{path.name}")\n{pop}'
        f"network = build_model(ModelConfig({', '.join(settings)}), {shape}{projection})\n"
        f"network.load_state_dict(state)\n{last}\n```\n\n"
        f"To attack the model again:\n\n```sh\nltat-tune evaluate {path.name}\n```"
    )


def _own_network(config: TrialConfig) -> list[Part]:
    """Return the plugin's part that is the network; empty if ltat-tune has the network."""
    return [part for part in config.parts if part.chosen_by == "model.name"]


def _load_plugins(config: TrialConfig) -> str:
    """Return the lines that load the network's plugin; empty without one."""
    plugins = [part.plugin for part in _own_network(config) if part.plugin]
    if not plugins:
        return ""
    named = [{"name": plugin.name, "sha256": plugin.sha256} for plugin in plugins]
    return (
        "from pathlib import Path\nfrom ltat_tune.config.plugin_loader import load_plugins\n"
        f"load_plugins({named!r}, beside=Path())  # runs {plugins[0].name}.py\n"
    )


def onnx_help(path: Path) -> str:
    """Return how to load the file in onnxruntime."""
    return (
        "To run the ONNX file without torch:\n\n```python\nimport onnxruntime\n"
        f'session = onnxruntime.InferenceSession("{path.name}")\n'
        '(logits,) = session.run(["logits"], {"images": images})  '
        "# float32 in [0, 1], N x C x H x W\n```"
    )


def registry_help(made: Registered, shape: tuple[int, ...]) -> str:
    """Return how to load the model from the registry, in Python and as a service."""
    size = " x ".join(map(str, shape))
    return (
        "To serve the registered model:\n\n```sh\n"
        f"export MLFLOW_TRACKING_URI={made.uri}\n"
        f'mlflow models serve -m "{made.address}" --env-manager local --port 5001\n'
        f'# then POST {{"instances": [image, ...]}}, each {size} in [0, 1], to /invocations\n'
        "```\n\nTo load it in Python:\n\n```python\nimport mlflow\n"
        f'model = mlflow.pyfunc.load_model("{made.address}")\n'
        "model.predict(images)                        # class probabilities\n"
        'model.predict(images, {"output": "logits"})\n```'
    )
