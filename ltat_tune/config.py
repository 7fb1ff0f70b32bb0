"""`TrialConfig`: everything that decides the result of one training, checked and frozen.

Every field carries its symbol, unit, range, meaning and source; `ltat-tune params` prints them and
the search space is checked against them. A field's dotted path (`method.temperature`) is its name
everywhere: in space files, in MLflow, in exports.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import ValidationError, model_validator

from ltat_tune.combinations import problems
from ltat_tune.defaults import fill_in
from ltat_tune.documented import Section
from ltat_tune.errors import ConfigError
from ltat_tune.sections import (
    AttackConfig,
    ComputeConfig,
    DataConfig,
    EvaluationConfig,
    LossConfig,
    MethodConfig,
    ModelConfig,
    OptimConfig,
    ReweightConfig,
    SeedsConfig,
)

__all__ = [
    "AttackConfig",
    "ComputeConfig",
    "DataConfig",
    "EvaluationConfig",
    "LossConfig",
    "MethodConfig",
    "ModelConfig",
    "OptimConfig",
    "ReweightConfig",
    "SeedsConfig",
    "TrialConfig",
]


class TrialConfig(Section):
    """One training, completely. Two equal `identity` values mean the same result."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    method: MethodConfig = MethodConfig()
    loss: LossConfig = LossConfig()
    reweight: ReweightConfig = ReweightConfig()
    attack: AttackConfig = AttackConfig()
    optim: OptimConfig = OptimConfig()
    compute: ComputeConfig = ComputeConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    seeds: SeedsConfig = SeedsConfig()

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_method(cls, values: Any) -> Any:
        return fill_in(values, cls)

    @model_validator(mode="after")
    def _holds_together(self) -> TrialConfig:
        if found := problems(self):
            raise ConfigError(found)
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
        values = getattr(self, section)
        if name not in type(values).model_fields and name not in (values.model_extra or {}):
            return None  # of a plugin's part that is not chosen
        return getattr(values, name)

    def replace(self, values: dict[str, Any]) -> TrialConfig:
        """A copy with the values at these dotted paths. Raises: ConfigError."""
        return self.from_flat({**self.flat(), **values})

    def shortened(self, epochs: int) -> TrialConfig:
        """The same run squeezed into fewer epochs: drops, deferral, warm-up and all.

        Only what is counted in epochs is scaled here; every other point in time is a fraction of
        the run already. A warm-up keeps at least one epoch.
        """
        share = epochs / self.optim.epochs
        scaled = {
            path: max(1, round(self.get(path) * share))
            for path in ("optim.warmup_epochs", "evaluation.every_epochs")
            if self.get(path) > 0
        }
        return self.replace({"optim.epochs": epochs, **scaled})

    @property
    def measured_eps(self) -> float:
        """Radius of the evaluation: `evaluation.eps`, else the training attack's. Pixel units."""
        eps = self.evaluation.eps
        return self.attack.eps if eps is None else eps

    @property
    def measured_norm(self) -> str:
        """Norm of the evaluation: `evaluation.norm`, else the training attack's."""
        return self.evaluation.norm or self.attack.norm

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
