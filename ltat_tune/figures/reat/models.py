"""The models that REAT's figures compare."""

from __future__ import annotations

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.figures.choice import Wanted


def _is_balanced(config: TrialConfig) -> bool:
    data = config.data
    return data.profile.startswith("balanced") or (
        data.profile in ("exp", "step", "linear") and data.imbalance_ratio == 1
    )


def _pgd_at(config: TrialConfig) -> bool:
    return config.method.name == "pgd_at" and config.attack.reweight == "none"


BALANCED = Wanted("PGD-AT, balanced", lambda c: _pgd_at(c) and _is_balanced(c))
LONG_TAILED = Wanted(
    "PGD-AT, long-tailed",
    lambda c: _pgd_at(c) and not _is_balanced(c) and c.loss.name == "cross_entropy",
)
PGD_AT_BSL = Wanted(
    "PGD-AT (BSL)",
    lambda c: _pgd_at(c) and not _is_balanced(c) and c.loss.name == "balanced_softmax",
)
ROBAL = Wanted("RoBal", lambda c: c.method.name == "robal" and not _is_balanced(c))
REAT_MODEL = Wanted("REAT", lambda c: c.method.name == "reat" and not _is_balanced(c))
WITHOUT_RBL = Wanted(
    "without RBL",
    lambda c: not _is_balanced(c) and c.attack.reweight == "none" and c.method.name == "pgd_at",
)
WITH_RBL = Wanted("with RBL", lambda c: not _is_balanced(c) and c.attack.reweight == "rbl")
