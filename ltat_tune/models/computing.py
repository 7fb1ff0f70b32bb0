"""In what a network computes: float32, or bfloat16 between float32 images and float32 logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ltat_tune.models.classifier import Classifier


def chosen_precision(wanted: str, device: torch.device, *, auto: str | None = None) -> str:
    """`fp32` or `bf16` as wanted. `auto` is what it is said to be, else bf16 on a GPU whose
    hardware has it, else fp32."""
    if wanted != "auto":
        return wanted
    if auto is not None:
        return auto
    has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if has_it else "fp32"


def prepare_model(model: nn.Module, precision: str, device: torch.device) -> None:
    """Lets the backbone compute in `precision`, in the memory layout that is fastest for it.

    Weights stay in float32. On a CPU float32 keeps torch's own layout: another one is hardly
    faster and rounds otherwise.
    """
    for classifier in _classifiers(model):
        classifier.compute_dtype = torch.bfloat16 if precision == "bf16" else None
    if precision == "bf16" or device.type == "cuda":
        # mypy knows no overload of `to` with a memory format alone
        nn.Module.to(model, memory_format=torch.channels_last)  # type: ignore[call-overload]


@contextmanager
def exactly(model: nn.Module) -> Iterator[None]:
    """Inside, the model computes in float32, whatever it trains in."""
    found = [(classifier, classifier.compute_dtype) for classifier in _classifiers(model)]
    try:
        for classifier, _ in found:
            classifier.compute_dtype = None
        yield
    finally:
        for classifier, dtype in found:
            classifier.compute_dtype = dtype


def _classifiers(model: nn.Module) -> list[Classifier]:
    return [module for module in model.modules() if isinstance(module, Classifier)]
