"""Figures as files: vector PDF with real fonts, PNG for the screen, the same bytes each time."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from ltat_tune.figures.style import PNG_DPI, look

# No dates and no version of the drawing library: equal data give equal files.
_METADATA: dict[str, dict[str, str | None]] = {
    "pdf": {"Creator": "ltat-tune", "Producer": None, "CreationDate": None},
    "png": {"Software": None},
}


def save(fig: Figure, folder: Path, name: str) -> list[Path]:
    """Writes `<folder>/<name>.pdf` and `.png`, and returns both paths in this order.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with look():
        for form, metadata in _METADATA.items():
            path = folder / f"{name}.{form}"
            fig.savefig(path, format=form, metadata=metadata, dpi=PNG_DPI)
            paths.append(path)
    return paths
