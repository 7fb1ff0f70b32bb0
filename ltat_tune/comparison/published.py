"""Set the papers' numbers for a problem beside ours, and name differences in protocol."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from ltat_tune.comparison import audit
from ltat_tune.comparison.compare import ComparedBlock, Comparison
from ltat_tune.comparison.entries import ComparedEntry
from ltat_tune.presentation.names import ratio_in_words, reached_note, reached_ratio

_FILES = ("published_results.csv", "published_rivals.csv")  # REAT and SRAT; what came after
_EPS = 8 / 255  # eps of both papers in the tables that are matched
# a paper's protocol, from its text and its authors' release, where both can be read
_PROTOCOLS = {
    "REAT": {"epochs": 80, "kept": "the epoch that was best by PGD-20 on the test images",
             "runs": "3 runs on one subset"},
    "SRAT": {"epochs": 200, "kept": "the last epoch", "runs": "3 runs, each on its own subset"},
}  # fmt: skip


@dataclass(frozen=True)
class Published:
    """One printed method of one table.

    Attributes:
        scores: (attack, group) -> (mean, spread) as printed, in percent.
    """

    source: str  # `REAT Table 1`
    dataset: str
    profile: str
    ratio: float
    model: str
    method: str
    loss: str
    scores: Mapping[tuple[str, str], tuple[float, float | None]]

    @property
    def paper(self) -> str:
        """The paper's name, such as `REAT`."""
        return self.source.partition(" ")[0]


@dataclass(frozen=True)
class Beside:
    """A block of ours and the papers' rows for its problem.

    Attributes:
        columns: the (attack, group) that both have.
        differences: sentences on differences in protocol, or on why nothing matches.
        warnings: sentences on printed numbers that contradict each other or what is known.
    """

    block: ComparedBlock
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Published]
    differences: Sequence[str]
    warnings: Sequence[str] = ()

    def as_data(self) -> dict[str, Any]:
        """Return the rows for `--format json`, in percent as printed."""
        return {
            "title": self.block.title, "differences": list(self.differences),
            "warnings": list(self.warnings),
            "rows": [
                {
                    "source": row.source, "method": row.method, "loss": row.loss,
                    "scores": {metric(column): row.scores[column][0]
                               for column in self.columns if column in row.scores},
                }
                for row in self.rows
            ],
        }  # fmt: skip


@cache
def read_published() -> tuple[Published, ...]:
    """Return every printed row that the package ships, in the order of the tables."""
    folder = resources.files("ltat_tune.comparison")
    texts = [(folder / name).read_text("utf-8") for name in _FILES]
    names = ("source", "dataset", "profile", "ratio", "model", "method", "loss")
    scores_by_row: dict[tuple[str, ...], dict[tuple[str, str], tuple[float, float | None]]] = {}
    for row in (row for text in texts for row in csv.DictReader(text.splitlines())):
        spread = float(row["spread"]) if row["spread"] else None
        scores = scores_by_row.setdefault(tuple(row[name] for name in names), {})
        scores[row["attack"], row["group"]] = float(row["mean"]), spread
    return tuple(
        Published(source, dataset, profile, float(ratio), model, method, loss, scores)
        for (source, dataset, profile, ratio, model, method, loss), scores in scores_by_row.items()
    )


def beside_published(comparison: Comparison) -> list[Beside]:
    """Return, for every block, the papers' rows for its data set, profile, ratio and model."""
    return [_beside(block) for block in comparison.blocks]


def metric(column: tuple[str, str]) -> str:
    """Return the metric of an attack and a group, such as `test/pgd20_under_acc`."""
    attack, group = column
    return f"test/{attack}_acc" if group == "all" else f"test/{attack}_{group}_acc"


