"""Which parameters act, and from which epoch: so that nobody tunes an unconnected knob."""

from __future__ import annotations

from collections.abc import Callable

from ltat_tune.config import OptimConfig, TrialConfig

_Rule = Callable[[TrialConfig], str | None]


def _needs(path: str, *values: str) -> _Rule:
    """The parameter acts only while `path` has one of these values."""

    def rule(config: TrialConfig) -> str | None:
        value = config.get(path)
        return (
            None
            if value in values
            else f"{path} is {value}, and only {' or '.join(values)} reads it"
        )

    return rule


def _not(path: str, *values: str) -> _Rule:
    """The parameter acts unless `path` has one of these values."""

    def rule(config: TrialConfig) -> str | None:
        value = config.get(path)
        return f"{path} is {value}" if value in values else None

    return rule


def _all(*rules: _Rule) -> _Rule:
    def rule(config: TrialConfig) -> str | None:
        return next((reason for check in rules if (reason := check(config)) is not None), None)

    return rule


def _separates(config: TrialConfig) -> str | None:
    return "method.separation_weight is 0" if config.method.separation_weight == 0 else None


def _imbalanced(config: TrialConfig) -> str | None:
    """Equal counts give equal class weights, and equal margins and priors."""
    if config.data.profile == "balanced":
        return "data.profile is balanced, so all classes weigh the same"
    if config.data.profile != "full" and config.data.imbalance_ratio == 1:
        return "data.imbalance_ratio is 1, so all classes weigh the same"
    return None


def _class_weights(config: TrialConfig) -> str | None:
    """A given weight for the rarer half acts on equal counts too: ties go to the later classes."""
    return None if config.reweight.name == "under_represented" else _imbalanced(config)


def _deferred(config: TrialConfig) -> str | None:
    return None if config.reweight.schedule == "deferred" else "reweight.schedule is immediate"


def _attack_moves(config: TrialConfig) -> str | None:
    return "attack.steps is 0" if config.attack.steps == 0 else None


def _drops(config: TrialConfig) -> str | None:
    return None if config.optim.milestones else "optim.milestones is empty"


def _attack_eps(config: TrialConfig) -> str | None:
    """Without `evaluation.eps` it is the radius of the evaluation too."""
    reason = _attacks(config)
    if reason is not None and config.evaluation.eps is not None:
        return f"{reason} and evaluation.eps is given"
    return None


_srat = _needs("method.name", "srat")
_adversarial = _not("method.name", "natural")
_attacks = _all(_adversarial, _attack_moves)
_reweights = _not("reweight.name", "none")

_RULES: dict[str, _Rule] = {
    "data.root": _needs("data.name", "image_folder"),
    "data.image_size": _needs("data.name", "image_folder"),
    "data.imbalance_ratio": _needs("data.profile", "exp", "step"),
    "data.max_per_class": _not("data.profile", "full"),
    "data.val_per_class": _needs("data.val_source", "train"),
    "data.crop_padding": _not("data.augmentation", "none"),
    "model.stem": _needs("model.name", "small_cnn"),
    "method.separation_weight": _srat,
    "method.temperature": _all(_srat, _separates),
    "method.separation_features": _all(_srat, _separates),
    "loss.gamma": _needs("loss.name", "focal"),
    "loss.max_margin": _needs("loss.name", "ldam"),
    "loss.scale": _needs("loss.name", "ldam"),
    "loss.tau": _all(_needs("loss.name", "balanced_softmax"), _imbalanced),
    "reweight.name": _class_weights,
    "reweight.beta": _all(_needs("reweight.name", "class_balanced"), _imbalanced),
    "reweight.under_weight": _needs("reweight.name", "under_represented"),
    "reweight.schedule": _reweights,
    "reweight.start_fraction": _all(_reweights, _deferred),
    "attack.eps": _attack_eps,
    "attack.step_size": _attacks,
    "attack.steps": _adversarial,
    "attack.start": _attacks,
    "attack.bn_mode": _attacks,
    "optim.nesterov": lambda c: "optim.momentum is 0" if c.optim.momentum == 0 else None,
    "optim.milestones": _needs("optim.lr_schedule", "multistep"),
    "optim.lr_decay": _all(_needs("optim.lr_schedule", "multistep"), _drops),
}


def why_inert(config: TrialConfig, path: str) -> str | None:
    """The reason why `path` cannot change this configuration's result, or None if it can."""
    rule = _RULES.get(path)
    return rule(config) if rule is not None else None


def acts_from_epoch(config: TrialConfig, path: str) -> int:
    """The first epoch, counted from 0, in which `path` changes the training (DESIGN section 9)."""
    from ltat_tune.parameters import PARAMETERS

    if PARAMETERS[path].acts_from == "deferral" and config.reweight.schedule == "deferred":
        return deferral_epoch(config)
    return 0


def deferral_epoch(config: TrialConfig) -> int:
    """The first epoch, counted from 0, with class weights: 160 for 0.8 of 200 (SRAT 5.1)."""
    if config.reweight.name == "none" or config.reweight.schedule == "immediate":
        return 0
    return round(config.reweight.start_fraction * config.optim.epochs)


def drop_epochs(config: OptimConfig) -> list[int]:
    """Epochs, counted from 0, at which a multistep rate falls; empty for the other schedules."""
    if config.lr_schedule != "multistep":
        return []
    return [round(fraction * config.epochs) for fraction in config.milestones]
