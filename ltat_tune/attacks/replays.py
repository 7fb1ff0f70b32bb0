"""Records an attack once and replays it. On a GPU the recording is a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

# (model, images (N, C, H, W), targets (N,), first images (N, C, H, W)) -> (N, C, H, W)
StartedAttack = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]


class Recorder(Protocol):
    """Runs a function for the first time, and records it to repeat it."""

    def run_first(self, run: Callable[[], Tensor]) -> Tensor:
        """Run the function, so that everything that happens only once precedes the recording."""
        ...

    def record(self, run: Callable[[], Tensor], out: Tensor) -> Callable[[], object]:
        """Return a function that repeats `run` and writes its result to `out`."""
        ...


class CUDAGraphs:
    """Records CUDA graphs. A recorded function must not draw random numbers or wait."""

    def run_first(self, run: Callable[[], Tensor]) -> Tensor:
        """Run the function on a side stream, as the recording will."""
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            result = run()
        current.wait_stream(side)
        result.record_stream(current)  # otherwise its memory may be reused too early
        return result

    def record(self, run: Callable[[], Tensor], out: Tensor) -> Callable[[], object]:
        """Record the kernels of one run and of the copy to `out`; return the graph's replay."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out.copy_(run())
        return graph.replay


class Replays:
    """One attack on one model, run directly on the first batch, then recorded and replayed.

    Weights, BatchNorm's statistics and everything else that the attack reads must stay at their
    place in memory. Their values may change: a replay, including the folding, reads them again.
    The adversarial images are those of the attack itself, because a replay runs the same kernels.

    A batch of another size is attacked directly. With `pads`, a smaller batch overwrites the first
    images of the last full batch instead, and the results of the rest are discarded.

    Args:
        attack: an attack from given first images, without random numbers.
        pads: whether the images of a batch are independent of each other.
        recorder: records and replays the attack.
    """

    def __init__(self, attack: StartedAttack, *, pads: bool, recorder: Recorder) -> None:
        self._attack = attack
        self._pads = pads
        self._recorder = recorder
        self._model: nn.Module | None = None
        self._size = torch.Size()
        self._inputs: tuple[Tensor, Tensor, Tensor] | None = None
        self._out = torch.empty(0)
        self._replay: Callable[[], object] | None = None

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, first: Tensor) -> Tensor:
        """Attack a batch from its first images. All tensors but `targets` are (N, C, H, W)."""
        if self._model is None:
            self._model, self._size = model, images.shape
            return self._recorder.run_first(lambda: self._attack(model, images, targets, first))
        whole = images.shape == self._size
        if model is not self._model or not (whole or self._fits(images)):
            return self._attack(model, images, targets, first)
        if self._inputs is None or self._replay is None:
            inputs = self._inputs = (images.clone(), targets.clone(), first.clone())
            self._out = torch.empty_like(images)
            self._replay = self._recorder.record(lambda: self._attack(model, *inputs), self._out)
        for buffer, batch in zip(self._inputs, (images, targets, first), strict=True):
            buffer[: len(batch)].copy_(batch)
        self._replay()
        return self._out[: len(images)].clone()

    def _fits(self, images: Tensor) -> bool:
        """Return whether a smaller batch can be replayed within a recorded full batch."""
        alike = images.shape[1:] == self._size[1:] and len(images) < self._size[0]
        return self._pads and alike and self._replay is not None
