"""Training methods: what happens in one training step. Each module implements one paper.

May import `attacks`, `models`, `losses` and what stands below. Training imports it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from ltat_tune.attacks import TrainingAttack, build_attack, no_attack
from ltat_tune.attacks.replays import Recordings
from ltat_tune.config.timeline import awp_epoch, clean_epochs
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.losses import TailLoss, build_loss
from ltat_tune.methods.awp import AWP
from ltat_tune.methods.base import Method, PredictionLoss, StepOutput
from ltat_tune.methods.distillation import SelfDistillation
from ltat_tune.methods.etf import ETFPenalty
from ltat_tune.methods.extra_forwards import ExtraForwards
from ltat_tune.methods.fairness.class_state import ClassFactors, ClassState, class_factors
from ltat_tune.methods.fairness.class_weighted import (
    ClassWeighted,
    FactorsOf,
    fixed_factors,
    worst_factors,
)
from ltat_tune.methods.mart import MART
from ltat_tune.methods.natural import Natural
from ltat_tune.methods.pgd_at import PGDAT
from ltat_tune.methods.reat import REAT
from ltat_tune.methods.robal import RoBal
from ltat_tune.methods.srat import SRAT
from ltat_tune.methods.taet import TAET
from ltat_tune.methods.trades import TRADES

__all__ = [
    "AWP",
    "MART",
    "METHODS",
    "PGDAT",
    "REAT",
    "SRAT",
    "TAET",
    "TRADES",
    "ClassState",
    "ClassWeighted",
    "ETFPenalty",
    "ExtraForwards",
    "Method",
    "Natural",
    "RoBal",
    "SelfDistillation",
    "StepOutput",
    "build_method",
    "needs_projection",
]


MethodOf = Callable[[TrainingAttack], Method]


def _base(config: TrialConfig, loss: PredictionLoss) -> MethodOf:
    """Return the method that DAFA, FAAL and CFA stand around."""
    base, beta = config.method.base, config.method.beta
    if base == "pgd_at":
        return lambda attack: PGDAT(loss, attack)
    if base == "trades":
        return lambda attack: TRADES(loss, attack, beta=beta)
    return lambda attack: MART(loss, attack, beta=beta)


def _weighted(
    config: TrialConfig, loss: nn.Module, factors_of: FactorsOf, *, beta: float
) -> MethodOf:
    return partial(ClassWeighted, loss, base=config.method.base, beta=beta, factors_of=factors_of)


def _dafa(config: TrialConfig, counts: Tensor, loss: nn.Module, factors: ClassFactors) -> MethodOf:
    if factors.prediction is None:
        return _base(config, loss)
    of_batch = fixed_factors(factors.prediction, None)
    return _weighted(config, loss, of_batch, beta=config.method.beta)


def _faal(config: TrialConfig, counts: Tensor, loss: nn.Module, factors: ClassFactors) -> MethodOf:
    method = config.method
    if method.faal_radius == 0:
        return _base(config, loss)
    released = method.faal_coefficients == "released"
    of_batch = worst_factors(method.faal_radius, released=released)
    return _weighted(config, loss, of_batch, beta=method.beta)


def _cfa(config: TrialConfig, counts: Tensor, loss: nn.Module, factors: ClassFactors) -> MethodOf:
    if factors.prediction is None:
        return _base(config, loss)
    of_batch = fixed_factors(factors.prediction, factors.consistency)
    return _weighted(config, loss, of_batch, beta=1.0)  # the factors hold beta


def _wat(config: TrialConfig, counts: Tensor, loss: nn.Module, factors: ClassFactors) -> MethodOf:
    assert factors.prediction is not None, "WAT has factors in every epoch"
    of_batch = fixed_factors(factors.prediction, factors.consistency)
    beta = config.method.beta
    return partial(ClassWeighted, loss, base="trades", beta=beta, factors_of=of_batch, costs=True)


def _reat(
    config: TrialConfig, counts: Tensor, loss: PredictionLoss, factors: ClassFactors
) -> MethodOf:
    method = config.method
    tail = TailLoss(
        counts,
        variant=method.tail_variant,
        tail_set=method.tail_set,
        kl_max=method.tail_kl_max,
        detach_anchor=method.tail_detach_anchor,
    )
    return lambda attack: REAT(loss, attack, tail, tail_weight=method.tail_weight)


def _taet(
    config: TrialConfig, counts: Tensor, loss: PredictionLoss, factors: ClassFactors
) -> MethodOf:
    method = config.method
    weights = {"bcl": method.bcl_weight, "hdl": method.hdl_weight, "rcel": method.rcel_weight}
    smoothing = config.loss.label_smoothing
    return lambda attack: TAET(attack, weights=weights, label_smoothing=smoothing)


# (config, samples_per_class (K,), prediction loss, factors of the classes in this epoch)
# -> a function from an attack to the method
METHODS: dict[str, Callable[[TrialConfig, Tensor, nn.Module, ClassFactors], MethodOf]] = {
    "natural": lambda config, counts, loss, factors: lambda attack: Natural(loss),
    "pgd_at": lambda config, counts, loss, factors: lambda attack: PGDAT(loss, attack),
    "srat": lambda config, counts, loss, factors: (
        lambda attack: SRAT(
            loss,
            attack,
            separation_weight=config.method.separation_weight,
            temperature=config.method.temperature,
        )
    ),
    "reat": _reat,
    "robal": lambda config, counts, loss, factors: (
        lambda attack: RoBal(loss, attack, beta=config.method.beta)
    ),
    "trades": lambda config, counts, loss, factors: (
        lambda attack: TRADES(loss, attack, beta=config.method.beta)
    ),
    "mart": lambda config, counts, loss, factors: (
        lambda attack: MART(loss, attack, beta=config.method.beta)
    ),
    "taet": _taet,
    "dafa": _dafa,
    "faal": _faal,
    "cfa": _cfa,
    "wat": _wat,
}


def build_method(
    config: TrialConfig,
    samples_per_class: Tensor,
    *,
    epoch: int = 0,
    predicted: Tensor | None = None,
    classes: ClassState | None = None,
    teacher: nn.Module | None = None,
    recordings: Recordings | None = None,
) -> Method:
    """Build the method of one epoch, with its loss, its attack and the wrappers around it.

    A method keeps no state between epochs. Everything that depends on the epoch (RBL's weights,
    RobustLT's radius, TAET's stage, the start of AWP, the classes of DAFA, CFA and WAT) is decided
    here from the epoch, `predicted` and `classes`, so a resumed training needs no further state.

    Args:
        config: the trial.
        samples_per_class: training images per class, shape (K,), on the device that trains. The
            loss keeps its buffers on this device.
        epoch: counted from 0.
        predicted: last epoch's training images by predicted class, shape (K,); None in the first
            epoch.
        classes: what the epochs so far told of the classes; None is nothing, as in the first one.
        teacher: the network of `method.teacher`, frozen, on the device that trains.
        recordings: the training's recording of its attack, on a GPU; None records nothing.
    """
    method = config.method
    name = "natural" if epoch < clean_epochs(config) else method.name
    loss = build_loss(config.loss, samples_per_class, beta=config.reweight.beta)
    factors = class_factors(config, samples_per_class, classes or ClassState(), epoch)
    method_of = METHODS[name](config, samples_per_class, loss, factors)
    if config.loss.etf_weight > 0:
        method_of = _penalised(method_of, config.loss.etf_weight)
    if method.teacher is not None and method.distillation_weight > 0:
        assert teacher is not None, "the trainer loads method.teacher"
        method_of = _taught(method_of, teacher, method.distillation_weight)
    if method.awp_gamma > 0 and epoch >= awp_epoch(config):
        method_of = partial(AWP, method_of, gamma=method.awp_gamma)
    if method.extra_forwards != "none":
        method_of = partial(ExtraForwards, method_of, which=method.extra_forwards)
    if name == "natural":
        return method_of(no_attack)
    if 0 < epoch == clean_epochs(config):
        predicted = None  # the images of the previous epoch were clean
    return method_of(
        build_attack(
            config, samples_per_class, epoch=epoch, predicted=predicted, loss=loss,
            radii=factors.radius, recordings=recordings,
        )
    )  # fmt: skip


def _penalised(method_of: MethodOf, weight: float) -> MethodOf:
    return lambda attack: ETFPenalty(method_of(attack), weight=weight)


def _taught(method_of: MethodOf, teacher: nn.Module, weight: float) -> MethodOf:
    return lambda attack: SelfDistillation(method_of(attack), teacher, weight=weight)


def needs_projection(config: TrialConfig) -> bool:
    """Return whether the model must have a projection head. Only a trained head is built."""
    method = config.method
    return (
        method.name == "srat"
        and method.separation_weight > 0
        and method.separation_features == "projection"
    )
