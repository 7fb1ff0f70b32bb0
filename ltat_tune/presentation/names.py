"""Names of methods, losses, data and settings as the papers write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ltat_tune.config.attack_names import read_name
from ltat_tune.config.catalogue import (
    ATTACK_CHOICES,
    DATASET_CHOICES,
    LOSS_CHOICES,
    METHOD_CHOICES,
)
from ltat_tune.config.effects import why_inert
from ltat_tune.config.rules.fairness import FAIR_METHODS
from ltat_tune.config.sections import DataConfig
from ltat_tune.config.sections.data import OWN_FILES
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.presentation.value_phrases import setting

METHOD_SYMBOLS = {entry.name: entry.symbol or entry.name for entry in METHOD_CHOICES}
LOSS_NAMES = {entry.name: entry.symbol or entry.name for entry in LOSS_CHOICES} | {
    "cross_entropy": "CE", "focal": "Focal",
}  # fmt: skip
_DATA = {entry.name: entry.symbol or entry.name for entry in DATASET_CHOICES}
NORM_NAMES = {
    entry.name: entry.symbol for entry in ATTACK_CHOICES if entry.chosen_by == "attack.norm"
}
# A method's name does not repeat the loss that the method has in its paper.
_OWN_LOSS = {"reat": "balanced_softmax", "robal": "robal", "natural": "cross_entropy"}
AS_SAID = "script/as_it_says"  # metric: 1 in epochs whose validation number is the script's own
MANY_CLASSES = 20  # more are not listed one by one
_FAMILIES = {
    "clean": "clean", "fgsm": "FGSM", "square": "Square", "aa": "AutoAttack",
    "cwl2": "C&W (L2)", "cwl2_fixed": "C&W (L2, c = 1)", "adaptive": "adaptive PGD",
}  # fmt: skip


def method_name(config: TrialConfig) -> str:
    """Return a method's name with its loss: `REAT`, `PGD-AT (BSL)`, `SRAT-LDAM`, `script`."""
    if config.script.definition is not None:
        return "script"
    method, loss = config.method.name, config.loss.name
    if config.trains_elsewhere:
        return method
    name = "natural" if method == "natural" else METHOD_SYMBOLS.get(method, method)
    if method in FAIR_METHODS:
        name = f"{METHOD_SYMBOLS[config.method.base]} + {name}"
    if _OWN_LOSS.get(method) != loss:
        written = LOSS_NAMES.get(loss, loss)
        name = f"{name}-{written}" if method == "srat" else f"{name} ({written})"
    if why_inert(config, "method.teacher") is None:
        name += " + self-distillation (reconstruction)"
    return name


def training_words(config: TrialConfig) -> tuple[str, str]:
    """Return the method and the loss that train: keys, or that they are the user's own."""
    if config.script.definition is not None:
        return "script", "the script's own"
    if config.trains_elsewhere:
        return config.method.name, "the training function's own"
    return config.method.name, config.loss.name


def as_the_script_says(metrics: Mapping[str, float]) -> bool:
    """Return whether the validation number of an epoch is the script's own, not measured by us."""
    return metrics.get(AS_SAID) == 1


def script_note(config: TrialConfig) -> str:
    """Return which numbers of a script study are the script's own; empty without a script."""
    script = config.script.definition
    if script is None:
        return ""
    which = (
        "before the last epoch" if script.judge == "script"
        else "of an epoch whose weights could not be read or were not due for validation"
    )  # fmt: skip
    return (
        f"as the script says: a validation number {which} is the script's own, on its images and "
        "under its attack; all others were measured here"
    )


def set_name(data: DataConfig) -> str:
    """Return a data set's name: `CIFAR-10`, `SVHN`, or the name of the user's folder or file."""
    if data.name in OWN_FILES and data.root is not None:
        return Path(data.root).name
    return _DATA.get(data.name, data.name)


def data_name(data: DataConfig, samples_per_class: Sequence[int] = ()) -> str:
    """Return the data set and its profile: `CIFAR-10-LT (UR=50)`, `CIFAR-10 Step-100`.

    With the class counts, the name also has the ratio that they reach, if it is another one.
    """
    name, reached = set_name(data), reached_note(data, samples_per_class)
    if data.profile == "balanced":
        return name
    if data.profile == "exp":
        return f"{name}-LT (UR={data.imbalance_ratio:g}{f'; {reached}' if reached else ''})"
    if data.profile == "step":
        return f"{name} Step-{data.imbalance_ratio:g}{_in_brackets(reached)}"
    return f"{name} ({data.profile.replace('_', ', ')})"


def problem_name(data: DataConfig, samples_per_class: Sequence[int] = ()) -> str:
    """Return SRAT's name of the data: `CIFAR-10 Exp-100`, `CIFAR-10 (cat, horse) Step-100`.

    With the class counts, the name also has the ratio that they reach, if it is another one.
    """
    name = set_name(data)
    if data.classes is not None and len(data.classes) <= 3:
        name += f" ({', '.join(data.classes)})"
    if data.profile in ("exp", "step"):
        return f"{name} {_short_problem(data, samples_per_class)}"
    return name if data.profile == "balanced" else f"{name}, {data.profile.replace('_', ', ')}"


def _short_problem(data: DataConfig, samples_per_class: Sequence[int]) -> str:
    reached = _in_brackets(reached_note(data, samples_per_class))
    return f"{data.profile.capitalize()}-{data.imbalance_ratio:g}{reached}"


