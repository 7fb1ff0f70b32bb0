"""What is trained on the pretended GPU: every name of every registry, and what wraps a step."""

from __future__ import annotations

from ltat_tune.attacks.balls import BALLS, STARTS
from ltat_tune.attacks.objectives import OBJECTIVES
from ltat_tune.attacks.pgd import BN_MODES
from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.data.policies import POLICIES
from ltat_tune.losses import LOSSES
from ltat_tune.methods import METHODS
from ltat_tune.models import MODELS

Values = dict[str, object]


def _choices(path: str) -> tuple[str, ...]:
    """The names that a parameter may have."""
    return tuple(str(choice) for choice in PARAMETERS[path].choices or ())


_OF_METHOD: dict[str, Values] = {"robal": {"model.head": "cosine"}}
_OF_NORM: dict[str, Values] = {"l2": {"attack.eps": 0.5, "attack.step_size": 0.1}}
_SHORT: Values = {"optim.epochs": 1, "attack.steps": 1, "evaluation.val_attack": "pgd1"}
# Wide ResNets of one channel sum otherwise in a batch of another size, so their batches are alike.
_ALIKE: Values = {**_SHORT, "optim.batch_size": 19}
_OF_MODEL: dict[str, Values] = {
    "small_cnn": {"model.stem": "space_to_depth"}, "resnet18": _SHORT, "preact_resnet18": _SHORT,
    "wrn28_10": _ALIKE, "wrn34_10": _ALIKE,
}  # fmt: skip
_BATCH: Values = {"attack.bn_mode": "batch"}
_PGD: Values = {"method.name": "pgd_at"}

REGISTRIES: dict[str, Values] = {
    **{f"method {m}": {"method.name": m, **_OF_METHOD.get(m, {})} for m in METHODS},
    **{f"model {m}": {**_PGD, "model.name": m, **_OF_MODEL.get(m, {})} for m in MODELS},
    **{f"loss {name}": {**_PGD, "loss.name": name} for name in LOSSES},
    **{f"objective {name}": {"attack.objective": name} for name in (*OBJECTIVES, "loss")},
    **{f"bn_mode {name}": {"attack.bn_mode": name} for name in BN_MODES},
    **{f"norm {name}": {"attack.norm": name, **_OF_NORM.get(name, {})} for name in BALLS},
    **{f"start {name}": {"attack.start": name} for name in STARTS},
    **{f"policy {name}": {**_PGD, "data.policy": name} for name in POLICIES},
    **{f"attack.reweight {n}": {**_BATCH, "attack.reweight": n}
       for n in _choices("attack.reweight")},
    **{f"reweight {name}": {"method.name": "srat", "reweight.name": name}
       for name in _choices("reweight.name")},
}  # fmt: skip

WRAPPERS: dict[str, Values] = {
    "awp": {"method.awp_gamma": 0.01, "method.awp_start_fraction": 0.0},
    "awp with trades": {
        "method.name": "trades", "method.awp_gamma": 0.01, "method.awp_start_fraction": 0.0,
    },
    "etf": {**_PGD, "loss.etf_weight": 0.1},
    **{f"extra forwards {name}": {**_PGD, "method.extra_forwards": name}
       for name in _choices("method.extra_forwards")[1:]},
    "weight average, clipped gradients": {"optim.ema_decay": 0.9, "optim.clip_norm": 1.0},
    "better of average and weights": {
        **_PGD, "optim.ema_epochs": 0.5, "optim.ema_keep": "better",
        "optim.ema_statistics": "adversarial", "evaluation.every_epochs": 1,
    },
    "n-fgsm": {**_PGD, "attack.steps": 1, "attack.start": "uniform_clipped",
               "attack.start_radius": 2.0, "attack.projection": False},
    "class budgets": {**_PGD, "attack.class_budget": 0.3, "attack.class_budget_warmup": 0.8},
    "tail as released": {"method.tail_variant": "released", "method.tail_set": "released"},
    "loss with weights in the attack": {
        **_BATCH, "attack.objective": "loss", "attack.reweight": "inverse",
    },
    "cosine head, scaled": {
        **_PGD, "model.head": "cosine", "model.inference_scale": 10.0,
        "model.posthoc_tau": 1.0,
    },
    "dafa around pgd_at": {"method.name": "dafa", "method.base": "pgd_at"},
    "faal around mart": {"method.name": "faal", "method.base": "mart"},
    "faal as released": {"method.name": "faal", "method.faal_coefficients": "released"},
    "cfa around pgd_at with an average": {
        "method.name": "cfa", "method.base": "pgd_at", "method.fawa_span": 0.9,
        "method.fawa_threshold": 0.0, "attack.start": "uniform_clipped",
    },
    "rotation": {**_PGD, "data.rotation": 15.0},
    "normalised": {**_PGD, "model.normalisation": "data"},
    "distances": {**_PGD, "evaluation.ae_distance_images": 2},
    "best epoch": {**_PGD, "evaluation.select_epoch": "best", "evaluation.every_epochs": 1},
    "cw validates": {**_PGD, "evaluation.val_attack": "cw2"},
    "no momentum": {"optim.momentum": 0.0, "optim.lr_schedule": "cosine"},
}  # fmt: skip
