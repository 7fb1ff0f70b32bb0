"""`ConfigValues`: the values of one training by section, without the rules between them.

The rules (`constraints`, `effects`, `timeline`) are written against this class. `TrialConfig` adds
them to it.
"""

from __future__ import annotations

from typing import Any

from ltat_tune.config.extensions import PARTS, Part
from ltat_tune.config.fields import Section
from ltat_tune.config.sections import (
    AttackConfig,
    ComputeConfig,
    DataConfig,
    EvaluationConfig,
    LossConfig,
    MethodConfig,
    ModelConfig,
    OptimConfig,
    ReweightConfig,
    ScriptConfig,
    SeedsConfig,
)


class ConfigValues(Section):
    """The sections of a configuration, and its values by dotted path."""

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
    script: ScriptConfig = ScriptConfig()

    def flat(self) -> dict[str, Any]:
        """Return all values by dotted path, in the order of the sections."""
        sections = self.model_dump(mode="json")
        return {f"{s}.{n}": v for s, fields in sections.items() for n, v in fields.items()}

    def get(self, path: str) -> Any:
        """Return the value at a dotted path."""
        section, _, name = path.partition(".")
        values = getattr(self, section)
        if name not in type(values).model_fields and name not in (values.model_extra or {}):
            return None  # it belongs to a plugin's part that is not chosen
        return getattr(values, name)

    @property
    def parts(self) -> list[Part]:
        """The methods, losses, models and data sets of plugins that the configuration uses."""
        return [part for part in PARTS.values() if self.get(part.chosen_by) == part.name]

    @property
    def plugins(self) -> list[dict[str, str]]:
        """The plugins that another process must load before it can use this configuration."""
        plugins = dict.fromkeys(part.plugin for part in self.parts if part.plugin)
        return [plugin.as_data() for plugin in plugins]

    @property
    def trains_elsewhere(self) -> bool:
        """Whether a script or a training function of a plugin takes the place of our training."""
        own = self.script.definition is not None
        return own or any(part.trains for part in self.parts)

    @property
    def measured_eps(self) -> float:
        """Radius of the evaluation, in pixel units: `evaluation.eps`, or else `attack.eps`."""
        eps = self.evaluation.eps
        return self.attack.eps if eps is None else eps

    @property
    def measured_norm(self) -> str:
        """Norm of the evaluation: `evaluation.norm`, or else `attack.norm`."""
        return self.evaluation.norm or self.attack.norm
