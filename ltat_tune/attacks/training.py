"""The attack of a training epoch: PGD, with class weights and class budgets if configured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ltat_tune.attacks.balls import first_images
from ltat_tune.attacks.objectives import OBJECTIVES
from ltat_tune.attacks.pgd import BatchObjective, pgd
from ltat_tune.attacks.replays import Recordings, Replays, StartedAttack
from ltat_tune.config.sections import AttackConfig
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.losses.counts import log_prior
from ltat_tune.losses.rbl import rbl_weights
from ltat_tune.losses.reweighting import class_balanced, inverse, inverse_sqrt


class TrainingAttack(Protocol):
    """The interface of an attack to a method: images (N, C, H, W) to images of the same shape."""

    def __call__(
        self, model: nn.Module, images: Tensor, targets: Tensor, *, generator: torch.Generator
    ) -> Tensor: ...


def no_attack(
    model: nn.Module, images: Tensor, targets: Tensor, *, generator: torch.Generator
) -> Tensor:
    """Return the clean images, for methods and stages without an attack."""
    return images


@dataclass(frozen=True)
class PGDAttack:
    """PGD with the settings of one epoch.

    Attributes:
        eps: radius of the ball, pixel units.
        step_size: length of a step, pixel units.
        budgets: factor of each class on `eps`, (K,); None is 1 for all classes.
        scales: what the factor scales besides: `step`, or `start`, the noise at the start.
        knobs: the other arguments of `pgd`.
        recordings: records the attack and replays it for each batch; None runs it each time.
        start_radius: radius of the noise at the start, in `eps`.
        projects: whether each step ends in the ball. If not, the ball is as large as the start and
            all steps together, so that only [0, 1] bounds the images.
    """

    eps: float
    step_size: float
    budgets: Tensor | None
    knobs: dict[str, Any]
    recordings: Recordings | None = None
    start_radius: float = 1.0
    projects: bool = True
    scales: str = "step"
    _replays: list[Replays] = field(default_factory=list, repr=False)

    def __call__(
        self, model: nn.Module, images: Tensor, targets: Tensor, *, generator: torch.Generator
    ) -> Tensor:
        recorded = self.recordings is not None and self.knobs["steps"] > 0
        if not (recorded or self._scales_start):
            return self._run(model, images, targets, generator=generator)
        first = first_images(
            images, self._start_eps, start=self.knobs["start"], norm=self.knobs["norm"],
            generator=generator,
        )  # fmt: skip
        if self._scales_start:
            first = self._scaled(images, targets, first)
        if not recorded:
            return self._from(model, images, targets, first)
        if not self._replays:
            assert self.recordings is not None
            self._replays.append(self._recorded(self.recordings))
        return self._replays[0](model, images, targets, first)

    @property
    def _start_eps(self) -> float:
        return self.start_radius * self.eps

    @property
    def _scales_start(self) -> bool:
        """Whether the noise at the start has a factor. Gaussian noise has a size of its own.

        Where nothing is projected, the start is a part of the way that a class may go.
        """
        if self.budgets is None or self.knobs["start"] == "gaussian":
            return False
        return self.scales == "start" or not self.projects

    def _scaled(self, images: Tensor, targets: Tensor, first: Tensor) -> Tensor:
        """Return first images whose distance from the images has each class's factor."""
        assert self.budgets is not None
        factors = self.budgets.to(images.device)[targets][:, None, None, None]
        scaled = images + (first - images) * factors.to(images)
        return scaled.clamp_(0, 1) if self.knobs["start"] == "uniform_clipped" else scaled

    def _recorded(self, recordings: Recordings) -> Replays:
        eps, step_size, knobs, scales = self.eps, self.step_size, self.knobs, self.scales
        start_radius, projects = self.start_radius, self.projects

        def attack(tensors: Sequence[Tensor | None]) -> StartedAttack:
            # A separate object, because a reference cycle would keep the recording's memory.
            budgets, class_weights = tensors
            return PGDAttack(
                eps, step_size, budgets, {**knobs, "class_weights": class_weights},
                start_radius=start_radius, projects=projects, scales=scales,
            )._from  # fmt: skip

        fixed = {name: value for name, value in knobs.items() if name != "class_weights"}
        # Images may only be padded if the rest of the batch does not change their steps.
        alone = knobs["bn_mode"] == "eval" and isinstance(knobs["objective"], str)
        return recordings.of(
            (eps, step_size, start_radius, projects, scales, tuple(fixed.items())),
            (self.budgets, knobs["class_weights"]), attack, pads=alone,
        )  # fmt: skip

    def _from(self, model: nn.Module, images: Tensor, targets: Tensor, first: Tensor) -> Tensor:
        return self._run(model, images, targets, start=first)

    def _run(self, model: nn.Module, images: Tensor, targets: Tensor, **more: Any) -> Tensor:
        eps: float | Tensor = self.eps
        step_size: float | Tensor = self.step_size
        start_eps: float | Tensor = self._start_eps
        if self.budgets is not None:
            factors = self.budgets.to(images.device)[targets]
            eps = eps * factors
            if self.scales == "step":
                step_size = step_size * factors
            if self._scales_start:
                start_eps = start_eps * factors
        if not self.projects:
            eps = start_eps + self.knobs["steps"] * step_size
        return pgd(
            model, images, targets, eps=eps, step_size=step_size, start_eps=self._start_eps,
            **{**self.knobs, **more},
        )  # fmt: skip


