"""Replayed attacks: static inputs, batches of other sizes, statistics.

Graphs themselves need a GPU; here a run that is done again stands for a recording.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ltat_tune.attacks.replays import CUDAGraphs, Recordings, Replays
from ltat_tune.attacks.training import PGDAttack, build_attack
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.models import Classifier, build_model

COUNTS = torch.tensor([90, 9, 1])
KNOBS = {"attack.eps": 0.1, "attack.step_size": 0.03, "attack.steps": 3, "model.width": 4}


class Again:
    """Runs once more what a GPU would replay; counts what was recorded and replayed."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def run_first(self, run: Callable[[], Tensor]) -> Tensor:
        return run()

    def record(self, run: Callable[[], Tensor], out: Tensor) -> Callable[[], object]:
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            out.copy_(run())

        return replay


def _attacks(values: dict[str, object]) -> tuple[PGDAttack, PGDAttack, Again, TrialConfig]:
    config = TrialConfig.from_flat({**KNOBS, **values})
    plain = build_attack(config, COUNTS, loss=torch.nn.functional.cross_entropy)
    assert isinstance(plain, PGDAttack) and plain.recordings is None  # the CPU has no graphs
    again = Again()
    return plain, replace(plain, recordings=Recordings(again)), again, config


def _model(config: TrialConfig) -> Classifier:
    return build_model(config.model, in_channels=1, num_classes=3)


def _batches(*sizes: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.rand(n, 1, 8, 8, generator=generator),
         torch.randint(0, 3, (n,), generator=generator))
        for n in sizes
    ]  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"attack.norm": "l2", "attack.eps": 1.0},
        {"method.name": "trades"},
        {"attack.start": "none", "attack.objective": "margin"},
        {"attack.class_budget": 0.5},
        {"attack.reweight": "balanced_softmax"},
        {"attack.bn_mode": "batch", "attack.reweight": "inverse"},
        {"attack.bn_mode": "train"},
        {"compute.precision": "bf16"},
    ],
    ids=str,
)
def test_replayed_images_are_the_attacks_own_to_the_bit(values: dict[str, object]) -> None:
    """Also after the weights have moved, from the same noise, and for a last batch of 2."""
    plain, replayed, again, config = _attacks(values)
    one, other = _model(config), _model(config)
    noises = [torch.Generator().manual_seed(5) for _ in range(2)]
    for images, targets in _batches(6, 6, 6, 6, 2):
        expected = plain(one, images, targets, generator=noises[0])
        found = replayed(other, images, targets, generator=noises[1])
        assert not torch.equal(found, images)
        # padded, an image shares its batch with others, which may move a sum's last digit
        whole = len(images) == 6
        torch.testing.assert_close(found, expected, rtol=0, atol=0 if whole else 1e-6)
        with torch.no_grad():
            for model in (one, other):
                model.head.weight.mul_(1.5)
    assert again.recorded == 1
    independent = plain.knobs["bn_mode"] == "eval" and isinstance(plain.knobs["objective"], str)
    assert again.replayed == (4 if independent else 3)
    for mine, theirs in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)  # BatchNorm's statistics and its count of batches


def test_a_replay_hands_out_images_that_later_replays_leave_alone() -> None:
    _, replayed, _, config = _attacks({})
    model, noise = _model(config), torch.Generator().manual_seed(5)
    batches = _batches(4, 4, 4)
    replayed(model, *batches[0], generator=noise)
    second = replayed(model, *batches[1], generator=noise)
    kept = second.clone()
    replayed(model, *batches[2], generator=noise)
    assert torch.equal(second, kept)


def test_another_model_and_a_larger_batch_are_attacked_as_they_are() -> None:
    calls: list[int] = []

    def attack(model: object, images: Tensor, targets: Tensor, first: Tensor) -> Tensor:
        calls.append(len(images))
        return first + 1

    replays, model = Replays(attack, pads=True, recorder=Again()), torch.nn.Identity()
    for who, (images, targets) in zip(
        (model, torch.nn.Identity(), model, model), _batches(3, 3, 4, 2), strict=True
    ):
        assert torch.equal(replays(who, images, targets, images), images + 1)
    assert calls == [3, 3, 4, 2]  # nothing was recorded, so nothing was padded


def test_no_steps_draw_no_noise_and_record_nothing() -> None:
    _, replayed, again, config = _attacks({"attack.steps": 0})
    noise = torch.Generator().manual_seed(5)
    before = noise.get_state()
    (images, targets) = _batches(3)[0]
    assert torch.equal(replayed(_model(config), images, targets, generator=noise), images)
    assert torch.equal(noise.get_state(), before) and again.recorded == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs need a GPU")
@pytest.mark.parametrize("bn_mode", ["eval", "batch", "train"])
def test_graphs_give_the_plain_attacks_images(bn_mode: str) -> None:
    config = TrialConfig.from_flat({**KNOBS, "attack.bn_mode": bn_mode})
    recordings = Recordings(CUDAGraphs(torch.device("cuda:0")))
    with_graphs = build_attack(config, COUNTS.cuda(), recordings=recordings)
    assert isinstance(with_graphs, PGDAttack)
    plain = replace(with_graphs, recordings=None)
    one, other = _model(config).cuda(), _model(config).cuda()
    noises = [torch.Generator().manual_seed(5) for _ in range(2)]
    for images, targets in _batches(6, 6, 6, 2):
        expected = plain(one, images.cuda(), targets.cuda(), generator=noises[0])
        found = with_graphs(other, images.cuda(), targets.cuda(), generator=noises[1])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
