"""Draws what can be drawn, and says of the rest what is missing."""

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
    """One figure of the table after the command has tried it."""

    spec: FigureSpec
    paths: tuple[Path, ...] = ()  # PDF and PNG; empty: not drawn
    notes: tuple[str, ...] = ()
    missing: str = ""
    command: str = ""  # that makes what is missing

    def as_data(self) -> dict[str, Any]:
        """For `--format json`."""
        known = {
            "key": self.spec.key,
            "paper": self.spec.paper,
            "number": self.spec.number,
            "files": [str(path) for path in self.paths],
            "notes": list(self.notes),
        }
        return known if self.paths else {**known, "missing": self.missing,
                                         "command": self.command}  # fmt: skip


def draw(keys: Iterable[str], sources: Sources, folder: Path) -> Iterator[Drawn]:
    """Draws and writes these figures, one after another.

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
                made = spec.draw(sources)
        except (MissingData, CheckpointError, DataError) as error:
            own = error.command if isinstance(error, MissingData) else ""
            yield Drawn(spec, missing=str(error), command=own or spec.command)
            continue
        yield Drawn(spec, tuple(save(made.figure, folder, key)), made.notes)


def drawn_table(keys: Iterable[str]) -> list[dict[str, str]]:
    """What `--list` prints: figure, paper, what it shows, what it needs, command."""
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
    """The command that draws one figure again."""
    return shlex.join(["ltat-tune", "figures", *map(str, targets), "--only", key])
