"""Decides which parameters act, and from which epoch, so that nobody tunes one without effect."""

from __future__ import annotations

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.rules.fairness import FAIR_METHODS, weighs_classes, why_unknown
from ltat_tune.config.rules.makers import (
    ActsRule,
    needs_above_zero,
    needs_all,
    needs_none_of,
    needs_null,
    needs_one_of,
)
from ltat_tune.config.sections.data import OWN_FILES
from ltat_tune.config.sections.script import ScriptSpec
from ltat_tune.config.timeline import (
    awp_epoch,
    class_state_epoch,
    clean_epochs,
    deferral_epoch,
    drop_epochs,
)
from ltat_tune.config.values import ConfigValues


def _imbalanced(config: ConfigValues) -> str | None:
    """Return a reason if all classes have equal counts: then weights, margins and priors agree."""
    data = config.data
    if data.profile in ("balanced", "balanced_small"):
        return f"data.profile is {data.profile}, so all classes weigh the same"
    if data.profile == "given" and len(set(data.counts or ())) == 1:
        return "data.counts are all equal, so all classes weigh the same"
    alike = data.base == "min_class" or data.max_per_class is not None
    if data.profile in ("exp", "step", "linear") and data.imbalance_ratio == 1 and alike:
        return "data.imbalance_ratio is 1, so all classes weigh the same"
    return None


def _class_weights(config: ConfigValues) -> str | None:
    """Return why class weights cannot act. On equal counts, `under_represented` still acts."""
    return None if config.reweight.name == "under_represented" else _imbalanced(config)


def _effective_numbers(config: ConfigValues) -> str | None:
    """Return why `reweight.beta` cannot act. Class weights, one loss and the attack read it."""
    if (
        config.reweight.name == "class_balanced"
        or config.loss.name == "effective_number"
        or _attack_beta(config)
    ):
        return _imbalanced(config)
    return "nothing reads it: reweight.name is not class_balanced, loss.name not effective_number"


def _attack_beta(config: ConfigValues) -> bool:
    return (
        config.attack.reweight == "class_balanced"
        and _attacks(config) is None
        and _attack_weights(config) is None
    )


def _attack_weights(config: ConfigValues) -> str | None:
    """Return why class weights in the attack cannot act.

    With BatchNorm in eval mode a positive factor on an image's loss only scales its gradient.
    Neither the gradient's sign nor its direction changes, so no PGD step changes.
    """
    attack = config.attack
    if attack.bn_mode == "eval" and attack.reweight not in ("none", "balanced_softmax"):
        return (
            "attack.bn_mode is eval, where a positive class weight changes no PGD step; use "
            "attack.bn_mode train or batch"
        )
    # RBL weighs by predictions, which differ on equal counts too.
    return None if attack.reweight in ("none", "rbl") else _imbalanced(config)


def _raises_weighted_loss(config: ConfigValues) -> bool:
    """Return whether the attack raises the prediction loss with class weights in it."""
    attack = config.attack
    return (
        attack.objective == "loss"
        and attack.reweight != "none"
        and _attacks(config) is None
        and _attack_weights(config) is None
    )


def _some_class_weights(config: ConfigValues) -> str | None:
    if weighs_classes(config) or _raises_weighted_loss(config):
        return None
    return "reweight.name is none" if config.reweight.name == "none" else _class_weights(config)


def _deferred(config: ConfigValues) -> str | None:
    return None if config.reweight.schedule == "deferred" else "reweight.schedule is immediate"


def _adversarial(config: ConfigValues) -> str | None:
    if config.method.name == "natural":
        return "method.name is natural"
    if clean_epochs(config) >= config.optim.epochs:
        return "method.clean_fraction leaves no adversarial stage"
    return None


def _attack_moves(config: ConfigValues) -> str | None:
    return "attack.steps is 0" if config.attack.steps == 0 else None


def _attack_eps(config: ConfigValues) -> str | None:
    """Return why `attack.eps` cannot act. Without `evaluation.eps` the evaluation uses it too."""
    reason = _attacks(config)
    if reason is not None and config.evaluation.eps is not None:
        return f"{reason} and evaluation.eps is given"
    return None


def _drawn_in_ball(config: ConfigValues) -> str | None:
    start = config.attack.start
    return f"attack.start is {start}" if start in ("none", "gaussian") else None


def _averages(config: ConfigValues) -> str | None:
    return (
        None if config.optim.averages else "optim.ema_epochs and optim.ema_decay average nothing"
    )


