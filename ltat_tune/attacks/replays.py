"""An attack recorded once and replayed: on a GPU a CUDA graph, launched as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

# (model, images (N, C, H, W), targets (N,), first images (N, C, H, W)) -> (N, C, H, W)
StartedAttack = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]


class Recorder(Protocol):
    """How something is run now, and how it is kept to be run again."""

    def run_first(self, run: Callable[[], Tensor]) -> Tensor:
        """Runs it now, so that all that happens only once is over before it is recorded."""
        ...

    def record(self, run: Callable[[], Tensor], out: Tensor) -> Callable[[], object]:
        """What repeats it and leaves the result in `out`; nothing needs to be run yet."""
        ...


class CUDAGraphs:
    """Records CUDA graphs. What is recorded must draw no random numbers and wait for nothing."""

    def run_first(self, run: Callable[[], Tensor]) -> Tensor:
        """On a side stream, as a recording will be."""
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            result = run()
        current.wait_stream(side)
        result.record_stream(current)  # else its memory may be used again while it is read
        return result

    def record(self, run: Callable[[], Tensor], out: Tensor) -> Callable[[], object]:
        """The kernels of one run, and of the copy to `out`, as a graph."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out.copy_(run())
        return graph.replay


class Replays:
    """One attack on one model: run by itself on the first batch, recorded on the second, replayed.

    Weights, BatchNorm's statistics and whatever else the attack reads must stay where they are in
    memory and may change there: a replay reads them anew, folding included. Adversarial images are
    those of the attack itself, because its very kernels are run.

    Batches of another size are attacked as they are or, with `pads`, laid over the first images of
    the last whole batch, whose rest is thrown away.

    Args:
        attack: from given first images on, without random numbers.
        pads: whether the images of a batch are independent of each other.
        recorder: records and replays.
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
        """Adversarial images of a batch, from its first images on: all (N, C, H, W)."""
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
        for place, given in zip(self._inputs, (images, targets, first), strict=True):
            place[: len(given)].copy_(given)
        self._replay()
        return self._out[: len(images)].clone()

    def _fits(self, images: Tensor) -> bool:
        """Whether a smaller batch can be laid over a whole one that is recorded already."""
        alike = images.shape[1:] == self._size[1:] and len(images) < self._size[0]
        return self._pads and alike and self._replay is not None
