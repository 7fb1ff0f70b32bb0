"""Write a comparison as a table for the terminal, CSV, LaTeX, Markdown or JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ltat_tune.comparison.compare import ComparedBlock, Comparison
from ltat_tune.comparison.entries import ComparedEntry
from ltat_tune.comparison.significance import DUNNETT, Significance, significance_data
from ltat_tune.presentation.rich_table import PlainTable
from ltat_tune.presentation.text_tables import csv_text, latex_part, markdown_part
from ltat_tune.presentation.units import percent
from ltat_tune.results.wording import SPREAD, mean_std
from ltat_tune.space.space import text_of

ON_TEST = "Selected on the test images: optimistic"
_SHOWN_PARAMETERS = 4


def comparison_text(comparison: Comparison) -> RenderableType:
    """Return the blocks one below the other, for a terminal of 80 columns or more."""
    parts: list[RenderableType] = []
    for block in comparison.blocks:
        parts.append(Text())
        parts.append(Text(block.title, style="bold"))
        if not block.honest:
            parts.append(Text("SELECTED ON TEST", style="bold red"))
        parts.append(_table(comparison, block))
        parts += [Text(line, style="dim") for line in _legend(comparison, block)]
        parts += [Text(note, style="red" if not block.honest else "dim") for note in block.notes]
        parts += [Text(line, style="dim") for line in _tests_in_words(block)]
    if comparison.overall:
        parts += [Text(), Text("over all these problems", style="bold"), _overall(comparison)]
        parts += [Text(line, style="dim") for line in _overall_in_words(comparison)]
    parts += [Text(f"note: {note}", style="yellow") for note in comparison.notes]
    return Group(*parts)


def _table(comparison: Comparison, block: ComparedBlock) -> PlainTable:
    table = PlainTable()
    table.add_column(", ".join(comparison.by) or "configuration", overflow="fold")
    for metric in comparison.metrics:
        table.add_column(heading(metric), justify="right")
    for title in ("p", "n", "epoch", "search"):
        table.add_column(title, justify="right")
    for entry, test in _tested(block):
        table.add_row(_name(entry, block.entries), *_numbers(comparison, entry, test))
    return table


def _tested(block: ComparedBlock) -> Iterator[tuple[ComparedEntry, Significance | None]]:
    """Return every entry with its test against the reference; None where there is none."""
    return zip(block.entries, block.tests, strict=True)


def _numbers(comparison: Comparison, entry: ComparedEntry, test: Significance | None) -> list[str]:
    return [
        *[mean_text(entry, metric) for metric in comparison.metrics],
        _p(test), str(len(entry.scores(comparison.metrics[0]))), kept(entry), str(entry.searched),
    ]  # fmt: skip


def heading(metric: str) -> str:
    """Return a metric such as `val/pgd20_balanced_acc` as a heading of two lines."""
    split, _, rest = metric.partition("/")
    attack, _, group = rest.removesuffix("_acc").partition("_")
    return f"{split}/{attack}\n{group or 'acc'}, %"


def mean_text(entry: ComparedEntry, metric: str) -> str:
    """Return an entry's mean and standard deviation in percent, `41.2 ± 0.4`."""
    return mean_std(list(entry.scores(metric).values()))


def kept(entry: ComparedEntry) -> str:
    """Return `14/16`: the epoch of the kept weights, median over seeds, and the epochs trained.

    Return `-` for an entry without seeds.
    """
    if not entry.seeds:
        return "-"
    epochs = [seed.epoch for seed in entry.seeds if seed.epoch is not None]
    return f"{statistics.median_high(epochs) if epochs else '?'}/{entry.epochs}"


def _name(entry: ComparedEntry, beside: Sequence[ComparedEntry]) -> Text:
    text = Text(entry.row)
    if entry.state:
        text.append(f"\n{entry.name} {entry.state}" if entry.trial else f"\n{entry.state}", "dim")
        return text
    role = "" if entry.role == "trial" else f" {entry.role}"
    text.append(f"\n{entry.name}{role}" if entry.label else role or " one trial", style="dim")
    if not entry.label:
        values = ", ".join(f"{path.rpartition('.')[2] if not path.endswith('.name') else ''} "
                           f"{text_of(value)}".strip()
                           for path, value in unlike(entry, beside).items())  # fmt: skip
        text.append(f"\n{values}" if values else "", style="dim")
    return text


