"""The epochs at which class weights, stages, class state, AWP and rate drops begin.

And those that are validated.
"""

from __future__ import annotations

from ltat_tune.config.sections import OptimConfig
from ltat_tune.config.values import ConfigValues


def deferral_epoch(config: ConfigValues) -> int:
    """Return the first epoch, from 0, with class weights: 160 for 0.8 of 200 (SRAT 5.1)."""
    if config.reweight.name == "none" or config.reweight.schedule == "immediate":
        return 0
    return round(config.reweight.start_fraction * config.optim.epochs)


def clean_epochs(config: ConfigValues) -> int:
    """Return the number of clean epochs before TAET's adversarial stage; 0 for other methods."""
    if config.method.name != "taet":
        return 0
    return round(config.method.clean_fraction * config.optim.epochs)


def awp_epoch(config: ConfigValues) -> int:
    """Return the first epoch, counted from 0, with weight perturbation; 0 if there is none."""
    if config.method.awp_gamma == 0:
        return 0
    return round(config.method.awp_start_fraction * config.optim.epochs)


def class_state_epoch(config: ConfigValues) -> int:
    """Return the first epoch, from 0, in which DAFA's, CFA's or WAT's classes differ; else 0.

    It is at least 1, because nothing is known of the classes before.
    """
    if config.method.name == "wat":
        return 1
    if config.method.name not in ("dafa", "cfa"):
        return 0
    return max(1, round(config.method.start_fraction * config.optim.epochs))


def drop_epochs(config: OptimConfig) -> list[int]:
    """Return the epochs, counted from 0, at which the rate drops; empty for smooth schedules."""
    if config.lr_schedule == "step":
        length = max(1, round(config.step_fraction * config.epochs))
        return list(range(length, config.epochs, length))
    if config.lr_schedule not in ("multistep", "piecewise", "robal_release"):
        return []
    # RoBal's release counts epochs from 1.
    first = 1 if config.lr_schedule == "robal_release" else 0
    return [round(fraction * config.epochs) - first for fraction in config.milestones]


def is_validated(config: ConfigValues, epoch: int) -> bool:
    """Return whether an epoch, from 1, is validated, whatever a study needs besides."""
    every, last = config.evaluation.every_epochs, config.optim.epochs
    return epoch == last or (every is not None and epoch % every == 0)
