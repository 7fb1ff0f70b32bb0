"""Private random generators: one named stream for each use, all derived from one seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ltat_tune.memory import keep_freed_memory


def stream_seed(seed: int, stream: str) -> int:
    """Return a 63-bit seed for one named stream. Streams of one seed are independent."""
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def new_generator(seed: int, stream: str) -> torch.Generator:
    """Return a CPU generator for one named stream, so that draws do not depend on the device."""
    return torch.Generator().manual_seed(stream_seed(seed, stream))


@contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators inside the context, for networks that draw from them.

    The state before is restored, so nobody outside is disturbed.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed(seed)
        yield


def prepare_process(threads: int) -> None:
    """Set the number of CPU threads of this process and how it keeps memory; both are global.

    The number is a condition of a result: another number may change the last digits.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
