"""Draws the figures whose data are there, and reports what the others lack."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltat_tune.errors import CheckpointError, DataError, MissingData
from ltat_tune.figures.registry import FIGURES
from ltat_tune.figures.save import save
from ltat_tune.figures.sources import Sources
from ltat_tune.figures.spec import FigureSpec, Need
from ltat_tune.figures.style import look

_NEEDS: dict[Need, str] = {
    "counts": "training counts", "results": "accuracies",
    "predicted": "predictions of the training images by epoch",
    "ae_distances": "distances of AEs by epoch (evaluation.ae_distance_images)",
    "history": "epochs in checkpoint.pt", "checkpoint": "weights in checkpoint.pt",
    "evaluation": "a card of ltat-tune evaluate",
}  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """One figure of the table, after the command has tried to draw it."""

    spec: FigureSpec
    paths: tuple[Path, ...] = ()  # PDF and PNG; empty if not drawn
    notes: tuple[str, ...] = ()
    missing: str = ""
    command: str = ""  # creates what is missing

    def as_data(self) -> dict[str, Any]:
        """Return the data for `--format json`."""
        data = {
            "key": self.spec.key,
            "paper": self.spec.paper,
            "number": self.spec.number,
            "files": [str(path) for path in self.paths],
            "notes": list(self.notes),
        }
        return data if self.paths else {**data, "missing": self.missing,
                                         "command": self.command}  # fmt: skip


def draw(keys: Iterable[str], sources: Sources, folder: Path) -> Iterator[Drawn]:
    """Draw and write figures one after another. Yields each result.

    Raises:
        OSError: the folder cannot be written.
    """
    for key in keys:
        spec = FIGURES[key]
        if spec.draw is None:
            yield Drawn(spec, missing=spec.reason, command=spec.command)
            continue
        try:
            with look():
                drawing = spec.draw(sources)
        except (MissingData, CheckpointError, DataError) as error:
            own = error.command if isinstance(error, MissingData) else ""
            yield Drawn(spec, missing=str(error), command=own or spec.command)
            continue
        yield Drawn(spec, tuple(save(drawing.figure, folder, key)), drawing.notes)


def drawn_table(keys: Iterable[str]) -> list[dict[str, str]]:
    """Return the rows of `--list`, with the keys key, paper, figure, shows, needs and command."""
    return [
        {
            "key": spec.key,
            "paper": spec.paper,
            "figure": spec.number,
            "shows": spec.title,
            "needs": ", ".join(_NEEDS[need] for need in spec.needs) or "no training",
            "command": spec.command if spec.draw is not None else f"not drawn: {spec.reason}",
        }
        for spec in (FIGURES[key] for key in keys)
    ]


def again(targets: Iterable[Path], key: str) -> str:
    """Return the command that draws one figure again."""
    return shlex.join(["ltat-tune", "figures", *map(str, targets), "--only", key])
