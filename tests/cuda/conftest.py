"""The machine with the pretended GPU; skipped where nothing compiles the guard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.cuda.process import COMPILER, Machine, compile_guard
from tests.small_study import made_once


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A process with a pretended GPU, for the tests of one file."""
    if COMPILER is None:
        pytest.skip(
            "no C++ compiler (c++, g++ or clang++) is here to compile tests/cuda/guard.cpp"
        )
    if torch.version.cuda is not None:
        pytest.skip("this build of torch has CUDA itself; the pretended device needs a CPU build")
    made = Machine(made_once(tmp_path_factory, "pretended-gpu", compile_guard))
    yield made
    made.end()