def unlike(entry: ComparedEntry, beside: Sequence[ComparedEntry]) -> dict[str, Any]:
    """Return path -> value of the first few tuned parameters in which the entries differ."""
    paths = dict.fromkeys(path for other in beside for path in other.params)
    values = {path: entry.config.get(path) for path in paths}
    differing = [
        path for path in paths if len({repr(other.config.get(path)) for other in beside}) > 1
    ]
    return {path: values[path] for path in differing[:_SHOWN_PARAMETERS]}


def _p(test: Significance | None) -> str:
    if test is None or test.adjusted is None:
        return ""
    return "<0.001" if test.adjusted < 0.001 else f"{test.adjusted:.2g}"


def _tests_in_words(block: ComparedBlock) -> list[str]:
    """Return lines that name the reference and the test behind each row's p."""
    named: dict[str, list[str]] = {}
    for entry, test in _tested(block):
        if test is None:
            continue
        what = test.test if test.p is None else f"{test.test} over {test.n} seeds"
        if test.test in ("paired t-test", "exact sign test"):
            what += " (same subset and seed)"
        named.setdefault(what, []).append(entry.row)
    against = f"p against {block.reference.words}"
    lines = [f"{against}: {test}: {', '.join(who)}" for test, who in named.items()]
    tests = [test for test in block.tests if test is not None and test.p is not None]
    if len(tests) > 1:
        by = "" if any(test.test == DUNNETT for test in tests) else "by Holm's method "
        lines.append(f"p corrected {by}for {len(tests)} comparisons")
    return lines


def _overall(comparison: Comparison) -> PlainTable:
    table = PlainTable()
    table.add_column(", ".join(comparison.by))
    mean = heading(comparison.metrics[0])
    for title in ("mean\nrank", mean, "reference\nahead in", "p, exact\nsign test"):
        table.add_column(title, justify="right")
    problems = max(row.measured for row in comparison.overall)
    for row in comparison.overall:
        label = Text(row.label)
        if row.mean is None:
            label.append(f"\nmeasured in {row.measured} of {problems} problems", "dim")
        table.add_row(
            label, "-" if row.mean_rank is None else f"{row.mean_rank:.2f}",
            percent(row.mean, missing="-"),
            "" if row.ahead is None else f"{row.ahead} of {problems}",
            "" if row.adjusted is None else f"{row.adjusted:.2g}",
        )  # fmt: skip
    return table


def _overall_in_words(comparison: Comparison) -> list[str]:
    count = sum(row.p is not None for row in comparison.overall)
    if not count:
        return []
    corrected = f", corrected by Holm's method for {count} comparisons" if count > 1 else ""
    return [f"reference: {comparison.overall_reference}; p against it{corrected}"]


