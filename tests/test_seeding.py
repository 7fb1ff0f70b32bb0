"""Streams of random numbers: named, unrelated, the same everywhere."""

from __future__ import annotations

import random

import numpy as np
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