_srat = needs_one_of("method.name", "srat")
_taet = needs_one_of("method.name", "taet")
_tail = needs_all(needs_one_of("method.name", "reat"), needs_above_zero("method.tail_weight"))
_separates = needs_all(_srat, needs_above_zero("method.separation_weight"))
_attacks = needs_all(_adversarial, _attack_moves)
_reweights = needs_none_of("reweight.name", "none")
_fair = needs_one_of("method.name", *FAIR_METHODS)
_dafa = needs_all(needs_one_of("method.name", "dafa"), why_unknown)
_dafa_weighs = needs_all(_dafa, needs_above_zero("method.dafa_strength"))
_faal = needs_one_of("method.name", "faal")
_cfa = needs_all(needs_one_of("method.name", "cfa"), why_unknown)
_wat = needs_all(needs_one_of("method.name", "wat"), why_unknown)
_fawa = needs_all(needs_one_of("method.name", "cfa"), needs_above_zero("method.fawa_span"))
_falling = needs_one_of("data.profile", "exp", "step", "linear", "balanced_small")
_cosine = needs_one_of("model.head", "cosine")
_margins = needs_one_of("loss.name", "robal")
_milestones = needs_one_of("optim.lr_schedule", "multistep", "piecewise", "robal_release")


def _no_teacher(config: ConfigValues) -> str | None:
    return "method.teacher names no file of weights" if config.method.teacher is None else None


def _falls(config: ConfigValues) -> str | None:
    if drop_epochs(config.optim):
        return None
    if config.optim.lr_schedule == "step":
        return "optim.step_fraction is so long that the learning rate never falls"
    return "optim.milestones is empty"


def _defined_elsewhere(config: ConfigValues) -> str | None:
    """Return `model.name NAME` if a library or a function of a plugin builds the network."""
    name = config.model.name
    return f"model.name {name}" if "/" in name or ":" in name else None


def _features(config: ConfigValues) -> str | None:
    if config.model.features is None:
        return "model.features is null"
    return None if _defined_elsewhere(config) else f"{config.model.name} names its own features"


def _resizes(config: ConfigValues) -> str | None:
    # an identity of 0.4.0 has it for the user's own files alone
    if config.data.name in OWN_FILES or config.data.image_size is not None:
        return None
    return "data.image_size is null"


_RULES: dict[str, ActsRule] = {
    "data.root": needs_one_of("data.name", *OWN_FILES),
    "data.image_size": _resizes,
    "data.indices": lambda c: None if c.data.indices else "data.indices is null",
    "data.counts": needs_one_of("data.profile", "given"),
    "data.imbalance_ratio": _falling,
    "data.max_per_class": needs_none_of("data.profile", "full", "given"),
    "data.base": needs_all(_falling, needs_null("data.max_per_class")),
    "data.rounding": _falling,
    "data.val_per_class": needs_one_of("data.val_source", "train"),
    "data.policy_ops": needs_one_of("data.policy", "randaugment"),
    "data.policy_magnitude": needs_one_of("data.policy", "randaugment"),
    "data.crop_padding": needs_none_of("data.augmentation", "none"),
    "model.width": lambda c: _defined_elsewhere(c) and f"{_defined_elsewhere(c)} reads no width",
    "model.stem": needs_one_of("model.name", "small_cnn"),
    "model.features": _features,
    "model.init": lambda c: "model.init is null" if c.model.init is None else None,
    "model.head_scale": _cosine,
    "model.head_gamma": _cosine,
    "model.posthoc_tau": _imbalanced,
    "method.separation_weight": _srat,
    "method.temperature": _separates,
    "method.separation_features": _separates,
    "method.tail_weight": needs_one_of("method.name", "reat"),
    "method.tail_variant": _tail,
    "method.tail_set": _tail,
    "method.tail_kl_max": needs_all(_tail, needs_one_of("method.tail_variant", "bounded")),
    "method.tail_detach_anchor": needs_all(
        _tail, needs_none_of("method.tail_variant", "released")
    ),
    "method.base": _fair,
    "method.start_fraction": needs_all(needs_one_of("method.name", "dafa", "cfa"), why_unknown),
    "method.dafa_strength": _dafa,
    "method.dafa_weight_min": _dafa_weighs,
    "method.dafa_weight_max": _dafa_weighs,
    "method.faal_radius": _faal,
    "method.faal_coefficients": needs_all(_faal, needs_above_zero("method.faal_radius")),
    "method.cfa_radius_base": needs_all(_cfa, _attack_moves),
    "method.cfa_larger_radius": needs_all(_cfa, _attack_moves),
    "method.cfa_kl_base": needs_all(_cfa, needs_one_of("method.base", "trades")),
    "method.cfa_smoothing": _cfa,
    "method.wat_rate": _wat,
    "method.wat_weight_max": needs_all(_wat, needs_above_zero("method.wat_rate")),
    "method.fawa_span": needs_one_of("method.name", "cfa"),
    "method.fawa_guard": _fawa,
    "method.fawa_threshold": _fawa,
    "method.beta": lambda c: (
        needs_one_of("method.base", "trades", "mart")(c)
        if c.method.name in FAIR_METHODS
        else needs_one_of("method.name", "trades", "mart", "robal", "wat")(c)
    ),
    "method.bcl_weight": needs_all(_taet, _adversarial),
    "method.hdl_weight": needs_all(_taet, _adversarial),
    "method.rcel_weight": needs_all(_taet, _adversarial),
    "method.clean_fraction": _taet,
    "method.teacher": lambda c: (
        _no_teacher(c) or needs_above_zero("method.distillation_weight")(c)
    ),
    "method.distillation_weight": lambda c: _no_teacher(c),
    "method.awp_start_fraction": needs_above_zero("method.awp_gamma"),
    "loss.gamma": needs_one_of("loss.name", "focal"),
    "loss.focal_weight": needs_all(needs_one_of("loss.name", "focal"), _some_class_weights),
    "loss.max_margin": needs_one_of("loss.name", "ldam"),
    "loss.scale": needs_one_of("loss.name", "ldam", "robal"),
    "loss.tau": needs_all(needs_one_of("loss.name", "balanced_softmax", "robal"), _imbalanced),
    "loss.base_margin": _margins,
    "loss.margin_tau": needs_all(_margins, _imbalanced),
    "reweight.name": _class_weights,
    "reweight.beta": _effective_numbers,
    "reweight.under_weight": needs_one_of("reweight.name", "under_represented"),
    "reweight.schedule": _reweights,
    "reweight.start_fraction": needs_all(_reweights, _deferred),
    "attack.eps": _attack_eps,
    "attack.step_size": _attacks,
    "attack.steps": _adversarial,
    "attack.start": _attacks,
    "attack.objective": _attacks,
    "attack.reweight": needs_all(_attacks, _attack_weights),
    "attack.bn_mode": _attacks,
    "attack.start_radius": needs_all(_attacks, _drawn_in_ball),
    "attack.projection": _attacks,
    "attack.class_budget": needs_all(_attacks, _imbalanced),
    "attack.class_budget_warmup": _attacks,
    "compute.precision": needs_none_of("compute.precision", "auto"),  # then the device decides
    "compute.graphs": lambda c: "a replayed attack runs the same kernels",
    "compute.float32": needs_none_of("compute.float32", "exact"),
    "compute.deterministic": lambda c: "it fixes only the order of sums",
    "optim.nesterov": lambda c: "optim.momentum is 0" if c.optim.momentum == 0 else None,
    "optim.ema_decay": lambda c: "optim.ema_epochs is given" if c.optim.ema_epochs else None,
    "optim.ema_keep": _averages,
    "optim.ema_statistics": _averages,
    "optim.milestones": _milestones,
    "optim.lr_decay": needs_all(
        needs_one_of("optim.lr_schedule", "multistep", "step", "robal_release"), _falls
    ),
    "optim.lr_factors": needs_one_of("optim.lr_schedule", "piecewise"),
    "optim.step_fraction": needs_one_of("optim.lr_schedule", "step"),
}


