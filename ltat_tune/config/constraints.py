"""The rules between parameters. `TrialConfig` refuses values that contradict each other."""

from __future__ import annotations

from ltat_tune.config.rules.fairness import fairness_problems
from ltat_tune.config.sections.data import OWN_FILES
from ltat_tune.config.values import ConfigValues


def problems(config: ConfigValues) -> list[str]:
    """Return a sentence for every rule that the configuration breaks, each with a remedy."""
    return [
        *_of_data(config), *_of_training(config), *_of_parts(config), *fairness_problems(config),
    ]  # fmt: skip


def _of_data(config: ConfigValues) -> list[str]:
    data, broken = config.data, []
    if data.name in OWN_FILES and not data.root:
        what = OWN_FILES[data.name]
        broken.append(f"data.root must name the {what} when data.name is {data.name}")
    if data.indices is not None and not data.indices:
        broken.append("data.indices must name train, val or test, such as {train: a.npy}, got {}")
    classes = data.classes
    if classes is not None and (len(set(classes)) != len(classes) or len(classes) < 2):
        broken.append(f"data.classes must be two or more different names, got {list(classes)}")
    if data.profile == "given" and data.counts is None:
        broken.append("data.counts must list the images of every class when data.profile is given")
    if data.counts is not None and (len(data.counts) < 2 or min(data.counts) < 1):
        broken.append(
            f"data.counts must be two or more numbers of at least 1, got {list(data.counts)}"
        )
    if data.val_source == "folder" and data.name != "image_folder":
        broken.append(
            f"data.val_source folder reads the val/ of an image_folder, but data.name is "
            f"{data.name}; use train"
        )
    if data.val_source != "given" and "val" in (data.indices or {}):
        broken.append(
            "data.indices names val, so data.val_source must be given, got " + data.val_source
        )
    return broken


def _of_training(config: ConfigValues) -> list[str]:
    optim, attack, broken = config.optim, config.attack, []
    if optim.warmup_epochs >= optim.epochs:
        broken.append(
            f"optim.warmup_epochs must be below optim.epochs ({optim.epochs}), "
            f"got {optim.warmup_epochs}"
        )
    if optim.lr_schedule == "piecewise" and len(optim.lr_factors) != len(optim.milestones):
        broken.append(
            f"optim.lr_factors must hold one factor for each of the {len(optim.milestones)} "
            f"optim.milestones, got {len(optim.lr_factors)}"
        )
    measured = config.evaluation
    if measured.every_epochs is None and measured.select_epoch != "last":
        broken.append(
            f"evaluation.select_epoch {measured.select_epoch} compares the scores of many epochs, "
            "so evaluation.every_epochs must be a number, got null; use 1, or select_epoch last"
        )
    if measured.norm not in (None, attack.norm) and measured.eps is None:
        broken.append(
            f"evaluation.norm is {measured.norm} and attack.norm is {attack.norm}, so "
            "evaluation.eps must be given: a radius in one norm means nothing in the other"
        )
    for path, value, norm in (
        ("attack.eps", attack.eps, attack.norm),
        ("attack.step_size", attack.step_size, attack.norm),
        ("evaluation.eps", measured.eps or 0.0, config.measured_norm),
        ("evaluation.step_size", measured.step_size or 0.0, config.measured_norm),
    ):
        if norm == "linf" and value > 1:
            broken.append(
                f"{path} must be <= 1 in the norm linf, because images are in [0, 1], "
                f"got {value:g}; did you mean {value:g}/255, or the norm l2?"
            )
    return broken


def _of_parts(config: ConfigValues) -> list[str]:
    """Return the rules between methods, losses, class weights and heads that are broken."""
    method, loss, reweight, attack = config.method, config.loss, config.reweight, config.attack
    broken = []
    if config.model.head != "cosine" and method.name == "robal":
        broken.append(
            "method.name robal compares cosines, so model.head must be cosine, "
            f"got {config.model.head}"
        )
    elif config.model.head != "cosine" and loss.name == "robal":
        broken.append(
            "loss.name robal puts margins between cosines, so model.head must be cosine, "
            f"got {config.model.head}"
        )
    if loss.name == "effective_number" and reweight.name != "none":
        broken.append(
            "loss.name effective_number has class weights of its own, so reweight.name must be "
            f"none, got {reweight.name}; use cross_entropy to choose the weights"
        )
    if method.name == "taet":
        if loss.name != "cross_entropy":
            broken.append(
                "method.name taet builds its loss from the cross-entropy of each class, so "
                f"loss.name must be cross_entropy, got {loss.name}"
            )
        if reweight.name != "none":
            broken.append(
                "method.name taet weighs classes by itself, so reweight.name must be none, "
                f"got {reweight.name}"
            )
    if attack.reweight == "balanced_softmax" and attack.objective in ("kl", "loss"):
        broken.append(
            "attack.reweight balanced_softmax shifts the logits of the cross-entropy or margin "
            f"objective, and attack.objective is {attack.objective}"
        )
    return broken
