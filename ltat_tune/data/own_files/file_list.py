"""A CSV file of image paths and labels."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.decoding import decode
from ltat_tune.data.images import Images, Source, expanded
from ltat_tune.errors import DataError

_SHOWN = 10
_SPLITS = ("train", "val", "test")


def listed_images(config: DataConfig) -> Source:
    """Open images that a CSV file lists: the columns path, label and split, in any order.

    `data.root` is that file. It may also be a folder that holds train.csv, test.csv and, if there
    are validation images, val.csv with the columns path and label. Paths are relative to the
    folder of the list. The classes are the labels, sorted; numbers are sorted as numbers.

    Raises:
        DataError: lists, columns, labels or files are missing. The error lists all problems.
    """
    rows = _rows(expanded(config.root or ""))
    labels = {row.label for listed in rows.values() for row in listed}
    numeric = all(label.isdecimal() for label in labels)
    classes = tuple(sorted(labels, key=(lambda label: int(label)) if numeric else None))
    label_of = {name: label for label, name in enumerate(classes)}
    _check_rows(rows, classes)

    def load(split: str) -> Images:
        decoded = decode([row.path for row in rows[split]], config.image_size)
        targets = np.array([label_of[row.label] for row in rows[split]], dtype=np.int64)
        notes = tuple(f"{split}: {note}" for note in decoded.notes)
        return Images(decoded.require(), targets, notes)

    return Source(
        classes=classes,
        train=lambda: load("train"),
        test=lambda: load("test"),
        val=(lambda: load("val")) if rows["val"] else None,
        train_counts=lambda: _counts(rows["train"], classes),
        files=lambda split: [row.path for row in rows[split]],
    )


@dataclass(frozen=True)
class _Row:
    path: Path
    label: str


def _rows(root: Path) -> dict[str, list[_Row]]:
    """Return the rows of every split."""
    if root.is_dir():
        files = {split: root / f"{split}.csv" for split in _SPLITS}
        missing = [str(files[split]) for split in ("train", "test") if not files[split].is_file()]
        if missing:
            raise DataError(
                f"data.root must be a CSV file, or a folder with train.csv and test.csv, but "
                f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
            )
        found: dict[str, list[_Row]] = {split: [] for split in _SPLITS}
        for split, file in files.items():
            if file.is_file():
                found[split] = [row for _, row in _read(file, split_column=False)]
        return found
    if not root.is_file():
        raise DataError(f"data.root must name a CSV file when data.name is csv, got {root}, "
                        "which is missing")  # fmt: skip
    by_split: dict[str, list[_Row]] = {split: [] for split in _SPLITS}
    for split, row in _read(root, split_column=True):
        by_split[split].append(row)
    return by_split


def _read(file: Path, *, split_column: bool) -> list[tuple[str, _Row]]:
    """Return split and row of every line. The split is empty without such a column."""
    needed = ("path", "label", "split") if split_column else ("path", "label")
    problems, rows = [], []
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            lines = csv.DictReader(text)
            columns = [name.strip() for name in lines.fieldnames or ()]
            if absent := [name for name in needed if name not in columns]:
                raise DataError(
                    f"{file}:1: the first line must name the columns {', '.join(needed)}, but "
                    f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing"
                )
            lines.fieldnames = columns
            for number, line in enumerate(lines, start=2):
                values = {name: (line.get(name) or "").strip() for name in needed}
                split = values.get("split", "")
                if empty := [name for name in needed if not values[name]]:
                    problems.append(f"{file}:{number}: {' and '.join(empty)} must not be empty")
                elif split_column and split not in _SPLITS:
                    problems.append(f"{file}:{number}: split must be one of {', '.join(_SPLITS)}, "
                                    f"got {split}")  # fmt: skip
                else:
                    rows.append((split, _Row(file.parent / values["path"], values["label"])))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as a CSV file in UTF-8 ({error})") from error
    if problems:
        more = len(problems) - _SHOWN
        shown = problems[:_SHOWN] + ([f"... and {more} more lines"] if more > 0 else [])
        raise DataError("\n".join(shown))
    return rows


def _counts(rows: list[_Row], classes: tuple[str, ...]) -> list[int]:
    counts = dict.fromkeys(classes, 0)
    for row in rows:
        counts[row.label] += 1
    return list(counts.values())


def _check_rows(rows: dict[str, list[_Row]], classes: tuple[str, ...]) -> None:
    problems = []
    if len(classes) < 2:
        problems.append(f"the lists must hold two or more labels, got {', '.join(classes)}")
    for split, listed in rows.items():
        counts = _counts(listed, classes)
        empty = [name for name, count in zip(classes, counts, strict=True) if not count]
        if empty and (listed or split != "val"):
            problems.append(
                f"{split} must list images of every class, but lists none of "
                f"{', '.join(empty[:_SHOWN])}{', ...' if len(empty) > _SHOWN else ''}"
            )
    first: dict[Path, str] = {}
    twice = []
    for split, listed in rows.items():
        twice += [f"{row.path} ({first[row.path]} and {split})" for row in listed
                  if first.setdefault(row.path, split) != split]  # fmt: skip
    if twice:
        problems.append(
            f"an image must be in one split only, but {len(twice)} are in two: "
            f"{', '.join(twice[:_SHOWN])}{', ...' if len(twice) > _SHOWN else ''}"
        )
    if problems:
        raise DataError("\n".join(problems))
