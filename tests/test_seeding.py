"""Streams of random numbers: named, unrelated, the same everywhere."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from ltat_tune.seeding import new_generator, prepare_process, stream_seed


def test_a_stream_is_the_same_in_every_process_and_version() -> None:
    """`printf 0/weights | sha256sum` begins 03b4290604c66d74; 63 bits of it are the seed."""
    assert stream_seed(0, "weights") == 0x03B4290604C66D74 >> 1
    assert stream_seed(7, "pgd20") == 0x49AB66FB5F2ABC59 >> 1


def test_seeds_and_streams_all_differ() -> None:
    seeds = {
        stream_seed(seed, stream)
        for seed in range(100)
        for stream in ("weights", "batches", "attack")
    }
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_generator_is_on_the_cpu_and_repeats() -> None:
    a, b, c = (
        torch.rand(5, generator=new_generator(seed, stream))
        for seed, stream in ((0, "attack"), (0, "attack"), (0, "batches"))
    )
    assert new_generator(0, "attack").device.type == "cpu"
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_a_new_generator_moves_no_global_one() -> None:
    before = (torch.get_rng_state(), random.getstate(), str(np.random.get_state()))
    new_generator(0, "attack")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert str(np.random.get_state()) == before[2]


def test_preparing_a_process_sets_its_threads() -> None:
    prepare_process(2)
    assert torch.get_num_threads() == 2
    prepare_process(1)
    assert torch.get_num_threads() == 1


_FAULTS = """
import resource, sys, torch
from ltat_tune.seeding import prepare_process, return_freed_memory
if sys.argv[1] != "plain":
    prepare_process(1)
from torch import nn
network = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 3, 3))
images = torch.rand(128, 3, 40, 40, requires_grad=True)
def step():
    torch.autograd.grad(network(images).sum(), images)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    step()
if sys.argv[1] == "returned":
    return_freed_memory()
before = faults()
for _ in range(3):
    step()
print(faults() - before)
"""


def _faults(how: str) -> int:
    given = [sys.executable, "-c", _FAULTS, how]
    done = subprocess.run(given, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_the_pages_of_freed_maps_are_not_cleared_anew() -> None:
    """Maps of 47 MB are 11,000 pages of 4 KiB; a step has several of them."""
    plain, prepared, returned = (_faults(how) for how in ("plain", "prepared", "returned"))
    assert plain > 30_000
    assert prepared < plain / 10
    assert returned > plain / 10  # not all: some blocks come from its heap now
