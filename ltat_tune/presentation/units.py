"""Times and shares as people say them; sizes are `rich.filesize.decimal`'s."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return `42 s`, `12 min`, `3.4 h` or `2.1 days`; `1 s` at the least."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    number, unit = (hours, "h") if hours < 48 else (hours / 24, "days")
    return f"{number:.1f}".removesuffix(".0") + f" {unit}"


def clock(seconds: float) -> str:
    """Return `1:05`, or `2:00:10` from an hour on: minutes and seconds as a clock has them."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def in_percent(share: float) -> float:
    """Return a share in percent without the noise of its last bits, for plots and for `percent`.

    0.2865 may be 28.649999999999995 % or 28.650000000000002 %, by how it was computed. Pages that
    round the one and the other would show two numbers.
    """
    return round(100 * share, 6)


def percent(share: float | None, digits: int = 1, *, sign: str = "", missing: str = "–") -> str:
    """Return a share in percent, `41.2` for 0.4123, as every page and every table rounds it.

    Args:
        share: a fraction; None if there is none.
        digits: after the point.
        sign: `+` shows it also on what is not negative.
        missing: what stands for None.
    """
    if share is None:
        return missing
    rounded = round(in_percent(share), digits) + 0.0  # no -0.0
    return f"{rounded:{sign}.{digits}f}"
