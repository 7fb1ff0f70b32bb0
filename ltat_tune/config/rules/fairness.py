"""The rules of DAFA, FAAL and CFA, which stand around another method, and of WAT."""

from __future__ import annotations

from ltat_tune.config.timeline import class_state_epoch
from ltat_tune.config.values import ConfigValues

FAIR_METHODS = ("dafa", "faal", "cfa")  # they stand around method.base


def weighs_classes(config: ConfigValues) -> bool:
    """Return whether the method itself puts class weights into the prediction loss."""
    method = config.method
    return method.name in ("dafa", "faal", "wat") or (
        method.name == "cfa" and method.base == "trades"
    )


def why_unknown(config: ConfigValues) -> str | None:
    """Return why what is known of the classes cannot act: the training ends before."""
    if class_state_epoch(config) < config.optim.epochs:
        return None
    if config.method.name == "wat":
        return "method.name wat weighs classes from the second epoch on, and optim.epochs is 1"
    return f"the training has {config.optim.epochs} epochs and method.start_fraction leaves none"


def fairness_problems(config: ConfigValues) -> list[str]:
    """Return a sentence for every rule of DAFA, FAAL, CFA and WAT that is broken."""
    method, attack, broken = config.method, config.attack, []
    if method.name not in FAIR_METHODS:
        if method.base != "pgd_at":
            broken.append(
                f"method.base {method.base} is read by dafa, faal and cfa alone, and method.name "
                f"is {method.name}; leave it out, or tune it with when: {{method.name: ...}}"
            )
        if method.name != "wat":
            return broken
    name = f"method.name {method.name}"
    if method.base == "mart" and method.name in ("dafa", "cfa"):
        broken.append(
            f"{name} is defined around TRADES and PGD-AT, so method.base must be trades or "
            "pgd_at, got mart; faal takes mart"
        )
    if config.reweight.name != "none":
        broken.append(
            f"{name} weighs classes by itself, so reweight.name must be none, "
            f"got {config.reweight.name}"
        )
    of_plugin = any(part.chosen_by == "loss.name" for part in config.parts)
    if config.loss.name == "effective_number" or of_plugin:
        broken.append(
            f"{name} weighs the loss of each image, so loss.name must be one of ltat-tune's own "
            f"without class weights of its own, got {config.loss.name}"
        )
    has_radii = method.name in ("dafa", "cfa")
    if has_radii and (attack.class_budget > 0 or attack.class_budget_warmup > 0):
        broken.append(
            f"{name} gives each class a radius, so attack.class_budget and "
            "attack.class_budget_warmup must be 0: the two may move the radius of a class in "
            f"opposite directions, got {attack.class_budget:g} and {attack.class_budget_warmup:g}"
        )
    optim = config.optim
    if method.name == "cfa" and method.fawa_span > 0 and optim.averages:
        given = "ema_decay" if optim.ema_decay > 0 else "ema_epochs"
        broken.append(
            f"method.fawa_span averages the weights by epoch, so optim.{given} must be 0, got "
            f"{getattr(optim, given):g}"
        )
    return broken
