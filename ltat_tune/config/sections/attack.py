"""`attack.*`: the attack that makes the adversarial training images."""

from __future__ import annotations

from typing import Literal

from ltat_tune.config.fields import Section, documented
from ltat_tune.config.scalars import Integer, Number


class AttackConfig(Section):
    """The PGD attack of the training. Lengths are in pixel units: images are in [0, 1]."""

    norm: Literal["linf", "l2"] = documented(
        "linf",
        "norm of the ball around each image; the evaluation uses it too by default",
        source="REAT Table 12",
    )
    eps: Number = documented(
        8 / 255,
        "radius of the ball around each image",
        symbol="ε",
        unit="pixels, 0 to 1",
        ge=0,
        le=100,
        also=("epsilon",),
        source="Madry2018Towards; REAT 5; SRAT 5.1; REAT Table 12 (l2)",
        instead=(("attack.norm", ("l2",), 1.0),),
    )
    step_size: Number = documented(
        2 / 255,
        "length of one step",
        symbol="α",
        unit="pixels, 0 to 1",
        gt=0,
        le=100,
        also=("alpha",),
        source="REAT 5; SRAT 5.1; REAT Table 12 (l2)",
        instead=(("attack.norm", ("l2",), 0.2),),
    )
    steps: Integer = documented(
        10, "number of PGD steps", ge=0, le=10000, also=("num_steps", "perturb_steps", "iters")
    )
    start: Literal["none", "uniform", "uniform_clipped", "one_sided", "gaussian"] = documented(
        "uniform",
        "start of the attack: the clean image (none), uniform noise in the ball (uniform; "
        "uniform_clipped clips to [0, 1] before the first gradient), noise in the positive part "
        "of the ball (one_sided), or 0.001 times normal noise (gaussian)",
        source="releases of REAT (uniform), SRAT (uniform_clipped), RoBal (one_sided), TRADES",
        also=("random_start",),
        instead=(
            ("method.name", ("trades", "mart", "taet", "wat"), "gaussian"),
            ("method.name", ("srat",), "uniform_clipped"),
            ("method.name", ("robal",), "one_sided"),
            ("method.name", ("cfa",), "uniform"),
            ("method.base", ("trades", "mart"), "gaussian"),
        ),
    )
    start_radius: Number = documented(
        1.0,
        "radius of the noise at the start; N-FGSM starts from twice the ball and does not project",
        symbol="k",
        unit="of attack.eps",
        gt=0,
        le=10,
        source="deJorge2022Make (N-FGSM), k = 2",
    )
    projection: bool = documented(
        True,
        "projection into the ball after each step; without it an image may move by start_radius "
        "times eps and by every step, as in N-FGSM: steps 1, step_size = eps, start "
        "uniform_clipped, start_radius 2, projection false",
        strict=True,
        source="deJorge2022Make (N-FGSM)",
    )
    objective: Literal["cross_entropy", "margin", "kl", "loss"] = documented(
        "cross_entropy",
        "quantity that the attack maximises: the cross-entropy of the label, the margin of "
        "Carlini and Wagner, the KL from the clean prediction (TRADES), or the method's own "
        "prediction loss (loss)",
        source="Madry2018Towards; Carlini2017Towards; Zhang2019Theoretically",
        instead=(("method.name", ("trades", "wat"), "kl"), ("method.base", ("trades",), "kl")),
    )
    reweight: Literal[
        "none", "inverse", "inverse_sqrt", "class_balanced", "balanced_softmax", "rbl"
    ] = documented(
        "none",
        "class weights in the attack's objective: 1/n (inverse, RW), 1/sqrt(n) (inverse_sqrt, "
        "RWS), the effective number (class_balanced, ENR), the log-prior on the logits "
        "(balanced_softmax, BRW), or the effective number of the last epoch's predictions (rbl, "
        "RBL). All but balanced_softmax act only with bn_mode train or batch: in eval mode a "
        "positive factor on an image's loss does not change its PGD step",
        source="REAT 4.1, Eq. 1-2, Table 2",
        also=("ae_weights",),
        instead=(("method.name", ("reat",), "rbl"),),
    )
    bn_mode: Literal["eval", "train", "batch"] = documented(
        "eval",
        "BatchNorm mode while the attack runs: eval; train, which also updates the running "
        "statistics; or batch, which normalises by the batch and updates nothing",
        source="releases of REAT (eval), SRAT (train), RobustLT (batch)",
    )
    class_budget: Number = documented(
        0.0,
        "RobustLT: share of the radius that moves from frequent to rare classes. The radius and "
        "the step size of a class are scaled by the same factor; the mean radius over images "
        "does not change",
        symbol="α_CPB",
        ge=0,
        le=1,
        source="RobustLT (CPB): 0.3 on CIFAR-10-LT, 0.4 on CIFAR-100-LT",
        also=("robustlt_alpha",),
    )
    class_budget_warmup: Number = documented(
        0.0,
        "RobustLT: share of the epochs during which the radius grows from 0; 0 turns this off",
        symbol="b",
        unit="of optim.epochs",
        ge=0,
        le=1,
        source="RobustLT (AIW): 0.8 on CIFAR-10-LT",
    )
