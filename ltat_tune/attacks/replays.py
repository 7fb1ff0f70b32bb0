"""Records an attack once and replays it. On a GPU the recording is a CUDA graph."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

_NO_PIXEL = -1.0  # no image holds it
_broken: list[str] = []  # recordings of this process that did not end as they should

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


def recording_broke() -> bool:
    """Return whether a recording of this process failed.

    torch goes on after it, but not as before: it may keep the recording's memory for ever, and
    refuse to return any. A worker should end when its task is done.
    """
    return bool(_broken)


def return_cached_memory() -> None:
    """Return the memory that torch has cached on the GPU, unless a broken recording forbids it."""
    try:
        torch.cuda.empty_cache()
    except RuntimeError:
        if not recording_broke():
            raise


@functools.cache
def _recording_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the one stream on which a GPU's recordings are made.

    cuBLAS keeps a workspace of 32 MiB for each stream, and torch gives none of them back.
    """
    with torch.cuda.device(device):
        return torch.cuda.Stream(device)


class CUDAGraphs:
    """Records CUDA graphs. A recorded function must not draw random numbers or wait.

    Args:
        device: the GPU. Without it torch would record on the device that is current, where
            another device's kernels leave an empty graph, and no error.
        one_memory: whether all graphs work in the same memory, which is then that of the largest.
            They must be replayed one after another, and the first must be kept as long as others
            are recorded: torch ends the memory with its last graph.
    """

    def __init__(self, device: torch.device, *, one_memory: bool = False) -> None:
        index = torch.cuda.current_device() if device.index is None else device.index
        self._stream = _recording_stream(torch.device("cuda", index))
        self._one_memory = one_memory
        self._memory: Any = None  # torch's name of it, whose type differs between versions

    def run_first(self, run: Callable[[], Tensor]) -> Tensor:
        """Run the function on a side stream, as the recording will."""
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = run()
        current.wait_stream(self._stream)
        result.record_stream(current)  # otherwise its memory may be reused too early
        return result

    def record(self, run: Callable[[], Tensor], out: Tensor) -> Callable[[], object]:
        """Record the kernels of one run and of the copy to `out`; return the graph's replay."""
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._stream.device)
        with torch.cuda.device(self._stream.device):
            try:
                with torch.cuda.graph(graph, pool=self._memory, stream=self._stream):
                    out.copy_(run())
            except RuntimeError as error:
                _broken.append(str(error))
                torch.cuda.set_stream(current)  # torch leaves that of a broken recording current
                raise
        if self._one_memory:
            self._memory = graph.pool()
        return graph.replay


def failure_note(attack: str, failure: str) -> str:
    """Return what the user should know of an attack that is not recorded; empty if it is."""
    return failure and (
        f"the {attack} attack could not be recorded as a CUDA graph ({failure}), so its kernels "
        "are launched one by one, which is slower; compute.graphs: off does not try"
    )


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
        self._checked = False
        self.failure = ""  # why nothing is recorded any more

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, first: Tensor) -> Tensor:
        """Attack a batch from its first images. All tensors but `targets` are (N, C, H, W)."""
        if self.failure:
            return self._attack(model, images, targets, first)
        if self._model is None:
            self._model, self._size = model, images.shape
            return self._recorder.run_first(lambda: self._attack(model, images, targets, first))
        whole = images.shape == self._size
        if model is not self._model or not (whole or self._fits(images)):
            return self._attack(model, images, targets, first)
        if self._inputs is None or self._replay is None:
            self._record(model, images, targets, first)
        if self._inputs is None or self._replay is None:
            return self._attack(model, images, targets, first)
        for buffer, batch in zip(self._inputs, (images, targets, first), strict=True):
            buffer[: len(batch)].copy_(batch)
        self._replay()
        if not self._checked:
            self._check()
            if self.failure:
                return self._attack(model, images, targets, first)
        return self._out[: len(images)].clone()

    def _record(self, model: nn.Module, images: Tensor, targets: Tensor, first: Tensor) -> None:
        """Record the attack, or note why that failed."""
        inputs = (images.clone(), targets.clone(), first.clone())
        self._out = torch.empty_like(images)
        try:
            self._replay = self._recorder.record(lambda: self._attack(model, *inputs), self._out)
        except RuntimeError as error:
            cause = error.__context__ or error  # torch ends a recording with an error of its own
            if isinstance(cause, torch.OutOfMemoryError):
                raise cause from None
            self.failure = str(cause).strip().splitlines()[0]
            return
        self._inputs = inputs
        self._out.fill_(_NO_PIXEL)

    def _check(self) -> None:
        """Check that the first replay wrote every pixel."""
        self._checked = True
        if bool((self._out == _NO_PIXEL).any()):
            self._replay, self._inputs = None, None
            self.failure = "a replay left images unwritten"

    def _fits(self, images: Tensor) -> bool:
        """Return whether a smaller batch can be replayed within a recorded full batch."""
        alike = images.shape[1:] == self._size[1:] and len(images) < self._size[0]
        return self._pads and alike and self._replay is not None


class Recordings:
    """Keeps a training's recording from epoch to epoch, as long as the attack stays the same.

    Numbers that change with the epoch are tensors, which the recording reads at a fixed place.

    Args:
        recorder: records and replays attacks.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._key: Hashable = None
        self._held: list[Tensor] = []
        self._replays: Replays | None = None
        self._failure = ""

    def of(
        self,
        key: Hashable,
        tensors: Sequence[Tensor | None],
        attack: Callable[[Sequence[Tensor | None]], StartedAttack],
        *,
        pads: bool,
    ) -> Replays:
        """Return the replays of an attack, recorded anew only where its key is another.

        Args:
            key: everything that the recording fixes.
            tensors: everything else that the attack reads, but the model and the batch.
            attack: builds the attack that reads the given tensors instead.
            pads: as for `Replays`.
        """
        key = (key, tuple(t if t is None else (t.shape, t.dtype) for t in tensors))
        given = [tensor for tensor in tensors if tensor is not None]
        if self._replays is None or key != self._key:
            if self._replays is not None:
                self._failure = self.failure
            self._replays = None  # frees the old recording before there is a new one
            self._key, self._held = key, [tensor.clone() for tensor in given]
            held = iter(self._held)
            fixed = [None if tensor is None else next(held) for tensor in tensors]
            self._replays = Replays(attack(fixed), pads=pads, recorder=self._recorder)
            self._replays.failure = self._failure
        else:
            for place, tensor in zip(self._held, given, strict=True):
                place.copy_(tensor)
        return self._replays

    @property
    def failure(self) -> str:
        """Why attacks are launched kernel by kernel instead; empty if they are replayed."""
        return self._failure if self._replays is None else self._replays.failure

    @property
    def note(self) -> str:
        """What the user should know of a failure; empty if there is none."""
        return failure_note("training", self.failure)

    def release(self) -> None:
        """Free the recording; the next attack is recorded anew."""
        self._failure = self.failure
        self._key, self._held, self._replays = None, [], None
