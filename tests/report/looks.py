"""Copies of the reported study with something changed, and what their reports say."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ltat_tune.report.blocks import Listing, PageSection, Plot, Table, Text
from ltat_tune.report.data import Reader
from ltat_tune.report.write import sections, write_report
from ltat_tune.storage.folder import StudyFolder


def copy_of(study: Path, folder: Path, name: str = "reported") -> Path:
    """The study's files anew, to be changed."""
    target = folder / name
    shutil.copytree(study, target, ignore=shutil.ignore_patterns("mlflow*", "data"))
    return target


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Changes what a JSON file holds."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def read(study: Path) -> dict[str, PageSection]:
    """The report's sections by their keys."""
    data = Reader(StudyFolder.open(study)).read()
    return {section.key: section for section in sections(data)}


def words(section: PageSection) -> str:
    """All sentences and captions of a section, a line each."""
    found: list[str] = []
    for block in section.blocks:
        if isinstance(block, Text):
            found.append(block.text)
        elif isinstance(block, Listing):
            found += block.items
        elif isinstance(block, Plot | Table):
            found.append(block.caption)
    return "\n".join(found)


def tables(section: PageSection) -> list[Table]:
    """All tables, those behind plots too."""
    found = []
    for block in section.blocks:
        if isinstance(block, Table):
            found.append(block)
        elif isinstance(block, Plot) and block.numbers is not None:
            found.append(block.numbers)
    return found


def plots(section: PageSection) -> list[Plot]:
    """All plots."""
    return [block for block in section.blocks if isinstance(block, Plot)]


def written(study: Path, target: Path) -> str:
    """The file's text."""
    write_report(Reader(StudyFolder.open(study)), target)
    return target.read_text()


def visible(page: str) -> str:
    """What a browser shows of a page without running its scripts, on one line."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", body)))
