"""`compute.*`: the precision and the speed of the network's arithmetic."""

from __future__ import annotations

from typing import Literal

from ltat_tune.config.fields import Section, documented


class ComputeConfig(Section):
    """The arithmetic of a training. It does not belong to the method, so it cannot be tuned.

    `auto` depends on the device, so it is not part of a configuration's identity. Results and
    exports record the precision that was used.
    """

    precision: Literal["auto", "fp32", "bf16"] = documented(
        "auto",
        "precision of the network during training: fp32 is float32; bf16 is bfloat16, with"
        " weights, logits, losses and images in float32; auto is bf16 on a GPU that supports it"
        " and fp32 elsewhere. Predictions that are counted and all test attacks use float32",
        also=("amp", "dtype", "mixed_precision"),
    )
    graphs: Literal["auto", "off"] = documented(
        "auto",
        "CUDA graphs on a GPU: auto records the attacks of training and validation once and"
        " replays them; off launches their kernels one by one. A CPU has no graphs",
        also=("compile", "cuda_graphs"),
    )
    float32: Literal["exact", "tf32"] = documented(
        "exact",
        "products of float32 numbers on a GPU: exact keeps their 24 bits; tf32 rounds the factors"
        " to 11 bits, which is faster on Ampere and later. Tests compute in it too. A CPU has no"
        " TF32",
        also=("tf32", "allow_tf32", "float32_matmul_precision"),
    )
    deterministic: Literal["auto", "off"] = documented(
        "auto",
        "order of sums on a GPU: auto chooses kernels that give the same digits each time; off"
        " lets cuDNN choose the fastest. A CPU gives the same digits anyway",
        also=("cudnn_deterministic", "cudnn_benchmark"),
    )
