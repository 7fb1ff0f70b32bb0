"""`TrialConfig`: everything that decides the result of one training, checked and frozen.

Every field carries its symbol, unit, range, meaning and source. `ltat-tune params` prints them,
and search spaces are checked against them. A field's dotted path (`method.temperature`) is its
name everywhere: in space files, in MLflow and in exports.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import ValidationError, model_validator

from ltat_tune.config.constraints import problems
from ltat_tune.config.defaults import fill_in
from ltat_tune.config.effects import why_inert
from ltat_tune.config.foreign.start import start_file
from ltat_tune.config.notebook import html_table, settings_line, text_lines
from ltat_tune.config.parameters import PARAMETERS, explain
from ltat_tune.config.scalars import shown
from ltat_tune.config.values import ConfigValues
from ltat_tune.errors import ConfigError

# Their defaults are what was done before there was a choice, so that they change no identity.
_LATER = {
    "attack.start_radius", "attack.projection", "optim.ema_epochs", "optim.ema_keep",
    "optim.ema_statistics",
}  # fmt: skip


class TrialConfig(ConfigValues):
    """The complete configuration of one training. Equal `identity` values mean equal results."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_method(cls, values: Any) -> Any:
        return fill_in(values, cls)

    @model_validator(mode="after")
    def _holds_together(self) -> TrialConfig:
        if broken := problems(self):
            raise ConfigError(broken)
        return self

    def __repr__(self) -> str:
        return text_lines("TrialConfig", {"beside the defaults": settings_line(self._chosen())})

    __str__ = __repr__

    def _repr_html_(self) -> str:
        caption = "TrialConfig; everything else is by default"
        return html_table(caption, ["parameter", "value"], list(self._chosen().items()))

    def _chosen(self) -> dict[str, str]:
        """Return the values that are not the parameter's default, by path, in words."""
        return {
            path: str(value) if isinstance(value, str) else shown(value)
            for path, value in self.flat().items()
            if path not in PARAMETERS or value != PARAMETERS[path].default
        }

    @classmethod
    def from_flat(cls, values: dict[str, Any]) -> TrialConfig:
        """Build from `{"method.name": "srat", ...}`. Missing parameters take their defaults.

        Raises:
            ConfigError: a value breaks a rule. Each problem names path, rule and value.
        """
        nested: dict[str, Any] = {}
        for path, value in values.items():
            section, _, name = path.partition(".")
            nested.setdefault(section, {})[name] = value
        return cls.from_nested(nested)

    @classmethod
    def from_nested(cls, values: Any) -> TrialConfig:
        """Build from nested mappings, as in an exported file. Raise ConfigError if invalid."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(explain(error)) from None

    def replace(self, values: dict[str, Any]) -> TrialConfig:
        """Return a copy with the values at these dotted paths. Raise ConfigError if invalid."""
        return self.from_flat({**self.flat(), **values})

    def shortened(self, epochs: int) -> TrialConfig:
        """Return the same run compressed into fewer epochs, including drops and deferral.

        Only parameters that count epochs or steps are scaled here, because every other time is
        already a share of the run. A warm-up keeps at least one epoch. The weight average keeps
        its span as a share of the run: the decay of a step becomes that of 1 / share steps. WAT's
        rate is one by epoch.
        """
        if epochs == self.optim.epochs:
            return self
        share = epochs / self.optim.epochs
        scaled: dict[str, Any] = {
            path: max(1, round(self.get(path) * share))
            for path in ("optim.warmup_epochs", "evaluation.every_epochs")
            if self.get(path)
        }
        if self.method.name == "wat":
            most = 1000.0  # of method.wat_rate, where one class has all that the bound allows
            scaled["method.wat_rate"] = min(most, self.method.wat_rate / share)
        decay = self.optim.ema_decay ** (1 / share)
        return self.replace(
            {
                "optim.epochs": epochs, "optim.ema_decay": decay,
                "optim.ema_epochs": self.optim.ema_epochs * share, **scaled,
            }
        )  # fmt: skip

    @property
    def identity(self) -> str:
        """8 hex digits that hash everything that changes the result, including the seeds."""
        return self._hash(exclude=())

    @property
    def recipe(self) -> str:
        """A hash like `identity` without `seeds.seed`, equal for repeats of one configuration."""
        return self._hash(exclude=("seeds.seed",))

    def _hash(self, exclude: tuple[str, ...]) -> str:
        acting = {
            path: value
            for path, value in self.flat().items()
            if path not in exclude and why_inert(self, path) is None
            and not (path in _LATER and value == PARAMETERS[path].default)
        }  # fmt: skip
        for path in ("model.init", "method.teacher"):
            if acting.get(path):  # the content counts, not its place
                acting[path] = start_file(acting[path])[1]
        text = json.dumps(acting, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]
