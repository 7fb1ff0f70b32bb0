"""`method.*`: the training method."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from ltat_tune.config.extensions import Extensible, OpenSection
from ltat_tune.config.fields import documented
from ltat_tune.config.foreign.start import Start
from ltat_tune.config.scalars import Number


class MethodConfig(OpenSection):
    """The training method, and the modifications around it."""

    section: ClassVar[str] = "method"

    name: Annotated[
        Literal[
            "natural",
            "pgd_at",
            "srat",
            "reat",
            "robal",
            "trades",
            "mart",
            "taet",
            "dafa",
            "faal",
            "cfa",
            "wat",
        ],
        Extensible("method.name"),
    ] = documented(
        "pgd_at",
        "training method. Adversarial weight perturbation (awp_gamma), class budgets "
        "(attack.class_budget), the ETF penalty (loss.etf_weight) and a teacher (method.teacher) "
        "can be added to any method",
        source="Madry2018Towards; Wang2022Imbalanced (SRAT); Li2023Alleviating (REAT); "
        "Wu2021Adversarial (RoBal); Zhang2019Theoretically; Wang2020Improving; Wang2025TAET; "
        "Lee2024DAFA; Zhang2024FAAL; Wei2023CFA; Li2023WAT",
        also=("defense", "train_mode"),
    )
    base: Literal["pgd_at", "trades", "mart"] = documented(
        "pgd_at",
        "dafa, faal, cfa: the method that is made fairer; mart with faal alone",
        source="Lee2024DAFA (TRADES, PGD); Zhang2024FAAL (AT, TRADES, MART); Wei2023CFA "
        "(AT, TRADES)",
        instead=(("method.name", ("dafa", "cfa"), "trades"),),
    )
    start_fraction: Number = documented(
        0.64,
        "dafa, cfa: share of the epochs before what is known of the classes acts; at least one "
        "epoch",
        unit="of optim.epochs",
        ge=0,
        lt=1,
        source="DAFA release (70 of 110); CFA release (10 of 200)",
        acts_from="class_state",
        instead=(("method.name", ("cfa",), 0.05),),
    )
    dafa_strength: Number = documented(
        1.0,
        "dafa: how far classes that resemble each other exchange weight; the easier one loses "
        "what the harder one gains. 0 weighs all alike",
        symbol="λ_DAFA",
        ge=0,
        le=100,
        source="Lee2024DAFA Algorithm 2 (1.0 on CIFAR-10, 1.5 on CIFAR-100 and STL-10)",
        acts_from="class_state",
    )
    dafa_weight_min: Number = documented(
        0.2, "dafa: smallest weight of a class; the formula alone may turn a radius negative",
        gt=0, le=1, source="ours; Lee2024DAFA has no bounds", acts_from="class_state",
    )  # fmt: skip
    dafa_weight_max: Number = documented(
        2.0, "dafa: largest weight of a class", ge=1, le=100,
        source="ours; Lee2024DAFA has no bounds", acts_from="class_state",
    )  # fmt: skip
    faal_radius: Number = documented(
        0.5,
        "faal: how far the class weights may move from equal ones, as their KL; 0 is the base "
        "method. With many classes a smaller radius already lets one class outweigh all others",
        symbol="r_FAAL",
        unit="nats",
        ge=0,
        le=10,
        source="Zhang2024FAAL (0.5; 1.0 in an uploaded log)",
    )
    faal_coefficients: Literal["class_means", "released"] = documented(
        "class_means",
        "faal: what the weights maximise: the mean margin of every class of the batch, or the sum "
        "over its images as released, which follows the counts on long tails",
        source="Zhang2024FAAL, release",
    )
    cfa_radius_base: Number = documented(
        0.5,
        "cfa: factor on the radius of a class without any correct image; its recall is added",
        symbol="λ_1",
        gt=0,
        le=10,
        source="Wei2023CFA (CCM), release (0.5)",
        acts_from="class_state",
    )
    cfa_larger_radius: Literal["easy", "hard"] = documented(
        "easy",
        "cfa: classes that get the larger radius: those of high recall (easy, as published), or "
        "those of low recall (hard), where one minus the recall is added instead",
        source="Wei2023CFA; the other sign is that of DAFA and RobustLT",
        acts_from="class_state",
    )
    cfa_kl_base: Number = documented(
        0.5,
        "cfa with trades: factor on beta for a class without any correct image; its recall is "
        "added",
        symbol="λ_2",
        gt=0,
        le=10,
        source="Wei2023CFA (CCR), release (0.5)",
        acts_from="class_state",
    )
    cfa_smoothing: Number = documented(
        0.0,
        "cfa: share of the earlier recall in the recall that acts; 0 is the last epoch's alone. A "
        "tail of few images needs some",
        source="ours; Wei2023CFA takes the last epoch",
        ge=0,
        lt=1,
        acts_from="class_state",
    )
    fawa_span: Number = documented(
        0.0,
        "cfa: span of the fairness-aware average of weights; 0 turns it off. Weights whose guard "
        "is below the threshold are left out, and until one is above it the plain weights count",
        unit="of optim.epochs",
        ge=0,
        lt=1,
        source="Wei2023CFA (FAWA): a decay of 0.88 by epoch, which is 0.039 of 200 epochs",
    )
    fawa_guard: Literal["worst", "balanced"] = documented(
        "worst",
        "cfa with an average: recall on the validation images that admits the weights of an "
        "epoch: that of the worst class, or the mean over classes",
        source="Wei2023CFA (FAWA; worst)",
    )
    fawa_threshold: Number = documented(
        0.2, "cfa with an average: smallest guard that is admitted, under evaluation.val_attack",
        ge=0, le=1, source="Wei2023CFA, release (0.2 in its README, 0.24 in its code)",
    )  # fmt: skip
    wat_rate: Number = documented(
        0.1,
        "wat: how fast weight moves to the classes that have cost most so far, by epoch; 0 weighs "
        "all alike",
        symbol="η_WAT",
        unit="1 / nat",
        ge=0,
        le=1000,
        source="Li2023WAT, release (0.1 for 100 epochs)",
    )
    wat_weight_max: Number = documented(
        3.0,
        "wat: largest weight of a class, of a mean of about 1; costs add up over epochs, and "
        "without a bound one class ends up with all the weight",
        ge=1,
        le=1000,
        source="ours; Li2023WAT has no bound",
    )
    separation_weight: Number = documented(
        2.0,
        "srat: weight of the feature separation loss",
        symbol="λ",
        ge=0,
        le=1000,
        source="SRAT Eq. 7",
        also=("lambda", "lam", "lamda", "lambda_sep"),
    )
    temperature: Number = documented(
        0.07,
        "srat: temperature of the feature separation loss",
        symbol="τ",
        ge=0.001,
        le=100,
        source="SRAT Eq. 6",
        also=("tau", "temp"),
    )
    separation_features: Literal["projection", "penultimate"] = documented(
        "projection",
        "srat: features that are separated: the output of the two-layer projection head of the"
        " authors' release, or of the penultimate layer; both are L2-normalised",
        source="SRAT Eq. 6, release",
    )
    tail_weight: Number = documented(
        1.0,
        "reat: weight of the feature regulariser TAIL",
        ge=0,
        le=1000,
        source="REAT Eq. 3 (coefficient 1)",
    )
    tail_variant: Literal["bounded", "paper", "released"] = documented(
        "bounded",
        "reat: form of TAIL: the paper's with the KL of different classes capped (bounded), the "
        "paper's own (paper; it has no lower bound and diverges), or that of the released code "
        "(released; it has the opposite sign and does not distinguish pairs)",
        source="REAT Eq. 3, release",
    )
    tail_set: Literal["paper", "released"] = documented(
        "paper",
        "reat: classes that count as tail, sorted by count: the paper's ceil(2C/3)..C counted from"
        " 1, or the release's 2*(C//3)+1..C-1 counted from 0",
        source="REAT 4.2, release",
    )
    tail_kl_max: Number = documented(
        0.1,
        "reat, bounded TAIL: largest value at which the KL of two images of different classes "
        "counts",
        unit="nats",
        gt=0,
        le=1000,
    )
    tail_detach_anchor: bool = documented(
        False,
        "reat: TAIL moves only the other sample of a pair, not the tail sample (the anchor)",
        strict=True,
        source="REAT release (always)",
    )
    beta: Number = documented(
        6.0,
        "trades, mart, robal: weight of the consistency between clean and adversarial "
        "predictions; so too for wat, and for dafa, faal and cfa around trades or mart",
        symbol="β",
        ge=0,
        le=1000,
        source="Zhang2019Theoretically Eq. 5; Wang2020Improving Eq. 11; RoBal release",
        also=("trades_beta", "beta_reg"),
        instead=(("method.name", ("mart",), 5.0), ("method.base", ("mart",), 5.0)),
    )
    bcl_weight: Number = documented(
        0.1, "taet: weight of the mean of the class losses", symbol="α_BCL", ge=0, le=1000,
        source="TAET release", acts_from="clean_stage",
    )  # fmt: skip
    hdl_weight: Number = documented(
        0.1, "taet: weight of the variance of the class losses", symbol="β_HDL", ge=0, le=1000,
        source="TAET release", acts_from="clean_stage",
    )  # fmt: skip
    rcel_weight: Number = documented(
        0.1, "taet: weight of the sum of the squared shares of the class losses",
        symbol="γ_RCEL", ge=0, le=1000, source="TAET release", acts_from="clean_stage",
    )  # fmt: skip
    clean_fraction: Number = documented(
        0.4,
        "taet: share of the epochs that train on clean images before the adversarial stage",
        unit="of optim.epochs",
        ge=0,
        le=1,
        source="TAET release (40 of 100; 39 in RobustLT's copy, which counts from 1)",
        acts_from="clean_stage",
    )
    awp_gamma: Number = documented(
        0.0,
        "size of the adversarial weight perturbation, as a share of each layer's norm; 0 turns it "
        "off",
        symbol="γ_AWP",
        ge=0,
        le=1,
        source="Wu2020Adversarial Eq. 10 (0.01 with AT, 0.005 with TRADES)",
        also=("awp",),
        acts_from="awp",
    )
    awp_start_fraction: Number = documented(
        0.0,
        "share of the epochs before the adversarial weight perturbation begins",
        unit="of optim.epochs",
        ge=0,
        lt=1,
        source="Wu2020Adversarial, release (AT 0; TRADES 10 of 200)",
        acts_from="awp",
    )
    teacher: Start | None = documented(
        None,
        "file of a teacher's weights, for the network of model.*: a reconstruction of the "
        "balanced-teacher self-distillation of Cho et al., whose code is not available. The loss "
        "also has the KL from the frozen teacher's prediction of the clean image to the "
        "student's. The file is read as that of model.init is, and must fill the head too",
        source="reconstruction of Cho2025Distillation (ICLR 2025); the KL is our reading",
    )
    distillation_weight: Number = documented(
        1.0,
        "weight of the KL from the teacher (method.teacher; a reconstruction); the paper's is not "
        "known",
        symbol="w_KD",
        ge=0,
        le=1000,
        source="reconstruction of Cho2025Distillation (ICLR 2025)",
    )
    extra_forwards: Literal["none", "clean_before", "adv_clean_before", "adv_clean_after"] = (
        documented(
            "none",
            "additional forwards in train mode, which only update BatchNorm's statistics, as in "
            "some releases: TAET (clean_before, that is before the attack), RoBal "
            "(adv_clean_before, between attack and loss) or RobustLT (adv_clean_after, after the "
            "update)",
            source="releases of TAET, RoBal, RobustLT",
        )
    )