def build_attack(
    config: TrialConfig,
    samples_per_class: Tensor,
    *,
    epoch: int = 0,
    predicted: Tensor | None = None,
    loss: Callable[..., Tensor] | None = None,
    radii: Tensor | None = None,
    recordings: Recordings | None = None,
) -> TrainingAttack:
    """Build the attack of one epoch.

    Args:
        config: the trial.
        samples_per_class: training images per class, shape (K,), on the device that trains.
        epoch: counted from 0. RobustLT's radius grows with it.
        predicted: last epoch's adversarial images by predicted class, shape (K,), for RBL. None,
            in the first epoch, stands for `samples_per_class` (REAT 4.1).
        loss: the prediction loss, which `attack.objective: loss` raises.
        radii: the method's own factor on the radius of each class, shape (K,). DAFA's scales the
            steps as well, as `attack.class_budget` does; CFA's scales the start. None leaves the
            radius to `attack.class_budget`.
        recordings: the training's, on a GPU; None launches each attack's kernels one by one.
    """
    attack = config.attack
    weights = attack_weights(config, samples_per_class, predicted)
    return PGDAttack(
        attack.eps,
        attack.step_size,
        _budgets(config, samples_per_class, epoch) if radii is None else radii,
        {
            "steps": attack.steps,
            "norm": attack.norm,
            "start": attack.start,
            "bn_mode": attack.bn_mode,
            "objective": _objective(attack, samples_per_class, weights, loss),
            "class_weights": None if attack.objective == "loss" else weights,
        },
        recordings,
        start_radius=attack.start_radius,
        projects=attack.projection,
        scales="start" if config.method.name == "cfa" else "step",
    )


_WEIGHTS: dict[str, Callable[[Tensor, Tensor, float | None], Tensor | None]] = {
    "none": lambda counts, predicted, beta: None,
    "balanced_softmax": lambda counts, predicted, beta: None,
    "inverse": lambda counts, predicted, beta: inverse(counts),
    "inverse_sqrt": lambda counts, predicted, beta: inverse_sqrt(counts),
    "class_balanced": lambda counts, predicted, beta: class_balanced(counts, beta),
    "rbl": lambda counts, predicted, beta: rbl_weights(counts, predicted),
}


def attack_weights(
    config: TrialConfig, samples_per_class: Tensor, predicted: Tensor | None
) -> Tensor | None:
    """Return factors on the images' losses by class, (K,) float32 with mean 1, or None.

    In eval mode the result is always None. There a positive factor changes no step, and without it
    equal configurations have equal results to the last bit.
    """
    if config.attack.bn_mode == "eval":
        return None
    counts = samples_per_class.double()
    n = counts if predicted is None else predicted.to(counts)
    weights = _WEIGHTS[config.attack.reweight](counts, n, config.reweight.beta)
    return None if weights is None else (weights / weights.mean()).float()


@dataclass(frozen=True)
class _Shifted:
    """BRW: an objective on z + ln N. It is the same in all epochs, so it is recorded once."""

    objective: str
    shift: Tensor = field(compare=False)  # of a training, which has one; (K,)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        of_images = OBJECTIVES[self.objective]
        return of_images(logits + self.shift.to(logits), targets, None).sum()


def _objective(
    attack: AttackConfig,
    samples_per_class: Tensor,
    weights: Tensor | None,
    loss: Callable[..., Tensor] | None,
) -> str | BatchObjective:
    if attack.objective == "loss":
        assert loss is not None
        # The loss is a mean over the batch; the other objectives are sums.
        return lambda logits, targets: len(targets) * loss(logits, targets, weights)
    if attack.reweight != "balanced_softmax":
        return attack.objective
    return _Shifted(attack.objective, log_prior(samples_per_class.double()).float())


def class_budgets(samples_per_class: Tensor, share: float) -> Tensor:
    """Return RobustLT's factor on the radius of each class, (K,) float64.

    eps_c / eps = (1 - share) + share s_c / D with s_c = sqrt(ln(n_max / n_c)). D is the mean of s
    over images, so that the mean radius over images is eps. For equal counts the formula is 0 / 0,
    and the factors are 1.

    Source: RobustLT (CPB), zhang-lilin/RobustLT@2d63979.
    """
    counts = samples_per_class.double()
    spread = (counts.max() / counts).log().clamp_min(0).sqrt()
    mean = (counts * spread).sum() / counts.sum()
    relative = torch.where(mean > 0, spread / mean.clamp_min(1e-300), torch.ones_like(spread))
    return (1 - share) + share * relative


def _budgets(config: TrialConfig, samples_per_class: Tensor, epoch: int) -> Tensor | None:
    attack = config.attack
    if attack.class_budget == 0 and attack.class_budget_warmup == 0:
        return None
    length = attack.class_budget_warmup * config.optim.epochs
    growth = min(epoch / length, 1.0) if length > 0 else 1.0
    return (growth * class_budgets(samples_per_class, attack.class_budget)).float()
