"""`--smoke`: makes any space file so small that it runs at once on any machine."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ltat_tune.config.attack_names import with_steps
from ltat_tune.config.sections import DataConfig
from ltat_tune.config.sections.data import OWN_FILES
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.sources import is_available, open_source
from ltat_tune.errors import DataError
from ltat_tune.space.objective import attack_of
from ltat_tune.space.overrides import pin, untune
from ltat_tune.space.space import Space

_TRIALS, _EPOCHS, _STEPS, _WIDTH = 2, 2, 2, 8
_MOST_IMAGES, _MOST_RATIO, _VAL_IMAGES = 60, 10, 10
_MANY_CLASSES = {"cifar100": 12, "tiny_imagenet": 6}  # n_max; 60 would be thousands of images
_SIDE = 32  # pixels a side of a resized image folder
_LEAVE_OUT = ("data.root", "data.classes", "data.image_size", "data.counts", "data.indices")


def make_smoke(
    document: dict[str, Any], space: Space, overridden: Collection[str]
) -> tuple[dict[str, Any], str]:
    """Return the space file of a smoke run, and a sentence that describes it.

    The run has two trials of the first scenario, two epochs, few images, a small network and two
    attack steps. Everything else stays, above all what is tuned. Values set on the command line
    stay too, except a data set that is not on this machine: digits replace it.

    Args:
        document: the space file, every --set in place.
        space: the same, checked.
        overridden: paths that the command line set.
    """
    document = copy.deepcopy(document)
    for part in ("fixed", "scenarios", "objective", "searcher", "confirm", "resources"):
        document.setdefault(part, {})
    document["name"] = f"{space.name[:94]}-smoke"
    document["scenarios"] = {path: axis[:1] for path, axis in document["scenarios"].items()}
    if space.enumerated:
        document["start_from"] = [dict(point) for point in space.enumerated]
    config = space.config(space.scenarios[0], {})
    there = _is_there(config.data)
    pins = {
        **_training(config, space, overridden),
        **_images(config.data if there else DataConfig(), config.data),
    }
    for path, value in pins.items():
        if path not in overridden:
            _settle(document, path, value)
    if not there:
        _use_digits(document, config.data)
    _shrink_parts(document, space, overridden)
    images = "few images" if there else f"digits in place of {config.data.name}, which is missing"
    return document, (
        f"smoke: {document['searcher']['trials']} trials of the first scenario, "
        f"{_EPOCHS} epochs, {images}. It shows that the file runs. Its numbers mean nothing"
    )


def _is_there(data: DataConfig) -> bool:
    if data.name in OWN_FILES:
        return Path(os.path.expanduser(data.root or "")).exists()
    return is_available(data)


def _training(config: TrialConfig, space: Space, overridden: Collection[str]) -> dict[str, Any]:
    """Return paths and values of a short training of a small network."""
    objective = space.objective.attack
    judged = objective if objective != "clean" else config.evaluation.val_attack
    pins: dict[str, Any] = {
        "optim.epochs": _EPOCHS,
        "attack.steps": _STEPS,
        # an objective set with --set must be measured
        "evaluation.val_attack": judged
        if "objective.metric" in overridden
        else with_steps(judged, _STEPS),
        "evaluation.every_epochs": 1,
    }
    if config.trains_elsewhere:  # its network is what its weights are of
        return {path: pins[path] for path in ("optim.epochs", "evaluation.every_epochs")}
    warmup = space.tuned.get("optim.warmup_epochs")
    longest = max(warmup.choices or (warmup.high,)) if warmup else config.optim.warmup_epochs
    if longest >= _EPOCHS:
        pins["optim.warmup_epochs"] = _EPOCHS - 1
    late = "reweight.start_fraction"
    if late not in space.tuned and late not in space.scenarios[0].values:
        pins[late] = 0.5  # 0.8 of two epochs lies after the last one
    if "model.name" not in overridden:
        pins |= {"model.name": "small_cnn", "model.width": _WIDTH, "model.stem": "space_to_depth"}
    return pins


def _images(used: DataConfig, written: DataConfig) -> dict[str, Any]:
    """Return paths and values that leave some images to every class of the data set in use."""
    n_max, held_out = _MANY_CLASSES.get(used.name, _MOST_IMAGES), _VAL_IMAGES
    try:
        smallest = min(open_source(used).train_counts())
    except DataError:  # the checks that follow report it
        smallest = n_max + held_out
    held_out = max(1, min(held_out, n_max, written.val_per_class, smallest // 2))
    n_max = max(1, min(n_max, written.max_per_class or n_max, smallest - held_out))
    pins: dict[str, Any] = {
        "data.max_per_class": n_max,
        "data.imbalance_ratio": min(written.imbalance_ratio, _MOST_RATIO, n_max),
        "data.val_per_class": held_out,
    }
    if written.profile in ("given", "full"):
        pins["data.profile"] = "exp"
    if used.name in OWN_FILES:
        side = min(used.image_size or _SIDE, _SIDE)
        pins["data.image_size"] = side - side % 2  # space_to_depth takes pixels two by two
    return pins


def _settle(document: dict[str, Any], path: str, value: Any) -> None:
    """Pin a parameter, unless nothing would be left to search."""
    tried = copy.deepcopy(document)
    pin(tried, path, value)
    if tried["tuned"]:
        document.clear()
        document.update(tried)


def _use_digits(document: dict[str, Any], written: DataConfig) -> None:
    for path in _LEAVE_OUT:
        document["fixed"].pop(path, None)
        document["scenarios"].pop(path, None)
    pin(document, "data.name", "digits")
    if written.val_source in ("folder", "given"):
        pin(document, "data.val_source", "train")


def _shrink_parts(document: dict[str, Any], space: Space, overridden: Collection[str]) -> None:
    """Shrink the objective, searcher, scheduler, confirmation and resources for a smoke run."""
    objective = space.objective
    values: dict[str, Any] = {
        "objective.metric": _with_few_steps(objective.metric),
        "objective.also": [_with_few_steps(metric) for metric in objective.also],
        "objective.at_least": {},  # two epochs would keep no bound, and nothing could win
        "searcher.at_least": {},
        "confirm.top": 1,
        "confirm.seeds": list(space.confirm_seeds[:1]),
        "confirm.attacks": ["clean", f"pgd{_STEPS}"],
        "confirm.sentinel": False,  # a verdict on two epochs would mislead
        "resources.cpus_per_trial": 1,
        "resources.gpus_per_trial": 0,
    }
    document["scheduler"] = {"name": "none"}
    if space.searcher.enumerates:
        points = document["start_from"][:_TRIALS]
        document["start_from"] = points
        for path in sorted(set(document["tuned"]).difference(*points)):  # no point left
            if path in document["tuned"]:
                untune(document["tuned"], [], path, ())
        document["searcher"] |= {"name": "list", "trials": len(points)}
    else:
        values["searcher.trials"] = _TRIALS
    for path, value in values.items():
        part, _, key = path.partition(".")
        if path not in overridden:
            document[part][key] = value


def _with_few_steps(metric: str) -> str:
    attack = attack_of(metric)
    return metric.replace(attack, with_steps(attack, _STEPS), 1)
