"""A copy is a small version of its run: how every number of a configuration scales."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.trial_config import TrialConfig

# What does not count epochs or steps of the training, or is a share of the run already.
_STAYS = {
    "data.classes", "data.image_size", "data.counts", "data.imbalance_ratio", "data.max_per_class",
    "data.val_per_class", "data.policy_ops", "data.policy_magnitude", "data.crop_padding",
    "data.rotation", "model.width", "model.head_scale", "model.head_gamma",
    "model.inference_scale", "model.posthoc_tau", "method.separation_weight", "method.temperature",
    "method.tail_weight", "method.tail_kl_max", "method.beta", "method.bcl_weight",
    "method.hdl_weight", "method.rcel_weight", "method.start_fraction", "method.dafa_strength",
    "method.dafa_weight_min", "method.dafa_weight_max", "method.faal_radius",
    "method.cfa_radius_base", "method.cfa_kl_base", "method.cfa_smoothing", "method.fawa_span",
    "method.fawa_threshold", "method.wat_rate", "method.wat_weight_max",
    "method.distillation_weight", "method.clean_fraction",
    "method.awp_gamma", "method.awp_start_fraction", "loss.gamma", "loss.max_margin", "loss.scale",
    "loss.tau", "loss.base_margin", "loss.margin_tau", "loss.label_smoothing", "loss.etf_weight",
    "reweight.beta", "reweight.under_weight", "reweight.start_fraction", "attack.eps",
    "attack.step_size", "attack.steps", "attack.start_radius", "attack.class_budget",
    "attack.class_budget_warmup",
    "optim.batch_size", "optim.lr", "optim.momentum", "optim.weight_decay", "optim.milestones",
    "optim.lr_decay", "optim.lr_factors", "optim.step_fraction", "optim.clip_norm",
    "evaluation.eps", "evaluation.step_size", "evaluation.batch_size",
    "evaluation.ae_distance_images", "evaluation.aa_images", "seeds.seed", "seeds.subset_seed",
}  # fmt: skip
# Of a fifth of the run.
_SCALES: dict[str, Callable[[float], float]] = {
    "optim.epochs": lambda epochs: epochs / 5,
    "optim.warmup_epochs": lambda epochs: epochs / 5,
    "evaluation.every_epochs": lambda epochs: epochs / 5,
    "optim.ema_epochs": lambda epochs: epochs / 5,
    "optim.ema_decay": lambda decay: decay**5,  # as much forgotten in a fifth of the steps
}

FULL = TrialConfig.from_flat(
    {"optim.epochs": 200, "optim.warmup_epochs": 10, "optim.ema_decay": 0.995,
     "evaluation.every_epochs": 10, "method.awp_gamma": 0.01, "method.awp_start_fraction": 0.1,
     "attack.class_budget_warmup": 0.2, "attack.class_budget": 0.1, "method.name": "srat"}
)  # fmt: skip


def test_every_number_scales_as_the_table_says() -> None:
    """A new parameter fails here until the table says how it scales with a copy."""
    numbers = {path for path, p in PARAMETERS.items() if p.kind in ("int", "float", "list")}
    assert numbers == _STAYS | _SCALES.keys()
    short = FULL.shortened(40)
    for path in PARAMETERS:
        value = FULL.get(path)
        expected = _SCALES[path](value) if path in _SCALES else value
        assert short.get(path) == (pytest.approx(expected) if path in _SCALES else expected), path


def test_a_weight_average_spans_the_same_share_of_a_copy() -> None:
    # the weight of the first state after a run of T steps is decay ** T
    steps = 1000
    short = FULL.shortened(50)
    assert short.optim.ema_decay ** (steps / 4) == pytest.approx(FULL.optim.ema_decay**steps)
    assert FULL.replace({"optim.ema_decay": 0.0}).shortened(40).optim.ema_decay == 0.0
    assert FULL.shortened(200) is FULL


def test_what_counts_epochs_keeps_one_at_least() -> None:
    short = FULL.shortened(4)
    assert (short.optim.warmup_epochs, short.evaluation.every_epochs) == (1, 1)


def test_a_copy_that_is_validated_at_its_end_alone_stays_so() -> None:
    whole = FULL.replace({"evaluation.every_epochs": None})
    assert whole.shortened(40).evaluation.every_epochs is None
