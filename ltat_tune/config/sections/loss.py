"""`loss.*` and `reweight.*`: the prediction loss and the class weights inside it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from ltat_tune.config.extensions import Extensible, OpenSection
from ltat_tune.config.fields import Section, documented
from ltat_tune.config.scalars import Number


class LossConfig(OpenSection):
    """The prediction loss, which is computed from the logits."""

    section: ClassVar[str] = "loss"

    name: Annotated[
        Literal["cross_entropy", "focal", "effective_number", "ldam", "balanced_softmax", "robal"],
        Extensible("loss.name"),
    ] = documented(
        "cross_entropy",
        "prediction loss. effective_number is cross-entropy with class-balanced weights from the "
        "first epoch on (REAT's EN); robal has class-aware margins and biases on cosines",
        source="Lin2017Focal; Cui2019Class; Cao2019LDAM Eq. 12-13; Ren2020Balanced Eq. 4;"
        " RoBal release",
        also=("criterion",),
        instead=(
            ("method.name", ("reat",), "balanced_softmax"),
            ("method.name", ("robal",), "robal"),
        ),
    )
    gamma: Number = documented(
        1.0,
        "focal: focusing strength; 0 is cross-entropy",
        symbol="γ",
        ge=0,
        le=10,
        source="Lin2017Focal Eq. 4",
    )
    focal_weight: Literal["outside", "inside"] = documented(
        "outside",
        "focal: position of the class weights: in front of the loss (outside), or also in "
        "p = exp(-w CE) (inside), as in the releases of LDAM-DRW and SRAT",
        source="LDAM-DRW release; SRAT release",
        acts_from="deferral",
    )
    max_margin: Number = documented(
        0.5,
        "ldam: margin of the rarest class",
        symbol="C",
        ge=0,
        le=10,
        source="Cao2019LDAM Eq. 13",
        also=("max_m",),
    )
    scale: Number = documented(
        30.0,
        "ldam, robal: factor on the logits after the margin",
        symbol="s",
        gt=0,
        le=1000,
        source="Cao2019LDAM, release (30); RoBal release (10)",
        also=("s",),
        instead=(("loss.name", ("robal",), 10.0),),
    )
    tau: Number = documented(
        1.0,
        "balanced_softmax, robal: strength of the shift of the logits by the log-prior; 0 turns "
        "it off",
        symbol="τ_b",
        ge=0,
        le=10,
        source="Ren2020Balanced Eq. 4; RoBal release (R 1.5, N 1.2)",
        also=("tau_b",),
        instead=(("loss.name", ("robal",), 1.5),),
    )
    base_margin: Number = documented(
        0.1,
        "robal: margin of the rarest class, in cosines",
        symbol="m_0",
        ge=0,
        le=2,
        source="RoBal release",
        also=("m0",),
    )
    margin_tau: Number = documented(
        0.3,
        "robal: growth of the margin for frequent classes, which is (tau_m / s) ln(N / N_min)",
        symbol="τ_m",
        ge=0,
        le=10,
        source="RoBal release (R 0.3, N 0)",
        also=("tau_m",),
    )
    label_smoothing: Number = documented(
        0.0,
        "share of the target that is spread evenly over all classes",
        ge=0,
        lt=1,
        source="Szegedy2016Rethinking",
        also=("smoothing",),
    )
    etf_weight: Number = documented(
        0.0,
        "weight of the ETF penalty, the distance between the head's class weights and a simplex; "
        "0 turns it off",
        symbol="β_ETF",
        ge=0,
        le=1000,
        source="MCAT (R_geom), release (1.0) and appendix (3e-3)",
        also=("etf",),
    )


class ReweightConfig(Section):
    """Class weights inside the prediction loss, and the epoch in which they begin."""

    name: Literal["none", "class_balanced", "inverse", "inverse_sqrt", "under_represented"] = (
        documented(
            "none",
            "class weights in the prediction loss: none, by the effective number "
            "(class_balanced), 1/n, 1/sqrt(n), or one given value for the rarer half of the "
            "classes (under_represented)",
            source="Cui2019Class Eq. 2; REAT Table 2 (ENR, RW, RWS); SRAT 5.1",
            also=("reweighting",),
            acts_from="deferral",
            instead=(("method.name", ("srat",), "class_balanced"),),
        )
    )
    beta: Number | None = documented(
        0.9999,
        "parameter of the effective number, wherever it gives class weights (reweight.name, the "
        "loss effective_number, attack.reweight); 0 weighs all classes alike, null is (N - 1) / N "
        "for N training images, as REAT defines it",
        symbol="β",
        ge=0,
        lt=1,
        source="Cui2019Class Eq. 2; REAT 4.1",
        acts_from="deferral",
    )
    under_weight: Number = documented(
        100.0,
        "weight of the under-represented half of the classes; the other classes weigh 1",
        symbol="w",
        gt=0,
        le=1e6,
        source="SRAT Fig. 5",
        acts_from="deferral",
    )
    schedule: Literal["immediate", "deferred"] = documented(
        "deferred",
        "start of the class weights: in the first epoch (immediate), or after start_fraction of "
        "the epochs (deferred, DRW)",
        source="Cao2019LDAM 3.3; SRAT 4.2",
        also=("drw",),
    )
    start_fraction: Number = documented(
        0.8,
        "share of the epochs before deferred class weights begin",
        unit="of optim.epochs",
        ge=0,
        lt=1,
        source="SRAT 5.1 (160 of 200)",
        acts_from="deferral",
    )
