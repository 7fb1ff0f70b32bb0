"""Phrases for parameter values in pictures: `λ = 2`, `weight 10 on under-represented classes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.scalars import pixels

# {} is the value. A parameter that is not listed appears by its symbol, or else by the last part
# of its path.
_PHRASES: dict[str, str] = {
    "data.imbalance_ratio": "imbalance ratio {}",
    "data.max_per_class": "at most {} images a class",
    "data.val_per_class": "{} validation images a class",
    "data.policy": "policy {}",
    "data.policy_ops": "RandAugment N = {}",
    "data.policy_magnitude": "RandAugment M = {}",
    "data.rotation": "rotation up to {}°",
    "method.tail_weight": "TAIL weight {}",
    "method.tail_variant": "TAIL {}",
    "method.tail_kl_max": "KL up to {} nats",
    "method.separation_features": "{} features separated",
    "method.clean_fraction": "clean for {} of the epochs",
    "method.awp_start_fraction": "AWP after {} of the epochs",
    "method.base": "around {}",
    "method.teacher": "teacher {}",
    "method.start_fraction": "classes differ after {} of the epochs",
    "method.dafa_weight_min": "DAFA weights from {}",
    "method.dafa_weight_max": "DAFA weights up to {}",
    "method.fawa_span": "FAWA over {} of the epochs",
    "method.fawa_threshold": "FAWA from a recall of {}",
    "method.cfa_smoothing": "recalls smoothed by {}",
    "method.wat_weight_max": "WAT weights up to {}",
    "reweight.beta": "class-weight β = {}",
    "reweight.under_weight": "weight {} on under-represented classes",
    "reweight.start_fraction": "class weights after {} of the epochs",
    "attack.eps": "training ε = {}",
    "attack.step_size": "training step α = {}",
    "attack.steps": "training PGD-{}",
    "attack.bn_mode": "BatchNorm in {} mode in the attack",
    "attack.class_budget": "class budget α = {}",
    "attack.class_budget_warmup": "radius grows for {} of the epochs",
    "loss.gamma": "focal γ = {}",
    "loss.focal_weight": "class weights {} the focal term",
    "loss.max_margin": "largest margin {}",
    "loss.scale": "loss scale {}",
    "model.width": "width {}",
    "model.head": "{} head",
    "model.head_gamma": "head γ = {}",
    "model.inference_scale": "logits × {} when measured",
    "optim.epochs": "{} epochs",
    "optim.batch_size": "batch {}",
    "optim.lr": "learning rate {}",
    "optim.lr_schedule": "{} schedule",
    "optim.lr_decay": "rate falls to × {}",
    "optim.warmup_epochs": "{} epochs of warm-up",
    "attack.start_radius": "start in {} ε",
    "optim.ema_decay": "EMA decay {}",
    "optim.ema_epochs": "EMA over {} epochs",
    "optim.clip_norm": "gradient norm up to {}",
    "seeds.subset_seed": "subset {}",
}
# Whole phrases for single values.
_CHOICES: dict[str, Mapping[Any, str]] = {
    "data.augmentation": {
        "none": "no augmentation", "crop": "crops", "crop_flip": "crops and flips",
    },
    "data.base": {"min_class": "largest count of the smallest class",
                  "per_class": "each class's own largest count"},
    "data.max_per_class": {None: "all images of a class"},
    "data.policy": {"none": "no policy", "randaugment": "RandAugment",
                    "autoaugment": "AutoAugment"},
    "data.val_source": {"train": "held-out validation", "folder": "validation folder",
                        "given": "given validation images",
                        "test": "validated on the test images"},
    "method.awp_gamma": {0.0: "no AWP"},
    "method.base": {"pgd_at": "around PGD-AT", "trades": "around TRADES", "mart": "around MART"},
    "method.cfa_larger_radius": {"easy": "larger radius for easy classes",
                                 "hard": "larger radius for hard classes"},
    "method.faal_coefficients": {"class_means": "FAAL of class means",
                                 "released": "FAAL as released"},
    "method.fawa_span": {0.0: "no FAWA"},
    "method.fawa_guard": {"worst": "FAWA by the worst class", "balanced": "FAWA by balanced "
                          "accuracy"},
    "method.extra_forwards": {
        "none": "no extra forwards", "clean_before": "clean forward before the attack",
        "adv_clean_before": "AE and clean forwards before the loss",
        "adv_clean_after": "AE and clean forwards after the update",
    },
    "method.tail_detach_anchor": {True: "anchor fixed in TAIL", False: "anchor moves in TAIL"},
    "method.tail_set": {"paper": "tail classes as in the paper",
                        "released": "tail classes as released"},
    "method.tail_variant": {"bounded": "TAIL bounded", "paper": "TAIL as in the paper",
                            "released": "TAIL as released"},
    "loss.etf_weight": {0.0: "no ETF penalty"},
    "loss.label_smoothing": {0.0: "no label smoothing"},
    "reweight.name": {
        "none": "no class weights", "class_balanced": "class-balanced weights",
        "inverse": "weights 1/n", "inverse_sqrt": "weights 1/√n",
        "under_represented": "weighted under-represented classes",
    },
    "reweight.beta": {None: "class-weight β = (N − 1)/N"},
    "reweight.schedule": {"immediate": "weights from the start", "deferred": "deferred weights"},
    "attack.class_budget": {0.0: "no class budgets"},
    "attack.class_budget_warmup": {0.0: "full radius from the start"},
    "attack.norm": {"linf": "trained in L∞", "l2": "trained in L2"},
    "attack.objective": {"cross_entropy": "attack on CE", "margin": "attack on the margin",
                         "kl": "attack on KL", "loss": "attack on the training loss"},
    "attack.reweight": {
        "none": "unweighted attack", "inverse": "RW", "inverse_sqrt": "RWS",
        "class_balanced": "ENR", "balanced_softmax": "BRW", "rbl": "RBL",
    },
    "attack.start": {
        "none": "attack from the image", "uniform": "uniform start",
        "uniform_clipped": "clipped uniform start", "one_sided": "one-sided start",
        "gaussian": "Gaussian start",
    },
    "compute.deterministic": {"auto": "deterministic", "off": "not deterministic"},
    "compute.float32": {"exact": "exact float32", "tf32": "TF32"},
    "compute.graphs": {"auto": "CUDA graphs", "off": "no CUDA graphs"},
    "compute.precision": {"auto": "the device's precision", "fp32": "float32",
                          "bf16": "bfloat16"},
    "evaluation.norm": {"linf": "measured in L∞", "l2": "measured in L2"},
    "model.name": {
        "small_cnn": "small CNN", "resnet18": "ResNet-18", "preact_resnet18": "PreAct-18",
        "wrn28_10": "WRN-28-10", "wrn34_10": "WRN-34-10",
    },
    "model.normalisation": {"none": "inputs not normalised", "data": "normalised inputs"},
    "model.stem": {"conv": "convolutional stem", "space_to_depth": "space-to-depth stem"},
    "model.width": {None: "published width"},
    "optim.clip_norm": {None: "gradients not clipped"},
    "attack.projection": {True: "projected into the ball", False: "not projected"},
    "optim.ema_decay": {0.0: "no EMA"},
    "optim.ema_epochs": {0.0: "no EMA by epochs"},
    "optim.ema_keep": {"average": "average kept", "better": "better of average and model kept"},
    "optim.ema_statistics": {"averaged": "averaged statistics",
                             "adversarial": "statistics of the average estimated again"},
    "optim.nesterov": {True: "Nesterov momentum", False: "plain momentum"},
}  # fmt: skip
_PIXELS = ("eps", "step_size")


def setting(path: str, value: Any) -> str:
    """Return the value of a parameter in words or with its symbol, for legends and titles."""
    phrases = _CHOICES.get(path, {})
    if not isinstance(value, list | tuple) and value in phrases:
        return phrases[value]
    leaf = path.rpartition(".")[2]
    if path in _PHRASES:
        return _PHRASES[path].format(_written(leaf, value))
    symbol = PARAMETERS[path].symbol.partition(",")[0]
    if symbol:
        return f"{_mathematical(symbol)} = {_written(leaf, value)}"
    return f"{leaf.replace('_', ' ')} {_written(leaf, value)}"


def _written(leaf: str, value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        near_one = 0.9 < value < 1  # 0.9999 must not become 1
        return pixels(value) if leaf in _PIXELS else f"{value:{'.6g' if near_one else '.3g'}}"
    if isinstance(value, tuple | list):
        return ", ".join(_written(leaf, part) for part in value)
    return value.replace("_", " ") if isinstance(value, str) else str(value)


def _mathematical(symbol: str) -> str:
    """Return a symbol such as `τ_b` with a subscript in mathtext."""
    base, _, index = symbol.partition("_")
    return f"{base}$_{{\\mathrm{{{index}}}}}$" if index else base
