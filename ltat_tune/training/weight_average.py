"""An exponential moving average of a model's weights, whose update never waits for the device."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ltat_tune.attacks.shaped_replays import ShapedReplays
from ltat_tune.config.sections import OptimConfig
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import steps_of_epoch
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.training.evaluation import measure_accuracy
from ltat_tune.training.metrics import Accuracy


class WeightAverage:
    """The average of a model: decay * average + (1 - decay) * model, after each optimiser step.

    Parameters and floating-point buffers, BatchNorm's statistics among them, are averaged. The
    first update copies the model.

    Source: Gowal2020Uncovering 4.4, arXiv:2010.03593; checked against torch's AveragedModel.
    Deviations: integer buffers, which are BatchNorm's batch counters, are copied. torch's own
        function averages them and drops the fraction, which lowers even a constant: 3 * 0.9 +
        3 * 0.1 is slightly less than 3. The updates are counted in Python, because torch's counter
        is a tensor, whose copy to a GPU makes the CPU wait in every step.

    Args:
        model: the model, on its device. It is copied, not changed.
        decay: share of the old average in each update, in (0, 1).

    Attributes:
        module: the averaged model.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(model)
        self._decay, self._updates = decay, 0

    @property
    def begun(self) -> bool:
        """Whether the average holds any weights of the training."""
        return self._updates > 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Average the model in, or copy it if it is the first."""
        pairs = list(zip(_tensors(self.module), _tensors(model), strict=True))
        averaged = [pair for pair in pairs if pair[0].is_floating_point() and self._updates > 0]
        copied = [pair for pair in pairs if not pair[0].is_floating_point() or self._updates == 0]
        if averaged:
            means, news = zip(*averaged, strict=True)
            torch._foreach_lerp_(means, news, 1 - self._decay)
        for mean, new in copied:
            mean.copy_(new)
        self._updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the state under the names of torch's AveragedModel, which 0.4.0 wrote."""
        weights = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        return {"n_averaged": torch.tensor(self._updates), **weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state that `state_dict` returned."""
        weights = {
            name.removeprefix("module."): value
            for name, value in state.items()
            if name != "n_averaged"
        }
        self.module.load_state_dict(weights)
        self._updates = int(state["n_averaged"])


class FairnessAverage:
    """FAWA: an average over epochs, without those in which some class does too badly.

    After an epoch whose guard, a recall on the validation images, reaches the threshold, the
    average becomes decay * average + (1 - decay) * model. The first such epoch copies the model.
    Until then there is none.

    Source: Wei2023CFA (FAWA); PKU-ML/CFA@071f333.
    Deviations: in the release the average keeps its random weights until the first epoch that is
        admitted, and is measured all the same. The validation images that guard are also those
        that measure the epochs.

    Args:
        model: the model, on its device. It is copied, not changed.
        span: epochs after which the share of an epoch has fallen to 1 / e, > 0.
        threshold: smallest guard that is admitted.
        guard: `worst` or `balanced`, the recall that is compared.
    """

    def __init__(self, model: nn.Module, *, span: float, threshold: float, guard: str) -> None:
        self.average = WeightAverage(model, math.exp(-1 / span))
        self._model, self._threshold, self._guard = model, threshold, guard

    def after_epoch(
        self,
        measured: nn.Module,
        data: LabelledImages,
        config: TrialConfig,
        classes: int,
        replays: ShapedReplays | None = None,
    ) -> None:
        """Measure the model on the validation images, and average it in if that admits it.

        `measured` is the model as it is validated: with its scale and its log-prior.
        """
        attack = config.evaluation.val_attack
        self.admit(
            measure_accuracy(
                measured, data, attack, config, split="val", classes=classes, replays=replays
            )
        )

    def admit(self, accuracy: Accuracy) -> None:
        """Average the model in if its recalls admit it."""
        recalls = [recall for recall in accuracy.per_class if recall is not None]
        guards = {"worst": min(recalls), "balanced": sum(recalls) / len(recalls)}
        if guards[self._guard] >= self._threshold:
            self.average.update(self._model)


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    """Yield parameters and buffers without gradients."""
    for value in (*model.parameters(), *model.buffers()):
        yield value.detach()


def decay_of(config: OptimConfig, images: int) -> float:
    """Return the decay per step: the given one, or that of `ema_epochs`.

    A decay d weighs the last 1 / (1 - d) steps. A span below one step is no average: the decay
    is 0.

    Args:
        config: the optimiser's.
        images: training images, of which an epoch draws every one once.
    """
    if config.ema_epochs == 0:
        return config.ema_decay
    return max(0.0, 1 - 1 / (config.ema_epochs * steps_of_epoch(images, config.batch_size)))


def new_average(model: nn.Module, decay: float) -> WeightAverage | None:
    """Return an average of a model, or None for a decay of 0."""
    return None if decay == 0 else WeightAverage(model, decay)


def kept_mean(average: WeightAverage | None, fair: FairnessAverage | None) -> nn.Module | None:
    """Return the averaged model of a training, which has at most one; None without or before."""
    if fair is not None:
        return fair.average.module if fair.average.begun else None
    return None if average is None else average.module


def new_fair_average(model: nn.Module, config: TrialConfig) -> FairnessAverage | None:
    """Return CFA's average of a model, or None for other methods and without a span."""
    method = config.method
    if method.name != "cfa" or method.fawa_span == 0:
        return None
    return FairnessAverage(
        model, span=method.fawa_span * config.optim.epochs, threshold=method.fawa_threshold,
        guard=method.fawa_guard,
    )  # fmt: skip
