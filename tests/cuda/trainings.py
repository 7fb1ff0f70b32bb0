"""Tiny trainings by the real `Trainer`, on the CPU and on the pretended GPU.

These functions run in the process that has the GPU, and return plain values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from ltat_tune import models
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data import batches
from ltat_tune.data.datasets import LabelledImages, Splits
from ltat_tune.training import networks, trainer
from ltat_tune.training.trainer import Trainer
from tests.cuda.device import Pretended

COUNTS = [30, 15, 8, 4]  # 57 images: three whole batches of 16 and one of 9
BASE: dict[str, object] = {
    "data.name": "cifar10", "data.augmentation": "crop_flip", "model.name": "small_cnn",
    "model.width": 4, "method.name": "reat", "attack.steps": 2, "optim.epochs": 2,
    "optim.batch_size": 16, "evaluation.val_attack": "pgd2", "evaluation.every_epochs": 2,
    "evaluation.batch_size": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Fitted:
    """What a training gave, and what the GPU saw of it."""

    weights: str
    metrics: dict[str, float]
    step_waits: dict[str, int] = field(default_factory=dict)
    waits: dict[str, int] = field(default_factory=dict)
    recordings: dict[int, int] = field(default_factory=dict)
    replays: int = 0
    note: str = ""
    farthest: float = 0.0  # |x' - x| of the attacked batches


def images(side: int = 16) -> Splits:
    """Noise in four classes."""
    generator = torch.Generator().manual_seed(0)

    def some(counts: list[int]) -> LabelledImages:
        targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        shape = (len(targets), 3, side, side)
        drawn = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return LabelledImages(drawn, targets)

    train, val, test = some(COUNTS), some([5] * 4), some([5] * 4)
    return Splits(train, val, lambda: test, ("a", "b", "c", "d"), "noise")


def teacher_file(folder: Path) -> Path:
    """Write weights for the base's network, as a teacher, and return their file."""
    path = folder / "teacher.pt"
    model = models.build_model(
        config_of({}).model, in_channels=3, num_classes=len(COUNTS), side=16, seed=1
    )
    torch.save(model.state_dict(), path)
    return path


def config_of(values: dict[str, object]) -> TrialConfig:
    """The base with other values."""
    return TrialConfig.from_flat({**BASE, **values})


def on_cpu(values: dict[str, object]) -> Fitted:
    """Train on the CPU, with the weights in memory as on a GPU: so the sums round alike."""

    def prepared(model: nn.Module, precision: str, device: torch.device) -> None:
        real(model, precision, device)
        nn.Module.to(model, memory_format=torch.channels_last)  # type: ignore[call-overload]

    real = models.prepare_model
    with (
        mock.patch.object(trainer, "prepare_model", prepared),
        mock.patch.object(networks, "prepare_model", prepared),
    ):
        done = Trainer(config_of(values), splits=images()).fit()
    return Fitted(done.weights, done.metrics)


def on_gpu(
    values: dict[str, object], *, device: str = "cuda", devices: int = 1,
    checkpoint: Path | None = None, **more: Any,
) -> Fitted:  # fmt: skip
    """Train on the pretended GPU."""
    with Pretended(devices) as gpu, steps_watched(gpu), distances_watched() as far:
        trainer = Trainer(config_of(values), splits=images(), device=device)
        done = trainer.fit(checkpoint=checkpoint, **more)
        return Fitted(
            done.weights, done.metrics, dict(gpu.step_waits), dict(gpu.waits),
            dict(gpu.recordings), gpu.replays, trainer.note, max(far, default=0.0),
        )  # fmt: skip


@contextmanager
def steps_watched(gpu: Pretended) -> Iterator[None]:
    """Tell the GPU which part of an epoch is its steps: from the first batch to the last."""
    real = batches.training_batches

    def watched(*args: Any, **kwargs: Any) -> Iterator[tuple[Tensor, Tensor]]:
        gpu.in_step = True
        try:
            yield from real(*args, **kwargs)
        finally:
            gpu.in_step = False

    with mock.patch.object(trainer, "training_batches", watched):
        yield


@contextmanager
def distances_watched() -> Iterator[list[float]]:
    """Collect how far each attacked batch is from the clean one."""
    from ltat_tune.attacks.training import PGDAttack
    from tests.cuda.device import to_host

    far: list[float] = []
    real = PGDAttack.__call__

    def attack(
        self: PGDAttack, model: nn.Module, images: Tensor, *rest: Any, **more: Any
    ) -> Tensor:
        result = real(self, model, images, *rest, **more)
        far.append((to_host(result) - to_host(images)).abs().max().item())
        return result

    with mock.patch.object(PGDAttack, "__call__", attack):
        yield far
