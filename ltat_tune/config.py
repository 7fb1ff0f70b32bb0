"""`TrialConfig`: everything that decides the result of one training, checked and frozen.

Every field carries its symbol, unit, range, meaning and source; `ltat-tune params` prints them and
the search space is checked against them. A field's dotted path (`method.temperature`) is its name
everywhere: in space files, in MLflow, in exports.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from ltat_tune.errors import ConfigError
from ltat_tune.numbers import Integer, Number, Ratio


def _param(
    default: Any,
    meaning: str,
    *,
    symbol: str = "",
    unit: str = "",
    source: str = "",
    also: tuple[str, ...] = (),
    acts_from: Literal["start", "deferral"] = "start",
    **bounds: Any,
) -> Any:
    """A documented field. `also`: names that other code bases use; `acts_from`: when it first acts."""
    extra: dict[str, Any] = {"symbol": symbol, "unit": unit, "source": source, "also": also}
    extra["acts_from"] = acts_from
    return Field(default, description=meaning, json_schema_extra=extra, **bounds)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(_Section):
    """Which images: the data set, the long-tailed cut of it, and the validation hold-out."""

    name: Literal["digits", "image_folder"] = _param("digits", "data set")
    root: str | None = _param(
        None,
        "folder of an image_folder: train/ and test/, each with one folder a class",
        unit="path",
        also=("data_dir", "path"),
    )
    classes: tuple[str, ...] | None = _param(
        None,
        "class folders to use, most frequent first; null is all of them by name",
        also=("class_names",),
    )
    image_size: Integer | None = _param(
        None,
        "side to which images are resized; null keeps theirs (all must be alike)",
        unit="pixels",
        ge=4,
        le=1024,
    )
    profile: Literal["exp", "step", "balanced", "full"] = _param(
        "exp",
        "how class counts fall: exp n_max*UR^(-i/(C-1)), step (half the classes at n_max/UR),"
        " balanced (all at n_max), full (every image there is)",
        source="Cui2019Class; REAT 5.1; SRAT 5.1",
        also=("imb_type",),
    )
    imbalance_ratio: Ratio = _param(
        50.0,
        "n_max / n_min",
        symbol="UR, K",
        ge=1,
        le=1e6,
        source="REAT 5.1 (UR); SRAT 5.1 (K)",
        also=("imb_factor", "ir", "ratio"),
    )
    max_per_class: Integer | None = _param(
        None,
        "n_max: images of the most frequent class; null is as many as every class has",
        unit="images",
        ge=1,
    )
    val_source: Literal["train", "test"] = _param(
        "train",
        "where validation images come from: train (held out before the cut), or test, the"
        " papers' own protocol, which marks every result selected_on_test",
    )
    val_per_class: Integer = _param(
        100,
        "held-out validation images of each class",
        unit="images",
        ge=1,
        also=("num_val",),
    )
    augmentation: Literal["none", "crop", "crop_flip"] = _param(
        "none",
        "random crop after zero padding, and horizontal flip; whole batches at once",
    )
    crop_padding: Integer = _param(
        4, "zero padding before the random crop", unit="pixels", ge=1, le=64
    )


class ModelConfig(_Section):
    """The network. Its input is an image in [0, 1]; normalisation is its own first layer."""

    name: Literal["small_cnn", "resnet18"] = _param(
        "small_cnn", "architecture", also=("arch", "net")
    )
    width: Integer | None = _param(
        None,
        "channels of the first stage; null is 32 for small_cnn, 64 for resnet18",
        unit="channels",
        ge=1,
        le=512,
    )
    stem: Literal["conv", "space_to_depth"] = _param(
        "conv",
        "how small_cnn begins: two convolutions, or 2x2 pixels as channels and one (0.6 of the time)",
    )
    normalisation: Literal["none", "data"] = _param(
        "none",
        "none (inputs stay in [0, 1], as both papers), or mean and std of the training subset",
    )


class MethodConfig(_Section):
    """What happens in one training step."""

    name: Literal["natural", "pgd_at", "srat"] = _param(
        "pgd_at",
        "natural training, PGD adversarial training, or SRAT",
        source="Madry2018Towards; Wang2022Imbalanced",
        also=("defense", "train_mode"),
    )
    separation_weight: Number = _param(
        2.0,
        "weight of the feature separation loss",
        symbol="λ",
        ge=0,
        le=1000,
        source="SRAT Eq. 7",
        also=("lambda", "lam", "lamda", "lambda_sep"),
    )
    temperature: Number = _param(
        0.07,
        "temperature of the feature separation loss",
        symbol="τ",
        ge=0.001,
        le=100,
        source="SRAT Eq. 6",
        also=("tau", "temp"),
    )
    separation_features: Literal["projection", "penultimate"] = _param(
        "projection",
        "features that are separated: the two-layer projection head of the authors'"
        " release, or the penultimate layer; both L2-normalised",
        source="SRAT Eq. 6, release",
    )


class LossConfig(_Section):
    """The prediction loss on logits."""

    name: Literal["cross_entropy", "focal", "ldam", "balanced_softmax"] = _param(
        "cross_entropy",
        "prediction loss",
        source="Lin2017Focal; Cao2019LDAM Eq. 12-13; Ren2020Balanced Eq. 4",
        also=("criterion",),
    )
    gamma: Number = _param(
        1.0,
        "focusing strength of the focal loss; 0 is cross-entropy",
        symbol="γ",
        ge=0,
        le=10,
        source="Lin2017Focal Eq. 4",
    )
    max_margin: Number = _param(
        0.5,
        "margin of the rarest class in LDAM",
        symbol="C",
        ge=0,
        le=10,
        source="Cao2019LDAM Eq. 13",
        also=("max_m",),
    )
    scale: Number = _param(
        30.0,
        "factor on LDAM's logits after the margin",
        symbol="s",
        gt=0,
        le=1000,
        source="Cao2019LDAM, release",
        also=("s",),
    )
    tau: Number = _param(
        1.0,
        "strength of balanced softmax's log-prior shift; 0 is cross-entropy",
        symbol="τ_b",
        ge=0,
        le=10,
        source="Ren2020Balanced Eq. 4",
    )


class ReweightConfig(_Section):
    """Class weights inside the prediction loss, and when they begin."""

    name: Literal["none", "class_balanced", "inverse", "under_represented"] = _param(
        "none",
        "class weights: effective number, 1/n, or one given value for the rarer half",
        source="Cui2019Class Eq. 2; SRAT 5.1",
        also=("reweighting",),
        acts_from="deferral",
    )
    beta: Number = _param(
        0.9999,
        "effective-number parameter of class_balanced; 0 weighs all classes alike",
        symbol="β",
        ge=0,
        lt=1,
        source="Cui2019Class Eq. 2",
        acts_from="deferral",
    )
    under_weight: Number = _param(
        100.0,
        "weight of the under-represented half of the classes; the others weigh 1",
        symbol="w",
        gt=0,
        le=1e6,
        source="SRAT Fig. 5",
        acts_from="deferral",
    )
    schedule: Literal["immediate", "deferred"] = _param(
        "deferred",
        "from the first epoch, or deferred (DRW)",
        source="Cao2019LDAM 3.3; SRAT 4.2",
        also=("drw",),
    )
    start_fraction: Number = _param(
        0.8,
        "share of the epochs before deferred weights begin",
        unit="of optim.epochs",
        ge=0,
        lt=1,
        source="SRAT 5.1 (160 of 200)",
    )


class AttackConfig(_Section):
    """PGD (L-inf) that makes the training images. Pixel units: images are in [0, 1]."""

    eps: Number = _param(
        8 / 255,
        "radius of the ball",
        symbol="ε",
        unit="[0, 1] pixels",
        ge=0,
        le=1,
        also=("epsilon",),
        source="Madry2018Towards; REAT 5.1; SRAT 5.1",
    )
    step_size: Number = _param(
        2 / 255,
        "length of one step",
        symbol="α",
        unit="[0, 1] pixels",
        gt=0,
        le=1,
        also=("alpha",),
        source="REAT 5.1; SRAT 5.1",
    )
    steps: Integer = _param(
        10, "steps", ge=0, le=10000, also=("num_steps", "perturb_steps", "iters")
    )
    start: Literal["uniform", "uniform_clipped"] = _param(
        "uniform",
        "random start in the ball; clipped to [0, 1] before the first gradient or not",
        source="REAT release; SRAT release",
        also=("random_start",),
    )
    bn_mode: Literal["eval", "train"] = _param(
        "eval",
        "BatchNorm mode while images are made (train also moves its running statistics)",
        source="REAT release (eval); SRAT release (train)",
    )


class OptimConfig(_Section):
    """SGD and its schedule; fractions of the run, so that it scales with `epochs`."""

    epochs: Integer = _param(80, "epochs", ge=1, le=100000, also=("num_epochs", "max_epoch"))
    batch_size: Integer = _param(128, "images in a batch", ge=1, le=65536)
    lr: Number = _param(
        0.1, "peak learning rate", symbol="η", gt=0, le=100, also=("learning_rate",)
    )
    momentum: Number = _param(0.9, "SGD momentum", ge=0, lt=1)
    nesterov: bool = _param(False, "Nesterov momentum")
    weight_decay: Number = _param(5e-4, "L2 penalty on all parameters", ge=0, le=10, also=("wd",))
    lr_schedule: Literal["multistep", "cosine", "constant"] = _param(
        "multistep",
        "how the learning rate falls after the warm-up",
        also=("scheduler",),
    )
    milestones: tuple[Number, ...] = _param(
        (0.75, 0.9375),
        "multistep: where the rate is multiplied by lr_decay",
        unit="of optim.epochs",
        source="REAT 5.1 (60, 75 of 80)",
        also=("lr_steps",),
    )
    lr_decay: Number = _param(0.1, "multistep: factor at each milestone", gt=0, le=1)
    warmup_epochs: Integer = _param(0, "epochs of linear warm-up", unit="epochs", ge=0)

    @field_validator("milestones")
    @classmethod
    def _milestones_rise(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < point < 1 for point in value) or list(value) != sorted(set(value)):
            raise ValueError(f"must rise strictly inside (0, 1), got {list(value)}")
        return value


class EvaluationConfig(_Section):
    """How a trained model is measured. It changes no weight, so it cannot be tuned."""

    val_attack: str = _param(
        "pgd20",
        "attack on the validation images: clean or pgd<steps>",
        pattern=r"^(clean|pgd[1-9]\d*)$",
    )
    eps: Number | None = _param(
        None,
        "radius of every evaluation attack; null is attack.eps",
        symbol="ε",
        unit="[0, 1] pixels",
        ge=0,
        le=1,
    )
    every_epochs: Integer = _param(1, "validate every so many epochs, and after the last", ge=1)
    select_epoch: Literal["last", "best"] = _param(
        "last",
        "the weights that are kept: of the last epoch, or of the best validated one",
    )
    batch_size: Integer = _param(500, "images in an evaluation batch", ge=1, le=65536)
    aa_images: Integer | None = _param(
        None,
        "test images for AutoAttack, the same number of every class; null is all",
        ge=1,
    )


class SeedsConfig(_Section):
    """`subset_seed` decides which images make the tail, `seed` everything else."""

    seed: Integer = _param(
        0, "training noise: weights, batches, augmentation, attack starts", ge=0, le=2**31
    )
    subset_seed: Integer = _param(
        0,
        "which images form the hold-out and the tail",
        ge=0,
        le=2**32 - 1,
        also=("rand_number",),
        source="REAT, RoBal, LDAM-DRW releases (0)",
    )


class TrialConfig(_Section):
    """One training, completely. Two equal `identity` values mean the same result."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    method: MethodConfig = MethodConfig()
    loss: LossConfig = LossConfig()
    reweight: ReweightConfig = ReweightConfig()
    attack: AttackConfig = AttackConfig()
    optim: OptimConfig = OptimConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    seeds: SeedsConfig = SeedsConfig()

    @model_validator(mode="after")
    def _data_is_named(self) -> TrialConfig:
        problems = []
        if self.data.name == "image_folder" and not self.data.root:
            problems.append("data.root must name the folder when data.name is image_folder")
        classes = self.data.classes
        if classes is not None and (len(set(classes)) != len(classes) or len(classes) < 2):
            problems.append(
                f"data.classes must be two or more different names, got {list(classes)}"
            )
        if self.optim.warmup_epochs >= self.optim.epochs:
            problems.append(
                f"optim.warmup_epochs must be below optim.epochs ({self.optim.epochs}), "
                f"got {self.optim.warmup_epochs}"
            )
        if problems:
            raise ConfigError(problems)
        return self

    @classmethod
    def from_flat(cls, values: dict[str, Any]) -> TrialConfig:
        """Builds from `{"method.name": "srat", ...}`; what is left out takes its default.

        Raises:
            ConfigError: with every problem, each naming path, rule and value.
        """
        nested: dict[str, Any] = {}
        for path, value in values.items():
            section, _, name = path.partition(".")
            nested.setdefault(section, {})[name] = value
        return cls.from_nested(nested)

    @classmethod
    def from_nested(cls, values: Any) -> TrialConfig:
        """Builds from nested mappings, as an exported file holds them. Raises: ConfigError."""
        from ltat_tune.parameters import explain

        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(explain(error)) from None

    def flat(self) -> dict[str, Any]:
        """All values by dotted path, in the order of the sections."""
        sections = self.model_dump(mode="json")
        return {f"{s}.{n}": v for s, fields in sections.items() for n, v in fields.items()}

    def get(self, path: str) -> Any:
        """The value at a dotted path."""
        section, _, name = path.partition(".")
        return getattr(getattr(self, section), name)

    def replace(self, values: dict[str, Any]) -> TrialConfig:
        """A copy with the values at these dotted paths. Raises: ConfigError."""
        return self.from_flat({**self.flat(), **values})

    @property
    def identity(self) -> str:
        """8 hex digits of everything that changes the result, seeds included."""
        return self._hash(exclude=())

    @property
    def recipe(self) -> str:
        """`identity` without `seeds.seed`: equal for the repeats of one configuration."""
        return self._hash(exclude=("seeds.seed",))

    def _hash(self, exclude: tuple[str, ...]) -> str:
        from ltat_tune.relevance import why_inert

        acting = {
            path: value
            for path, value in self.flat().items()
            if path not in exclude and why_inert(self, path) is None
        }
        text = json.dumps(acting, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]
