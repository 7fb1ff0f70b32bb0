"""CUDA graphs of the pretended device: what is recorded is not done until it is replayed.

A recording keeps the operations with the very memory that they read and write. Until the first
replay, new tensors hold NaN, and tensors from outside hold what they held before. A replay
does the operations again. It raises if memory from outside was freed in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from tests.cuda.device import Pretended

_RUNNING = slice(3, 5)  # running mean and variance among the arguments of batch norm


def _gpu() -> Pretended:
    from tests.cuda.device import Pretended

    return Pretended.active()


class Tape:
    """The operations of one recording."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.spoiled = False
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self._new: dict[int, Tensor] = {}  # by place in memory
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # bytes from outside, and their copy

    def take(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Do an operation for its shapes, and note it."""
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        for changed in self._changed(func, args, kwargs):
            self._remember(changed)
        result = func(*args, **kwargs)
        places = {_place(t) for t in given if t.numel()}
        made = [t for t in tree_leaves(result) if isinstance(t, Tensor)]
        fresh = [t for t in made if t.numel() and _place(t) not in places]
        self._new |= {_place(t): t for t in fresh}
        self.operations.append((func, args, kwargs, result if fresh else None))
        return result

    def _changed(self, func: Any, args: Any, kwargs: dict[str, Any]) -> list[Tensor]:
        """The tensors that an operation writes to."""
        schema = func._schema.arguments
        by_name = {argument.name: value for argument, value in zip(schema, args, strict=False)}
        by_name |= kwargs
        written: list[Any] = [
            by_name.get(a.name)
            for a in schema
            if a.alias_info is not None and a.alias_info.is_write
        ]
        name = func.overloadpacket.__name__
        if "batch_norm" in name and "backward" not in name:
            written += list(args[_RUNNING])  # the schema keeps it secret
        return [t for t in tree_leaves(written) if isinstance(t, Tensor)]

    def _remember(self, tensor: Tensor) -> None:
        place = _place(tensor)
        if place not in self._new and place not in self._before:
            whole = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
            self._before[place] = (whole, whole.clone())

    def undo(self) -> None:
        """Leave memory as a recording does: old numbers outside, garbage in what is new."""
        for whole, before in self._before.values():
            whole.copy_(before)
        for tensor in self._new.values():
            if tensor.is_floating_point():
                torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage()).fill_(torch.nan)

    def play(self) -> None:
        """Do everything again, in place."""
        for func, args, kwargs, result in self.operations:
            again = func(*args, **kwargs)
            if result is None:
                continue
            for place, value in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(place, Tensor) and place.numel() and _place(place) != _place(value):
                    place.copy_(value)


class Graph:
    """Stands for torch.cuda.CUDAGraph."""

    def __init__(self, keep_graph: bool = False) -> None:
        self.tape: Tape | None = None
        self._pool = (0, id(self))
        _gpu().graphs.add(self)

    def pool(self) -> tuple[int, int]:
        """The name of its memory."""
        return self._pool

    def replay(self) -> None:
        """Do what was recorded."""
        assert self.tape is not None, "nothing was recorded"
        _gpu().replays += 1
        self.tape.play()

    def reset(self) -> None:
        """Free the recording."""
        self.tape = None


class Recording:
    """Stands for torch.cuda.graph: it records on its stream's device.

    Without a stream it takes one that torch makes once, on the device that is current then.
    """

    def __init__(self, graph: Graph, pool: Any = None, stream: Any = None, **mode: str) -> None:
        gpu = _gpu()
        if stream is None:
            gpu.default_capture = gpu.default_capture or torch.device("cuda", gpu.current)
        self._graph, self._stream = graph, stream
        self._device = gpu.default_capture if stream is None else stream.device

    def __enter__(self) -> Self:
        gpu = _gpu()
        assert gpu.tape is None and self._device is not None
        gpu.tape = self._graph.tape = Tape(self._device)
        self._current, gpu.current = gpu.current, self._device.index
        gpu.recordings[self._device.index] += 1
        return self

    def __exit__(self, *error: object) -> None:
        gpu, tape = _gpu(), self._graph.tape
        assert tape is not None
        gpu.tape, gpu.current = None, self._current
        tape.undo()
        if tape.spoiled:
            self._graph.tape = None
            gpu.broken, gpu.side = True, self._stream  # torch leaves its stream current
            raise RuntimeError(
                "CUDA error: operation failed due to a previous error during capture"
            )


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
