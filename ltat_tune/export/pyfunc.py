"""Load an exported model for MLflow: `mlflow.pyfunc` calls `_load_pyfunc` of this module.

It imports neither MLflow nor any module about studies, so a server needs few packages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ltat_tune.errors import DataError
from ltat_tune.training.weights_file import CONFIG, OUTPUTS, WEIGHTS, load_model

_BATCH = 256


class Predictor:
    """A model that maps images (N, C, H, W) in [0, 1] to probabilities or logits (N, K)."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def predict(
        self, images: Any, params: dict[str, Any] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return class probabilities, or logits if `params["output"]` says so, (N, K) float32.

        Raises:
            DataError: a pixel lies outside [0, 1], or `params["output"]` has another value.
        """
        output = (params or {}).get("output", OUTPUTS[0])
        if output not in OUTPUTS:
            raise DataError(f"output must be one of {', '.join(OUTPUTS)}, got {output!r}")
        batch = torch.from_numpy(np.ascontiguousarray(np.asarray(images, dtype=np.float32)))
        if len(batch) and not bool(((batch >= 0) & (batch <= 1)).all()):
            low, high = float(batch.min()), float(batch.max())
            raise DataError(
                f"pixels must lie in [0, 1], got {low:g} to {high:g}; divide bytes by 255 and do "
                "not normalise, the model does that itself"
            )
        with torch.inference_mode():
            logits = torch.cat([self._model(part) for part in batch.split(_BATCH)])
            outputs = logits if output == "logits" else logits.softmax(dim=1)
        return outputs.numpy()


def _load_pyfunc(path: str) -> Predictor:
    return Predictor(load_model(Path(path) / WEIGHTS, config=Path(path) / CONFIG))
