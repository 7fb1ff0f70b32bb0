"""Writes figures as files: vector PDF with real fonts, PNG for the screen, reproducible bytes."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from ltat_tune.figures.style import PNG_DPI, look
from ltat_tune.files import replacing

# No dates and no version of the drawing library: equal data give equal files.
_METADATA: dict[str, dict[str, str | None]] = {
    "pdf": {"Creator": "ltat-tune", "Producer": None, "CreationDate": None},
    "png": {"Software": None},
}


def save(fig: Figure, folder: Path, name: str) -> list[Path]:
    """Write `<folder>/<name>.pdf` and `.png`. Return both paths in this order.

    Raises:
        OSError: the folder cannot be written.
    """
    paths = []
    with look():
        for form, metadata in _METADATA.items():
            path = folder / f"{name}.{form}"
            with replacing(path, sync=False) as temporary:
                fig.savefig(temporary, format=form, metadata=metadata, dpi=PNG_DPI)
            paths.append(path)
    return paths