def as_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one flat row for each entry, accuracies as fractions, for CSV and data frames."""
    rows = []
    for block in comparison.blocks:
        for entry, test in _tested(block):
            row: dict[str, Any] = {
                "problem": block.title, "selected_on_test": entry.selected_on_test,
                "group": entry.row if entry.label else "",
                "study": entry.study, "scenario": entry.scenario,
                "trial": entry.trial, "role": entry.role, "state": entry.state or "measured",
            }  # fmt: skip
            for metric in comparison.metrics:
                scores = list(entry.scores(metric).values())
                row |= {metric: statistics.fmean(scores) if scores else None}
                spread = statistics.stdev(scores) if len(scores) > 1 else None
                row |= {f"{metric} standard deviation": spread}
            row |= {
                "n": len(entry.scores(comparison.metrics[0])),
                "epoch": kept(entry).partition("/")[0], "epochs": entry.epochs,
                "search_epochs": entry.searched, "search_trials": entry.trials,
                "reference": entry is block.reference.entry,
                "gain_over_reference": None if test is None else test.gain,
                "p": None if test is None else test.p,
                "p_corrected": None if test is None else test.adjusted,
                "test": "" if test is None else test.test,
                "finished": entry.finished, "smoke": entry.smoke,
            }  # fmt: skip
            rows.append(row)
    return rows


def as_csv(comparison: Comparison) -> str:
    """Return the rows of `as_rows` as CSV with a header line."""
    return csv_text(as_rows(comparison))


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the blocks with every seed's numbers, for `--format json`."""
    return {
        "by": list(comparison.by), "metrics": list(comparison.metrics),
        "notes": list(comparison.notes),
        "blocks": [
            {
                "title": block.title, "selected_on_test": not block.honest,
                "notes": list(block.notes),
                "entries": [_entry_json(comparison, e) for e in block.entries],
                "reference": block.reference.words or None,
                "tests": [significance_data(test) for test in block.tests],
            }
            for block in comparison.blocks
        ],
        "overall_reference": comparison.overall_reference or None,
        "overall": [dict(vars(row)) for row in comparison.overall],
    }  # fmt: skip


def _entry_json(comparison: Comparison, entry: ComparedEntry) -> dict[str, Any]:
    return {
        "label": entry.label, "study": entry.study, "scenario": entry.scenario,
        "trial": entry.number, "role": entry.role, "state": entry.state or "measured",
        "is_baseline": entry.is_baseline, "is_extra": entry.is_extra,
        "params": dict(entry.params),
        "epochs": entry.epochs, "search_epochs": entry.searched, "search_trials": entry.trials,
        "seeds": [
            {
                "seed": seed.seed, "subset_hash": seed.subset, "epoch": seed.epoch,
                "metrics": {m: seed.metrics[m] for m in comparison.metrics if m in seed.metrics},
            }
            for seed in entry.seeds
        ],
    }  # fmt: skip


def _cells(comparison: Comparison, block: ComparedBlock) -> list[list[str]]:
    """Return the heading and the rows of a printed table."""
    head = ["", *comparison.metrics, "p", "n", "epoch", "search epochs"]
    rows = [
        [printed_row(entry), *_numbers(comparison, entry, test)] for entry, test in _tested(block)
    ]
    return [head, *rows]


def printed_row(entry: ComparedEntry) -> str:
    """Return the name of a printed row: its value, with the reason if it was not measured."""
    if entry.state:
        return f"{entry.label} ({entry.state})"
    return entry.row if entry.label else f"{entry.name} {entry.role}"


def as_markdown(comparison: Comparison) -> str:
    """Return a Markdown table for each block."""
    parts = [
        markdown_part(
            block.marked_title, _cells(comparison, block),
            [*_legend(comparison, block), *_below(block)],
        )
        for block in comparison.blocks
    ]  # fmt: skip
    parts += [f"note: {note}  \n" for note in comparison.notes]
    return "".join(parts).rstrip() + "\n"


def as_latex(comparison: Comparison) -> str:
    """Return a `tabular` with booktabs for each block; notes become comments."""
    parts = ["% needs \\usepackage{booktabs}; accuracy in percent\n"]
    for block in comparison.blocks:
        mark = "" if block.honest else ON_TEST
        parts.append(
            latex_part(
                block.marked_title, _cells(comparison, block), _below(block), mark=mark,
                legend=_legend(comparison, block),
            )
        )  # fmt: skip
    return "".join([*parts, *[f"% note: {note}\n" for note in comparison.notes]])


def _legend(comparison: Comparison, block: ComparedBlock) -> list[str]:
    """Return the line on ± for the foot of a table, unless it has none."""
    scores = (entry.scores(metric) for entry in block.entries for metric in comparison.metrics)
    return [SPREAD] if any(len(one) > 1 for one in scores) else []


def _below(block: ComparedBlock) -> list[str]:
    return [*block.notes, *_tests_in_words(block)]
