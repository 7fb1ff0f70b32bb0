"""Parses numbers that people write, such as `0.031` and `8/255`; says what YAML misreads."""

from __future__ import annotations

import datetime
import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator

FRACTION = r"\s*([0-9]*\.?[0-9]+)\s*/\s*([0-9]*\.?[0-9]+)\s*"
_FRACTION = re.compile(FRACTION)
_EXPONENT = re.compile(r"\s*([+-]?)([0-9]+)(\.[0-9]*)?[eE]([+-]?)([0-9]+)\s*")


def shown(value: Any) -> str:
    """Format a value for a message: as in YAML, text in quotes, at most 80 characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    text = str(value) if isinstance(value, datetime.date) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer with hundreds of digits
        return False


def parse_number(value: Any) -> float:
    """Return a finite float from a number or a fraction such as "8/255".

    Raises:
        ValueError: the value is anything else. The message says what to write instead.
    """
    if isinstance(value, bool):
        raise ValueError(f"must be a number, got {shown(value)}")
    if isinstance(value, int | float):
        if not _is_finite(value):
            raise ValueError(f"must be a finite number, got {shown(value)}")
        return float(value)
    if isinstance(value, str):
        if match := _FRACTION.fullmatch(value):
            denominator = float(match.group(2))
            if denominator == 0:
                raise ValueError(f"must not divide by zero, got {shown(value)}")
            fraction = float(match.group(1)) / denominator
            if not math.isfinite(fraction):
                raise ValueError(f"must be a finite number, got {shown(value)}")
            return fraction
        if match := _EXPONENT.fullmatch(value):
            sign, whole, part, exponent_sign, exponent = match.groups()
            spelled = f"{sign}{whole}{part or '.0'}e{exponent_sign or '+'}{exponent}"
            raise ValueError(
                f"must be a number, but YAML 1.1 reads {value} as text; write {spelled}"
            )
    raise ValueError(f"must be a number or a fraction such as 8/255, got {shown(value)}")


def parse_integer(value: Any) -> int:
    """Return an int. Booleans, fractions and text are refused.

    Raises:
        ValueError: the value is refused. The message says what is expected.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a whole number, got {shown(value)}")
    if not _is_finite(value) or value != int(value):
        raise ValueError(f"must be a whole number, got {shown(value)}")
    return int(value)


def parse_ratio(value: Any) -> float:
    """Return an imbalance ratio n_max / n_min. Other code uses its inverse.

    Raises:
        ValueError: the value is below 1. The message suggests the ratio that was probably meant.
    """
    ratio = parse_number(value)
    if 0 < ratio < 1:
        raise ValueError(
            f"is n_max / n_min and must be >= 1, got {ratio:g}; did you mean {1 / ratio:g}?"
        )
    return ratio


Number = Annotated[float, BeforeValidator(parse_number)]
Integer = Annotated[int, BeforeValidator(parse_integer)]
Ratio = Annotated[float, BeforeValidator(parse_ratio)]


_SHORT = len("0.0001")


def pixels(value: float) -> str:
    """Format a radius or step as people write it: `8/255` for 0.0313725..., `0.2`, `0.1`."""
    steps = value * 255
    if len(repr(value)) <= _SHORT:  # 0.2 was not written as 51/255
        return f"{value:g}"
    return f"{round(steps)}/255" if abs(steps - round(steps)) < 1e-9 and steps else f"{value:g}"
