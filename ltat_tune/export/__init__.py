"""What leaves a study: weights, ONNX files, MLflow models, and a card that goes with each."""

from __future__ import annotations

from ltat_tune.export.weights import load_model

__all__ = ["load_model"]
