"""Export of models from a study: weights, ONNX files, MLflow models, and a card for each.

May import `comparison`, `evaluation` and what stands below. The engine and the commands import it.
"""

from __future__ import annotations

from ltat_tune.training.weights_file import load_model

__all__ = ["load_model"]
