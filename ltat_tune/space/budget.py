"""The limit of a study, such as `budget: 6h`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from ltat_tune.config.scalars import shown

BUDGET = r"\s*([0-9]*\.?[0-9]+)\s*(gpuh|h|min|epochs)\s*"
_BUDGET = re.compile(BUDGET)


@dataclass(frozen=True)
class Budget:
    """The limit of a study: hours on the clock, hours of whole GPUs, or epochs."""

    amount: float
    unit: Literal["gpuh", "h", "epochs"]

    def __str__(self) -> str:
        return f"{self.amount:g}{self.unit}"


def parse_budget(written: Any) -> Budget:
    """Read a budget such as `6h`, `90min`, `40gpuh` or `500epochs`.

    Raises:
        ValueError: it is none of these; the message says what to write.
    """
    match = _BUDGET.fullmatch(written) if isinstance(written, str) else None
    if match is None or float(match.group(1)) <= 0:
        raise ValueError(
            "budget must be an amount above 0 and its unit, such as 6h, 90min, 40gpuh or "
            f"500epochs, got {shown(written)}"
        )
    amount, unit = float(match.group(1)), match.group(2)
    if unit == "min":
        return Budget(amount / 60, "h")
    return Budget(amount, unit)  # type: ignore[arg-type]
