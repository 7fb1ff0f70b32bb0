"""Precision of a network: float32, or bfloat16 between float32 images and float32 logits."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ltat_tune.models.classifier import Classifier


def chosen_precision(wanted: str, device: torch.device, *, auto: str | None = None) -> str:
    """Return the precision, `fp32` or `bf16`.

    Args:
        wanted: `fp32`, `bf16` or `auto`.
        device: the device that computes.
        auto: the precision that `auto` stands for; None is bf16 on a GPU whose hardware supports
            it, and fp32 elsewhere.
    """
    if wanted != "auto":
        return wanted
    if auto is not None:
        return auto
    if device.type != "cuda":
        return "fp32"
    with torch.cuda.device(device):  # torch asks the device that is current
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def prepare_model(model: nn.Module, precision: str, device: torch.device) -> None:
    """Set the backbone's precision and the memory layout that is fastest for it.

    Weights stay in float32. Their layout is channels_last, which rounds otherwise than torch's
    default. The default stays for a network of another author that cannot compute in it, and for
    float32 on a CPU with images of one channel: on digits no layout is faster.
    """
    for classifier in _classifiers(model):
        classifier.compute_dtype = torch.bfloat16 if precision == "bf16" else None
        grey = classifier.mean.numel() == 1
        keeps = grey and precision == "fp32" and device.type == "cpu"
        last = classifier.any_layout and not keeps
        _lay_out(classifier.backbone, torch.channels_last if last else torch.contiguous_format)


def takes_channels_last(backbone: nn.Module, images: Tensor) -> bool:
    """Return whether a backbone works in channels_last; one that reads maps with `view` does not.

    A copy of it is tried, forward and backward, in train mode and in eval mode.

    Args:
        backbone: images (N, C, H, W) to features (N, D).
        images: some images that it takes.
    """
    try:
        tried = copy.deepcopy(backbone)
        _lay_out(tried, torch.channels_last)
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            for training in (True, False):
                tried.train(training)(images).sum().backward()
    except Exception:  # whatever a network raises about its maps
        return False
    return True


def _lay_out(backbone: nn.Module, layout: torch.memory_format) -> None:
    # mypy knows no overload of `to` with a memory format alone
    nn.Module.to(backbone, memory_format=layout)  # type: ignore[call-overload]


@contextmanager
def exactly(model: nn.Module) -> Iterator[None]:
    """Make the model compute in float32 inside the context, whatever precision it trains in."""
    previous = [(classifier, classifier.compute_dtype) for classifier in _classifiers(model)]
    try:
        for classifier, _ in previous:
            classifier.compute_dtype = None
        yield
    finally:
        for classifier, dtype in previous:
            classifier.compute_dtype = dtype


def _classifiers(model: nn.Module) -> list[Classifier]:
    return [module for module in model.modules() if isinstance(module, Classifier)]
