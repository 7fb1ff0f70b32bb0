"""A process that has a pretended GPU: `guard.cpp` is compiled, and loaded before torch.

Nothing here imports torch, because a process that imported it before keeps its own view of CUDA.
"""

from __future__ import annotations

import ctypes
import importlib.util
import multiprocessing
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
_NAME = "guard.so"

P = ParamSpec("P")
T = TypeVar("T")


def torch_folder() -> Path:
    """The folder of the installed torch."""
    found = importlib.util.find_spec("torch")
    assert found is not None and found.submodule_search_locations
    return Path(found.submodule_search_locations[0])


def compile_guard(folder: Path) -> None:
    """Compile the guard into a folder; takes a few seconds."""
    assert COMPILER is not None
    torch = torch_folder()
    command = [
        COMPILER, "-O1", "-w", "-std=c++20", "-shared", "-fPIC", f"-I{torch / 'include'}",
        str(Path(__file__).with_name("guard.cpp")), "-o", str(folder / _NAME),
        f"-L{torch / 'lib'}", f"-Wl,-rpath,{torch / 'lib'}", "-lc10", "-ltorch_cpu",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def _begin(folder: str) -> None:
    """Prepare the process: the guard first, then torch with one thread and warnings as errors."""
    ctypes.CDLL(str(Path(folder) / _NAME), mode=ctypes.RTLD_GLOBAL)
    import warnings

    import torch

    warnings.simplefilter("error")
    torch.set_num_threads(1)


class Machine:
    """Runs functions of a module in a process that has a pretended GPU, one after another."""

    def __init__(self, folder: Path) -> None:
        self._pool = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(str(folder),)
        )

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns there; what it raises is raised here, with its traceback."""
        return self._pool.submit(function, *args, **kwargs).result()

    def end(self) -> None:
        """End the process."""
        self._pool.shutdown()
