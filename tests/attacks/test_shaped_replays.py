"""The recordings of a validation's attack: by model and shape, and what happens without memory.

Graphs themselves need a GPU (tests/cuda has a pretended one); here a run that is done again stands
for a recording.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.attacks.named import parse_attack
from ltat_tune.attacks.shaped_replays import MOST_SHAPES, ShapedReplays
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.models import Classifier, build_model
from tests.attacks.test_replays import Again

FULL = "CUDA out of memory."


class Full(Again):
    """A GPU without room for a recording, or for the first run."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.first = first

    def run_first(self, run: Callable[[], Tensor]) -> Tensor:
        if self.first:
            raise torch.OutOfMemoryError(FULL)
        return run()

    def record(self, run: Callable[[], Tensor], out: Tensor) -> Callable[[], object]:
        raise torch.OutOfMemoryError(FULL)


class Empty(Again):
    """Records nothing, as a graph on another device would."""

    def record(self, run: Callable[[], Tensor], out: Tensor) -> Callable[[], object]:
        return lambda: None


def _model(seed: int = 0) -> Classifier:
    config = TrialConfig.from_flat({"model.width": 4})
    return build_model(config.model, in_channels=1, num_classes=3, seed=seed).eval()


def _attacked(
    replays: ShapedReplays | None,
    model: nn.Module,
    size: int,
    *,
    attack: str = "cw2",
    draw: int = 0,
) -> Tensor:
    generator = torch.Generator().manual_seed(draw)
    images = torch.rand(size, 1, 8, 8, generator=generator)
    targets = torch.randint(0, 3, (size,), generator=generator)
    return parse_attack(attack).run(
        model, images, targets, eps=0.1, norm="linf", seed=0, replays=replays
    )


def test_a_shape_runs_first_is_recorded_when_met_again_and_replayed_from_then_on() -> None:
    again, model = Again(), _model()
    replays, counts = ShapedReplays(again), []
    for draw, size in enumerate((3, 5, 3, 5, 3, 3)):
        found = _attacked(replays, model, size, draw=draw)
        assert torch.equal(found, _attacked(None, model, size, draw=draw))
        counts.append((again.recorded, again.replayed))
    assert counts == [(0, 0), (0, 0), (1, 1), (2, 2), (2, 3), (2, 4)]


def test_each_model_and_each_attack_has_a_recording_of_its_own() -> None:
    again = Again()
    replays = ShapedReplays(again)
    for model in (_model(0), _model(1)):
        for attack in ("pgd2", "pgd3"):
            expected = _attacked(None, model, 4, attack=attack)
            for _ in range(3):
                assert torch.equal(_attacked(replays, model, 4, attack=attack), expected)
    assert (again.recorded, again.replayed) == (4, 8)


def test_a_model_has_recordings_of_a_few_shapes_only() -> None:
    again, model = Again(), _model()
    replays, sizes = ShapedReplays(again), range(1, MOST_SHAPES + 3)
    for _ in range(2):
        for size in sizes:
            assert len(_attacked(replays, model, size, attack="pgd1")) == size
    assert again.recorded == MOST_SHAPES
    _attacked(replays, other := _model(1), 2)
    _attacked(replays, other, 2)
    assert again.recorded == MOST_SHAPES + 1  # those of another model count for themselves


def test_without_memory_for_a_recording_attacks_go_on_directly_and_it_is_said() -> None:
    model, replays = _model(), ShapedReplays(Full(first=False))
    for _ in range(3):
        assert torch.equal(_attacked(replays, model, 4), _attacked(None, model, 4))
    assert replays.note.startswith(
        "the validation attack could not be recorded as a CUDA graph (no memory is left for it)"
    )
    assert "compute.graphs: off" in replays.note


def test_an_attack_that_has_no_memory_itself_is_halved_by_its_caller() -> None:
    replays = ShapedReplays(Full(first=True))
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            _attacked(replays, _model(), 4)
    assert replays.note == ""


def test_a_recording_that_writes_nothing_is_not_used() -> None:
    model, replays = _model(), ShapedReplays(Empty())
    for _ in range(3):
        assert torch.equal(_attacked(replays, model, 4), _attacked(None, model, 4))
    assert "a replay left images unwritten" in replays.note


def test_after_the_release_nothing_is_recorded_and_nothing_said() -> None:
    again, model = Again(), _model()
    replays = ShapedReplays(again)
    for _ in range(2):
        _attacked(replays, model, 4)
    replays.release()
    for _ in range(3):
        assert torch.equal(_attacked(replays, model, 4), _attacked(None, model, 4))
    assert (again.recorded, again.replayed, replays.note) == (1, 1, "")
