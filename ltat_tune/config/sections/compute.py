"""`compute.*`: how exactly and how fast the network computes."""

from __future__ import annotations

from typing import Literal

from ltat_tune.config.fields import Section, documented


class ComputeConfig(Section):
    """How the arithmetic of a training is done. It is no choice of the method: not tunable.

    `auto` follows the device, so it is not part of a configuration's identity; results and exports
    record what it came to.
    """

    precision: Literal["auto", "fp32", "bf16"] = documented(
        "auto",
        "what the network computes in while it trains: float32; bfloat16, with weights, logits,"
        " losses and images in float32; or, auto, bfloat16 on a GPU that has it and float32"
        " elsewhere. Predictions that count, and all test attacks, are computed in float32",
        also=("amp", "dtype", "mixed_precision"),
    )
    graphs: Literal["auto", "off"] = documented(
        "auto",
        "on a GPU the training attack is recorded once an epoch as a CUDA graph and replayed, or,"
        " off, its kernels are launched one by one; a CPU has no graphs",
        also=("compile", "cuda_graphs"),
    )