def problem_names(data: Sequence[tuple[DataConfig, Sequence[int]]]) -> str:
    """Return a name for several data sets, by imbalance ratio: `CIFAR-10 Step-5 to Step-100`.

    Args:
        data: each data set with its class counts, which may be empty.
    """
    by_ratio = sorted(data, key=lambda one: one[0].imbalance_ratio)
    names = {problem_name(*one): one for one in by_ratio}
    if len(names) < 3:
        return " and ".join(names)
    return f"{next(iter(names))} to {_short_problem(*list(names.values())[-1])}"


def reached_ratio(samples_per_class: Sequence[int]) -> float:
    """Return the imbalance ratio of class counts: the largest over the smallest."""
    return max(samples_per_class) / max(1, min(samples_per_class))


_UNTOLD = 0.02  # rounding to whole images


def reached_note(data: DataConfig, samples_per_class: Sequence[int]) -> str:
    """Return `53.33 reached` if class counts miss the requested ratio, else an empty text.

    Counts are whole numbers, so a tail of few images may miss it. A miss of less than 2 % is not
    told. Without counts, and for a profile that requests no ratio, the text is empty.
    """
    if not samples_per_class or data.profile not in ("exp", "step", "linear"):
        return ""
    reached = reached_ratio(samples_per_class)
    close = abs(reached / data.imbalance_ratio - 1) < _UNTOLD
    return "" if close else f"{reached:.4g} reached"


def ratio_in_words(data: DataConfig, samples_per_class: Sequence[int]) -> str:
    """Return the imbalance ratio: `50`, or `50 (53.33 reached)` if class counts miss it.

    A profile that requests no ratio has the one that its counts reach.
    """
    if samples_per_class and data.profile not in ("exp", "step", "linear"):
        return f"{reached_ratio(samples_per_class):.4g}"
    return f"{data.imbalance_ratio:g}{_in_brackets(reached_note(data, samples_per_class))}"


def _in_brackets(note: str) -> str:
    return f" ({note})" if note else ""


def images_in_words(samples_per_class: Sequence[int], classes: Sequence[str] | None) -> str:
    """Return the sum of class counts, their ratio, and the counts as `counts_in_words` does."""
    return (
        f"{sum(samples_per_class)} training images, imbalance ratio "
        f"{reached_ratio(samples_per_class):.4g}, by class: "
        f"{counts_in_words(samples_per_class, classes)}"
    )


def counts_in_words(samples_per_class: Sequence[int], classes: Sequence[str] | None) -> str:
    """Return class counts by name: `cat (480), dog (9)`; of many classes the ends alone.

    Args:
        samples_per_class: images of every class, (K,).
        classes: their names, (K,); None or empty if they are unknown.
    """
    if not classes:
        return ", ".join(map(str, samples_per_class))
    named = [f"{name} ({n})" for name, n in zip(classes, samples_per_class, strict=True)]
    if len(named) <= MANY_CLASSES:
        return ", ".join(named)
    order = sorted(range(len(named)), key=lambda c: -samples_per_class[c])
    return f"from {named[order[0]]} to {named[order[-1]]}, {len(named)} classes"


def row_name(config: TrialConfig) -> str:
    """Return a configuration's name in SRAT's tables: CE, CB-Reweight, DRCB-LDAM, SRAT-Focal.

    Source: SRAT 5.1. CB has class weights from the first epoch on, DRCB later.
    """
    loss = LOSS_NAMES.get(config.loss.name, config.loss.name)
    if config.method.name != "pgd_at":
        return method_name(config)
    if config.reweight.name == "none":
        return loss
    if config.reweight.schedule == "deferred":
        return f"DRCB-{loss}"
    return "CB-Reweight" if loss == "CE" else f"CB-{loss}"


def attack_name(attack: str) -> str:
    """Return an attack's printed name: `PGD-20`, `PGD-20 (5 starts)`, `AutoAttack`, `clean`."""
    parts = read_name(attack)
    if parts is None:
        return attack
    name = _FAMILIES.get(parts.family, parts.family.upper())
    steps = f"-{parts.steps}" if parts.steps else ""
    return f"{name}{steps}" + (f" ({parts.restarts} starts)" if parts.restarts > 1 else "")


def labels(configs: Sequence[TrialConfig]) -> list[str]:
    """Return a name for each configuration. Equal names get the settings in which they differ."""
    names = [method_name(config) for config in configs]
    for name in {n for n in names if names.count(n) > 1}:
        alike = [i for i, n in enumerate(names) if n == name]
        for i, settings in zip(alike, _differences([configs[i] for i in alike]), strict=True):
            names[i] = ", ".join((name, *settings))
    return names


def _differences(configs: Sequence[TrialConfig]) -> list[list[str]]:
    """Return differing settings of each configuration until all are distinct, by section."""
    flat = [config.flat() for config in configs]
    differing = [path for path in flat[0] if len({str(values[path]) for values in flat}) > 1]
    settings: list[list[str]] = [[] for _ in configs]
    for path in differing:
        acting = [why_inert(config, path) is None for config in configs]
        if not any(acting) or path == "seeds.seed":
            continue
        texts = [setting(path, values[path]) for values in flat]
        shown = [text if acts else "" for text, acts in zip(texts, acting, strict=True)]
        for place, text in enumerate(shown):
            settings[place] += [text] if text else []
        if len({tuple(texts) for texts in settings}) == len(configs):
            break
    return settings
