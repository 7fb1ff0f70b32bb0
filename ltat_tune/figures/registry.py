"""Every figure by its key: those of REAT, those of SRAT, and those that neither paper has."""

from __future__ import annotations

from ltat_tune.figures.extra.specs import EXTRAS
from ltat_tune.figures.reat.specs import REAT_FIGURES
from ltat_tune.figures.spec import FigureSpec
from ltat_tune.figures.srat.specs import SRAT_FIGURES

FIGURES: dict[str, FigureSpec] = {**REAT_FIGURES, **SRAT_FIGURES, **EXTRAS}
