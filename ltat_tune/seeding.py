"""Randomness as private generators: one named stream for each use, all from one seed."""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, stream: str) -> int:
    """A 63-bit seed for one named stream; streams of one seed are unrelated."""
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def new_generator(seed: int, stream: str) -> torch.Generator:
    """A CPU generator for one named stream: draws do not depend on the device."""
    return torch.Generator().manual_seed(stream_seed(seed, stream))


def prepare_process(threads: int) -> None:
    """Sets the CPU threads of this process. The only function here that touches global state.

    The count is part of a result's conditions: another one may change the last digits.
    """
    torch.set_num_threads(threads)