def _beside(block: ComparedBlock) -> Beside:
    config = block.entries[0].config
    data = config.data
    here = [row for row in read_published() if row.dataset == data.name]
    if not here:
        sets = ", ".join(dict.fromkeys(row.dataset for row in read_published()))
        why = f"no paper here reports {data.name}; they report {sets}"
        return Beside(block, (), (), [why])
    problem = [r for r in here if (r.profile, r.ratio) == (data.profile, data.imbalance_ratio)]
    rows = [r for r in problem if r.model == config.model.name and data.classes is None]
    if not rows:
        ratio = ratio_in_words(data, block.entries[0].samples_per_class)
        ours = f"{data.name}, {data.profile} {ratio}, {config.model.name}"
        if data.classes is not None:
            ours += f", {len(data.classes)} classes"
        reported = ", ".join(dict.fromkeys(f"{r.profile} {r.ratio:g} on {r.model}" for r in here))
        return Beside(
            block, (), (), [f"no paper here reports {ours}; on {data.name} they report {reported}"]
        )
    measured = {m for entry in block.entries for seed in entry.seeds for m in seed.metrics}
    columns = [
        c for c in dict.fromkeys(c for r in rows for c in r.scores) if metric(c) in measured
    ]
    trained = [entry for entry in block.entries if entry.seeds]
    differences = _differences(trained, {row.paper for row in rows}) if trained else []
    if not columns:
        differences.append(
            "none of the papers' attacks was measured here; list them in confirm.attacks"
        )
    return Beside(block, columns, _merged(rows, columns), differences, audit.contradictions(rows))


def _merged(rows: Sequence[Published], columns: Sequence[tuple[str, str]]) -> list[Published]:
    """Merge rows of one method that several tables print with the same numbers."""
    merged: list[Published] = []
    for row in rows:
        shown = {column: row.scores[column] for column in columns if column in row.scores}
        if not shown:
            continue
        what = (row.paper, row.method, row.loss)
        for place, other in enumerate(merged):
            same = (other.paper, other.method, other.loss) == what
            if same and shown.items() <= other.scores.items():
                table = row.source.rpartition(" ")[2]
                merged[place] = replace(other, source=f"{other.source}, {table}")
                break
        else:
            merged.append(replace(row, scores=shown))
    return merged


def _differences(entries: Sequence[ComparedEntry], papers: set[str]) -> list[str]:
    """Return sentences on how our protocol differs from that of the papers."""
    differences = []
    config = entries[0].config
    if abs(config.measured_eps - _EPS) > 1e-6 or config.measured_norm != "linf":
        differences.append(
            f"attacks here use {config.measured_norm} with eps {config.measured_eps:.4g}, "
            "in the papers linf with 8/255"
        )
    if config.data.val_source == "train":
        differences.append(
            f"here {config.data.val_per_class} validation images of each class are held out of "
            "the training images, in the papers none"
        )
    if counts := entries[0].samples_per_class:
        if reached_note(config.data, counts):
            differences.append(
                f"the training images here have imbalance ratio {reached_ratio(counts):.4g}, in "
                f"the papers {config.data.imbalance_ratio:.4g}"
            )
    lengths = sorted({entry.epochs for entry in entries})
    for paper in sorted(papers):
        theirs = _PROTOCOLS.get(paper)
        if theirs is None:
            differences.append(f"how {paper} trained and tested is known only in part")
            continue
        differences.append(
            f"{paper} keeps {theirs['kept']}, with {theirs['runs']}; here it is {_kept(entries)}"
        )
        if lengths != [theirs["epochs"]]:
            ours = ", ".join(map(str, lengths))
            differences.append(f"{paper} trains for {theirs['epochs']} epochs, here it is {ours}")
    images = {(a, n) for e in entries for s in e.seeds for a, n in (s.test_images or {}).items()}
    most = max((n for _, n in images), default=0)
    for attack, count in sorted(images):
        if count < most:
            differences.append(f"{attack} was run here on {count} of {most} test images")
    return differences


def _kept(entries: Sequence[ComparedEntry]) -> str:
    how = entries[0].config.evaluation.select_epoch
    seeds = sorted({len(entry.seeds) for entry in entries})
    kept = (
        "the last epoch" if how == "last" else f"the epoch chosen by evaluation.select_epoch {how}"
    )
    return f"{kept}, with {' or '.join(map(str, seeds))} seeds on one subset"
