"""Records the attack of a validation, whose batches have several sizes, and replays it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ltat_tune.attacks.replays import (
    CUDAGraphs,
    Recorder,
    Recordings,
    Replays,
    StartedAttack,
    failure_note,
    return_cached_memory,
)
from ltat_tune.config.sections import ComputeConfig
from ltat_tune.models.conv_bn import forgotten_folds

# Shapes of a model. The images that still stand of a batch of 500 fill 64, 128, ... or 512.
MOST_SHAPES = 8

_Key = tuple[nn.Module, torch.Size, Hashable]


class ShapedReplays:
    """The recordings of an attack in eval mode: one for each model and shape of a batch.

    A shape is attacked directly when it is met first, and recorded when it is met again: an epoch
    of validation meets some shapes only once. A batch is not filled up to a shape that is recorded
    already, because that changes the last digits of sums, and each further 64 images cost time in
    every validation, where a recording costs its time once. Shapes beyond `MOST_SHAPES` of a model
    are attacked directly.

    Tests do not use it: they meet each shape a few times only, and a recording in float32 would
    double their memory.

    As for `Replays`, what the models read must stay at its place in memory.

    Args:
        recorder: records and replays the attacks; all are kept until `release`.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._replays: dict[_Key, Replays] = {}
        self._released = False
        self.failure = ""  # why nothing is recorded any more

    def __call__(
        self,
        knobs: Hashable,
        attack: StartedAttack,
        model: nn.Module,
        images: Tensor,
        targets: Tensor,
        first: Tensor,
    ) -> Tensor:
        """Attack a batch from its first images: (N, C, H, W), (N,) -> (N, C, H, W).

        Args:
            knobs: everything that the attack fixes.
            attack: the attack, without random numbers.
            model: the model, in eval mode.
            images: shape (N, C, H, W).
            targets: their classes, shape (N,).
            first: where the attack starts, shape (N, C, H, W).
        """
        key = _key(model, images, knobs)
        met = key in self._replays
        if self.failure or self._released or not (met or self._has_room(model)):
            return attack(model, images, targets, first)
        if not met:
            folding = _folding_itself(attack)
            self._replays[key] = Replays(folding, pads=False, recorder=self._recorder)
        try:
            result = self._replays[key](model, images, targets, first)
            self._stop(self._replays[key].failure)
            return result
        except torch.OutOfMemoryError:
            if not met:  # the attack itself has no room, and not its recording
                del self._replays[key]
                raise
        self._stop("no memory is left for it")  # here the error's frames are gone
        return_cached_memory()
        return attack(model, images, targets, first)

    @property
    def note(self) -> str:
        """What the user should know of a failure; empty if there is none."""
        return failure_note("validation", self.failure)

    def release(self) -> None:
        """Free all recordings, and record nothing any more."""
        self._released = True
        self._replays.clear()

    def _stop(self, failure: str) -> None:
        if failure:
            self.failure = failure
            self._replays.clear()

    def _has_room(self, model: nn.Module) -> bool:
        return sum(known is model for known, _, _ in self._replays) < MOST_SHAPES


@dataclass(frozen=True)
class RecordedAttacks:
    """What a training records: the attack of its steps and that of its validations.

    Attributes:
        training: the recording of the steps' attack; None where nothing is recorded.
        validation: the recordings of the validation attack; None there, too.
    """

    training: Recordings | None = None
    validation: ShapedReplays | None = None

    @classmethod
    def on(cls, device: torch.device, compute: ComputeConfig) -> RecordedAttacks:
        """Return those of a new model: empty, or None for a CPU and with `compute.graphs: off`."""
        if device.type != "cuda" or compute.graphs == "off":
            return cls()
        shaped = ShapedReplays(CUDAGraphs(device, one_memory=True))
        return cls(Recordings(CUDAGraphs(device)), shaped)

    @property
    def note(self) -> str:
        """What the user should know of the first failure; empty if there is none."""
        notes = [each.note for each in (self.training, self.validation) if each is not None]
        return next(filter(None, notes), "")

    def release(self) -> None:
        """Free the recordings."""
        for each in (self.training, self.validation):
            if each is not None:
                each.release()


def _key(model: nn.Module, images: Tensor, knobs: Hashable) -> _Key:
    return model, images.shape, knobs


def _folding_itself(attack: StartedAttack) -> StartedAttack:
    """Return the attack with the folding in it, so that a replay folds the weights of its time."""

    def run(model: nn.Module, images: Tensor, targets: Tensor, first: Tensor) -> Tensor:
        with forgotten_folds(model):
            return attack(model, images, targets, first)

    return run
