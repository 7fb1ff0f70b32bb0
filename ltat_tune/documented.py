"""Fields that carry their symbol, unit, source and other names along."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

# The first epoch in which a parameter changes the training: see `ltat_tune.relevance`.
ActsFrom = Literal["start", "deferral", "clean_stage", "awp"]

# (path, values, default): the default while the parameter at `path` has one of the values.
Instead = tuple[str, tuple[str, ...], Any]


def param(
    default: Any,
    meaning: str,
    *,
    symbol: str = "",
    unit: str = "",
    source: str = "",
    also: tuple[str, ...] = (),
    acts_from: ActsFrom = "start",
    instead: tuple[Instead, ...] = (),
    **bounds: Any,
) -> Any:
    """A documented field. `also`: its names in other code; `acts_from`: when it first acts;
    `instead`: other defaults under a method, loss, norm or data set."""
    extra: dict[str, Any] = {"symbol": symbol, "unit": unit, "source": source, "also": also}
    extra |= {"acts_from": acts_from, "instead": instead}
    return Field(default, description=meaning, json_schema_extra=extra, **bounds)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
