"""Fields that carry their symbol, unit, source and other names along."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


def param(
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
    """A documented field. `also`: its names in other code; `acts_from`: when it first acts."""
    extra: dict[str, Any] = {"symbol": symbol, "unit": unit, "source": source, "also": also}
    extra["acts_from"] = acts_from
    return Field(default, description=meaning, json_schema_extra=extra, **bounds)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