def add_rule(path: str, chosen_by: str, name: str) -> None:
    """Add the rule of a plugin's parameter: it acts only if its part is chosen."""
    _RULES[path] = needs_one_of(chosen_by, name)


def forget_rule(path: str) -> None:
    """Remove the rule of a plugin's parameter."""
    del _RULES[path]


def why_inert(config: ConfigValues, path: str) -> str | None:
    """Return why `path` cannot change this configuration's result, or None if it can."""
    if (script := config.script.definition) is not None:
        return _inert_beside_script(config, path, script)
    if path.startswith("script."):
        return "the space file has no script"
    for part in config.parts:
        if path in part.ignores:
            return f"{part.chosen_by} is {part.name}, which does not read it"
    rule = _RULES.get(path)
    return rule(config) if rule is not None else None


# what our own evaluation of a script's weights reads, whatever the command names
_MEASURES = ("data.", "model.", "evaluation.", "seeds.subset_seed", "optim.epochs", "compute.")
_BALL = {"attack.eps": "evaluation.eps", "attack.norm": "evaluation.norm"}


def _inert_beside_script(config: ConfigValues, path: str, script: ScriptSpec) -> str | None:
    """Return why `path` cannot change what the user's script trains and what is measured of it."""
    named = path in script.placeholders or bool(script.templates)
    if path == "script.definition" or named:
        return None
    if path in _BALL and config.get(_BALL[path]) is None:
        return None
    if not path.startswith(_MEASURES):
        return f"script.command does not name {{{path}}}"
    rule = _RULES.get(path)
    return rule(config) if rule is not None else None


def acts_from_epoch(config: ConfigValues, path: str) -> int:
    """Return the first epoch, counted from 0, in which `path` changes the training."""
    if config.trains_elsewhere:
        return 0  # only its author knows
    begins = {
        "start": 0,
        "deferral": deferral_epoch(config),
        "clean_stage": clean_epochs(config),
        "awp": awp_epoch(config),
        "class_state": class_state_epoch(config),
    }[PARAMETERS[path].acts_from]
    if path.startswith("attack."):
        return max(begins, clean_epochs(config))
    # The loss and the attack read it before any deferral.
    early = config.loss.name == "effective_number" or _attack_beta(config)
    if path == "reweight.beta" and early:
        return 0
    if path == "loss.focal_weight" and _raises_weighted_loss(config):
        return clean_epochs(config)
    return begins
