"""Private random generators, one named stream for each use, and what is global in a process."""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # glibc's malloc.h
_KEPT = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
# glibc's own number, and the largest thresholds that it adapts to
_RETURNED = {_MMAP_MAX: 65_536, _MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 64 * 2**20}


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
    _keep_freed_memory()
    torch.set_num_threads(threads)


def _keep_freed_memory() -> None:
    """Make the C library keep freed blocks of any size for the next tensors.

    glibc returns a freed block of 32 MiB or more to the system, and every page of the next one is
    cleared anew: a fifth of a ResNet-18's step at batch 128 on a CPU. Digits do not change. What
    was used at most stays with the process until `return_freed_memory` or its end. Nothing happens
    where the C library has no such setting.
    """
    _set_malloc(_KEPT)


def return_freed_memory() -> None:
    """Return freed memory to the system, now and from now on, after `prepare_process`."""
    library = _set_malloc(_RETURNED)
    if library is not None:
        library.malloc_trim(0)


def _set_malloc(settings: Mapping[int, int]) -> ctypes.CDLL | None:
    """Return the C library with these settings; None if it has no such settings."""
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if library is None or not hasattr(library, "mallopt"):
        return None
    for name, value in settings.items():
        library.mallopt(name, value)
    return library
