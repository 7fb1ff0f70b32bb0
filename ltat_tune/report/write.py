"""Build the pages' sections and write their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ltat_tune.comparison.leaderboard import Standing
from ltat_tune.errors import StudyError
from ltat_tune.files import write_text
from ltat_tune.report import models, record, search, trainings, verdict
from ltat_tune.report.blocks import PageSection
from ltat_tune.report.data import Reader, ReportData
from ltat_tune.report.interactive import live
from ltat_tune.report.interactive.trial_cards import trial_cards
from ltat_tune.report.leaderboard_page import leaderboard_page
from ltat_tune.report.page import page


def sections(data: ReportData) -> list[PageSection]:
    """Return the report's chapters in their order."""
    running = live.now(data)
    return [
        *([running] if running is not None else []),
        verdict.verdict_section(data),
        verdict.winners(data),
        search.race(data),
        search.importance(data),
        search.where_good_values_lie(data),
        trainings.curves_section(data),
        models.trade_off_section(data),
        models.classes(data),
        models.masking_section(data),
        verdict.confirmations_section(data),
        record.failures(data),
        record.costs(data),
        record.protocol(data),
        record.reproduce(data),
        record.all_trials(data),
    ]


def write_report(reader: Reader, target: Path, *, refresh_s: int | None = None) -> ReportData:
    """Read the study and write its report; the file is replaced in one step.

    Args:
        reader: the reader of the study.
        target: the HTML file.
        refresh_s: seconds after which a browser loads the file again; None for never.

    Raises:
        StudyError: the ledger cannot be read, or the file cannot be written.
        SpaceError: the study's space file is not valid in this version.
    """
    data = reader.read()
    cards = trial_cards(data, target)
    text = page(data, sections(data), verdict.warnings(data), cards=cards, refresh_s=refresh_s)
    _write(target, text)
    return data


def write_leaderboard(rows: Sequence[Standing], target: Path) -> None:
    """Write the leaderboard's page; the file is replaced in one step.

    Args:
        rows: the winners, as `standings` returns them.
        target: the HTML file.

    Raises:
        StudyError: the file cannot be written.
    """
    _write(target, leaderboard_page(rows, target))


def _write(target: Path, text: str) -> None:
    try:
        write_text(target, text)
    except OSError as error:
        raise StudyError(
            f"cannot write the report to {target}: {error.strerror}; choose another file with --to"
        ) from error
