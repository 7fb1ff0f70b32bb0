"""Times as people say them; sizes are `rich.filesize.decimal`'s."""

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
