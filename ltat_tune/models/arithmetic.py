"""The device that computes, and what a GPU may do to float32 products and to the order of sums."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from ltat_tune.config.sections import ComputeConfig
from ltat_tune.errors import ConfigError

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # cuBLAS repeats its sums only with a workspace of its own


@contextmanager
def computing_on(device: torch.device, compute: ComputeConfig) -> Iterator[None]:
    """Make a GPU current, and its arithmetic that of `compute`, inside the context.

    torch's own default multiplies float32 convolutions in TF32 and lets cuDNN choose kernels whose
    sums have no fixed order. The settings are global, so the previous ones are restored. A CPU has
    no such settings, and nothing is changed for it.
    """
    if device.type != "cuda":
        yield
        return
    with ExitStack() as restored:
        restored.enter_context(torch.cuda.device(device))
        _multiply(compute.float32, restored)
        if compute.deterministic == "auto":
            _repeat_sums(restored)
        yield


def _multiply(float32: str, restored: ExitStack) -> None:
    """Choose how float32 is multiplied, until the stack is unwound.

    torch has older switches for the same. It raises where somebody reads one that disagrees, as
    `torch.compile` and `torch.backends.cudnn.flags` do, so they are set first.
    """
    backends: Any = torch.backends  # whose types name no precision
    parts = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)
    before = [part.fp32_precision for part in parts]

    def restore(allowed: bool | None, precision: str | None) -> None:
        _set_old_switches(allowed, precision)
        for part, value in zip(parts, before, strict=True):
            part.fp32_precision = value

    restored.callback(
        restore, _read(lambda: backends.cudnn.allow_tf32),
        _read(torch.get_float32_matmul_precision),
    )  # fmt: skip
    fast = float32 == "tf32"
    _set_old_switches(fast, "high" if fast else "highest")
    for part in parts:
        part.fp32_precision = "tf32" if fast else "ieee"


def _read(switch: Callable[[], Any]) -> Any:
    """Return an old switch of torch's; None if it disagrees with a newer one."""
    try:
        return switch()
    except RuntimeError:
        return None


def _set_old_switches(allowed: bool | None, precision: str | None) -> None:
    cudnn: Any = torch.backends.cudnn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions of torch advise against them
        if allowed is not None:
            cudnn.allow_tf32 = allowed
        if precision is not None:
            torch.set_float32_matmul_precision(precision)


def _repeat_sums(restored: ExitStack) -> None:
    """Choose kernels that give the same digits each time, until the stack is unwound.

    An operation that has no such kernel warns, and goes on. None of a training is one.
    """
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    cudnn: Any = torch.backends.cudnn
    fill: Any = torch.utils.deterministic
    restored.callback(
        torch.use_deterministic_algorithms,
        torch.are_deterministic_algorithms_enabled(),
        warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    restored.callback(setattr, cudnn, "benchmark", cudnn.benchmark)
    restored.callback(setattr, fill, "fill_uninitialized_memory", fill.fill_uninitialized_memory)
    torch.use_deterministic_algorithms(True, warn_only=True)
    cudnn.benchmark = False
    fill.fill_uninitialized_memory = False  # costs a pass over all new memory, and finds nothing


def described(device: torch.device, precision: str, compute: ComputeConfig) -> str:
    """Return how numbers were computed, such as `NVIDIA H200, bf16, no TF32, deterministic`."""
    if device.type != "cuda":
        return f"{device.type}, {precision}"
    products = "TF32" if compute.float32 == "tf32" else "no TF32"
    sums = "deterministic" if compute.deterministic == "auto" else "not deterministic"
    return f"{torch.cuda.get_device_name(device)}, {precision}, {products}, {sums}"


def chosen_device(wanted: str) -> torch.device:
    """Return a device of this machine; `auto` is the first GPU, and the CPU where there is none.

    Raises:
        ConfigError: this machine or this build of torch does not have it, or its kind lacks
            float64.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpus = torch.cuda.device_count()
    here = ["cpu", *(f"cuda:{index}" for index in range(gpus))]
    kind = wanted.partition(":")[0]
    if wanted in here or (wanted == "cuda" and gpus):
        return torch.device(wanted)
    if kind in ("mps", "xpu"):
        raise ConfigError(
            f"--device must be a CPU or a CUDA GPU, got {wanted}: noise, losses and statistics "
            "need float64, which Apple's mps lacks and which was not tested on xpu; use cpu"
        )
    raise ConfigError(f"--device must be one of auto, {', '.join(here)} here, got {wanted}")
