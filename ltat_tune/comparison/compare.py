"""Compare entries: check that they are comparable, group them into blocks, and test them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ltat_tune.comparison.entries import (
    ComparedEntry,
    Reviewed,
    confirmed_entries,
    resolve_key,
)
from ltat_tune.comparison.over_problems import Overall, over_problems
from ltat_tune.comparison.reference import Reference, check_against, find_reference
from ltat_tune.comparison.significance import Significance, compare_with_reference, mean_error
from ltat_tune.comparison.values import grouped_entries
from ltat_tune.errors import StudyError
from ltat_tune.presentation.names import ratio_in_words, reached_note
from ltat_tune.results.verdict import searched_on
from ltat_tune.results.wording import tested_part
from ltat_tune.space.space import text_of

DIFFERENCES = ("subset", "split", "eps", "smoke")
# entries that differ in these are different problems and stand in blocks of their own
_PROBLEM = ("data.name", "data.profile", "data.imbalance_ratio", "data.classes")
_SUBSET = ("data.counts", "data.max_per_class", "data.base", "data.rounding", "data.image_size",
           "data.root", "data.val_per_class", "seeds.subset_seed")  # fmt: skip
_NOT_RANKED = "selected on the test images: optimistic, and not to be ranked with the others"


@dataclass(frozen=True)
class ComparedBlock:
    """Entries of one problem, best first.

    Attributes:
        reference: the entry that the others are tested against; it was fixed beforehand.
        tests: the test of each entry, in their order; None for the reference and for what was not
            measured at all.
        honest: whether the validation images were other images than the test images.
        notes: remarks that a reader of the block needs.
    """

    title: str
    entries: Sequence[ComparedEntry]
    reference: Reference
    tests: Sequence[Significance | None]
    honest: bool
    notes: Sequence[str] = ()

    @property
    def marked_title(self) -> str:
        """The title, with a warning if the entries were selected on the test images."""
        return self.title if self.honest else f"{self.title}: SELECTED ON TEST"


@dataclass(frozen=True)
class Comparison:
    """All blocks of a comparison; the first of `metrics` ranks the entries."""

    by: Sequence[str]
    metrics: Sequence[str]
    blocks: Sequence[ComparedBlock]
    overall: Sequence[Overall] = ()
    overall_reference: str = ""  # the label that `overall` is tested against
    notes: Sequence[str] = field(default=())


def put_together(
    studies: Sequence[Reviewed],
    *,
    by: Sequence[str] = (),
    metrics: Sequence[str] = (),
    allowed: Sequence[str] = (),
    against: str = "",
) -> Comparison:
    """Compare the confirmed configurations of studies, or the best of every value of `by`.

    Args:
        studies: the studies, in any state.
        by: words that `resolve_key` takes; none compares winners, confirmed and baselines.
        metrics: the metrics to show; the first ranks. If empty, the studies' objective is shown.
        allowed: kinds of `DIFFERENCES` to compare anyway.
        against: the row that the others are tested against, as `find_reference` takes it.

    Raises:
        StudyError: the studies are not comparable; it lists every difference with its reason.
    """
    keys = [resolve_key(word) for word in by]
    entries = [
        entry
        for study in studies
        for entry in (grouped_entries(study, keys) if keys else confirmed_entries(study))
    ]
    measured = [entry for entry in entries if entry.seeds]
    if not measured:
        names = ", ".join(study.folder.root.name for study in studies)
        raise StudyError(f"there is nothing to compare: no trial of {names} is complete yet")
    shown = list(metrics) or [_objective(measured)]
    _check_metrics(measured, shown)
    groups = _blocks(entries, keys)
    across = "scenario" in keys or any(key in _PROBLEM for key in keys)
    _check(groups, allowed, across=across)
    with_baseline = not across and "study" not in keys
    rows = [_best_of_each(group, with_baseline) if keys else group for group in groups]
    check_against(rows, shown[0], against, across=across)
    blocks = [_block(group, shown[0], against, across) for group in rows]
    blocks.sort(key=lambda block: not block.honest)
    overall, reference = _overall(rows, blocks, shown[0]) if keys and not across else ([], "")
    notes = _notes(studies, blocks, allowed)
    return Comparison(keys, shown, blocks, overall, reference, notes)


def _objective(entries: Sequence[ComparedEntry]) -> str:
    objectives = list(dict.fromkeys(entry.objective for entry in entries))
    if len(objectives) > 1:
        shared = set.intersection(*[{m for seed in e.seeds for m in seed.metrics}
                                    for e in entries])  # fmt: skip
        both = sorted(m for m in shared if m.startswith(("val/", "test/")) and m.endswith("_acc"))
        remedy = (
            f"choose one that all of them have: --metric {both[0]}" if both else "they share none"
        )
        raise StudyError(f"the studies are judged by different metrics ({', '.join(objectives)}); "
                         f"{remedy}")  # fmt: skip
    return objectives[0]


def _check_metrics(entries: Sequence[ComparedEntry], metrics: Sequence[str]) -> None:
    measured_names = sorted({name for e in entries for seed in e.seeds for name in seed.metrics})
    problems = []
    for metric in metrics:
        if metric not in measured_names:
            measured = ", ".join(name for name in measured_names if name.endswith("_acc")
                                 and name.count("_") == 1)  # fmt: skip
            problems.append(f"--metric {metric} was not measured; choose from {measured}, ...")
    if problems:
        raise StudyError("\n".join(problems))


def _blocks(entries: Sequence[ComparedEntry], keys: Sequence[str]) -> list[list[ComparedEntry]]:
    """Return the entries grouped by problem, with those selected on test apart."""
    axes = dict.fromkeys(path for entry in entries for path in entry.axes)
    paths = [path for path in dict.fromkeys((*_PROBLEM, *axes)) if path not in keys]
    groups: dict[tuple[str, ...], list[ComparedEntry]] = defaultdict(list)
    for entry in entries:
        problem = [] if "scenario" in keys else [text_of(entry.config.get(path)) for path in paths]
        groups[str(entry.selected_on_test), *problem].append(entry)
    return list(groups.values())


def _check(
    groups: Sequence[Sequence[ComparedEntry]], allowed: Sequence[str], *, across: bool
) -> None:
    """Raise StudyError with every difference that makes the numbers incomparable."""
    problems: dict[str, str] = {}
    for group in groups:
        first, *others = [entry for entry in group if entry.seeds] or group[:1]
        for other in others:
            differences = _differences(first, other)
            if across:  # the user asked for several problems, and each has its own images
                differences.pop("subset", None)
            for kind, why in differences.items():
                if kind not in allowed and "all" not in allowed:
                    text = f"{first.name} and {other.name} ({first.title}): {why}"
                    problems.setdefault(kind, text)
    everyone = [entry for group in groups for entry in group]
    if all(e.smoke for e in everyone) and not {"smoke", "all"} & set(allowed):
        problems["smoke"] = "these are smoke runs, and their numbers mean nothing"
    if problems:
        lines = [f"{kind}: {why}" for kind, why in problems.items()]
        flags = " ".join(f"--allow-different {kind}" for kind in problems)
        raise StudyError(
            "these numbers cannot be ranked together\n  "
            + "\n  ".join(lines)
            + f"\n  to compare them anyway, add {flags}"
        )


def _differences(first: ComparedEntry, other: ComparedEntry) -> dict[str, str]:
    """Return kind -> description of each difference between two entries."""
    differences: dict[str, str] = {}
    ours = {seed.subset for seed in first.seeds if seed.subset}
    theirs = {seed.subset for seed in other.seeds if seed.subset}
    paths = _unlike(first, other, _SUBSET)
    if ours and theirs and ours != theirs:
        why = f" ({paths})" if paths else ""
        differences["subset"] = f"they trained on different images{why}"
    elif paths and not (ours and theirs):
        differences["subset"] = f"they train on different images ({paths})"
    splits = [_unlike(first, other, ("data.val_source", "data.val_per_class"))]
    images = [next((s.test_images for s in e.seeds if s.test_images), {}) for e in (first, other)]
    for attack in images[0].keys() & images[1].keys():
        if images[0][attack] != images[1][attack]:
            splits.append(f"{attack} on {images[0][attack]} and {images[1][attack]} test images")
    if any(splits):
        differences["split"] = (
            f"they are measured on different images ({', '.join(filter(None, splits))})"
        )
    balls = [(e.config.measured_norm, e.config.measured_eps) for e in (first, other)]
    if balls[0] != balls[1]:
        strengths = " and ".join(f"{norm} {eps:.4g}" for norm, eps in balls)
        differences["eps"] = f"they are attacked with different strengths ({strengths})"
    if first.smoke != other.smoke:
        which = first.study if first.smoke else other.study
        differences["smoke"] = f"{which} is a smoke run, and its numbers mean nothing"
    return differences


def _unlike(first: ComparedEntry, other: ComparedEntry, paths: Sequence[str]) -> str:
    values = [(path, first.config.get(path), other.config.get(path)) for path in paths]
    return ", ".join(f"{path} {text_of(a)} and {text_of(b)}" for path, a, b in values if a != b)


def _best_of_each(group: Sequence[ComparedEntry], with_baseline: bool) -> list[ComparedEntry]:
    """Return the best entry of each value over all studies, in the order of the space file.

    Each study's objective decides, whatever is shown. If no row is a baseline, the first baseline
    that was confirmed follows, to be the reference.
    """
    best: dict[str, ComparedEntry] = {}
    for entry in group:
        known = best.get(entry.label)
        if not entry.is_extra and (known is None or _standing(entry) > _standing(known)):
            best[entry.label] = entry
    rows = list(best.values())
    if with_baseline and not any(_is_confirmed_baseline(row) for row in rows):
        baselines = [entry for entry in group if _is_confirmed_baseline(entry)]
        rows += [replace(entry, is_extra=True) for entry in baselines[:1]]
    return rows


def _is_confirmed_baseline(entry: ComparedEntry) -> bool:
    return entry.is_baseline and entry.role != "trial" and bool(entry.seeds)


def _standing(entry: ComparedEntry) -> tuple[bool, bool, float]:
    """Return (whether it was measured, whether it is confirmed, its score), to rank by."""
    return _place(entry, entry.objective)


def _place(entry: ComparedEntry, metric: str) -> tuple[bool, bool, float]:
    scores = list(entry.scores(metric).values())
    mean, _ = mean_error(scores)
    score = entry.so_far if mean is None else mean
    return bool(scores), len(scores) > 1, -math.inf if score is None else score


def _block(
    rows: Sequence[ComparedEntry], metric: str, against: str, across: bool
) -> ComparedBlock:
    """Return a block of rows, which come in the order of the space file."""
    entries = sorted(rows, key=lambda entry: _place(entry, metric), reverse=True)
    reference = Reference(None, "") if across else find_reference(rows, metric, against)
    tests: list[Significance | None] = [None] * len(entries)
    if reference.entry is not None:
        places = [i for i, e in enumerate(entries) if e.seeds and e is not reference.entry]
        scores = [entries[place].scores(metric) for place in places]
        found = compare_with_reference(reference.entry.scores(metric), scores)
        for place, test in zip(places, found, strict=True):
            tests[place] = test
    honest = not entries[0].selected_on_test
    notes = [] if honest else [_NOT_RANKED]
    if across:
        notes.append("rows are different problems, so no row is tested against another")
        notes += _reached(entries)
    elif reference.entry is None and reference.words:
        notes.append(reference.words)
    if own := [e.row for e in entries if e.role == "trial" and e.scores(metric)]:
        notes.append(
            f"not confirmed, its own training selected it: {', '.join(own)}; optimistic beside "
            "confirmed rows"
        )
    if honest and metric.startswith("val/") and any(test and test.p is not None for test in tests):
        notes.append(
            f"{metric} also chose these rows, so it is optimistic and p is too small; --metric "
            f"{metric.replace('val/', 'test/')} compares what was tested"
        )
    if so_far := sorted({e.objective for e in entries if e.so_far is not None}):
        notes.append(f"in brackets: the trial's best {' or '.join(so_far)} up to then, %")
    return ComparedBlock(_title(entries, across), entries, reference, tests, honest, notes)


def _title(entries: Sequence[ComparedEntry], across: bool) -> str:
    if across:
        return "over scenarios"
    titles = dict.fromkeys(entry.title for entry in entries)
    if len(titles) == 1:
        return next(iter(titles))
    data, counts = entries[0].config.data, entries[0].samples_per_class
    return f"{data.name}, {data.profile}, imbalance ratio {ratio_in_words(data, counts)}"


def _reached(entries: Sequence[ComparedEntry]) -> list[str]:
    """Return a note on rows whose images miss the requested imbalance ratio."""
    missed = {entry.row: reached_note(entry.config.data, entry.samples_per_class)
              for entry in entries}  # fmt: skip
    text = ", ".join(f"{row}: {note}" for row, note in missed.items()
                     if note and note not in row)  # fmt: skip
    return [f"imbalance ratio: {text}"] if text else []


def _overall(
    rows: Sequence[Sequence[ComparedEntry]], blocks: Sequence[ComparedBlock], metric: str
) -> tuple[list[Overall], str]:
    """Return the honest problems' averages, and the label that all of them are tested against."""
    honest = [block for block in blocks if block.honest]
    problems = [group for group in rows if not group[0].selected_on_test]
    labels = {block.reference.entry.label for block in honest if block.reference.entry}
    reference = labels.pop() if len(labels) == 1 else ""
    return over_problems(problems, metric, reference), reference


def _notes(
    studies: Sequence[Reviewed], blocks: Sequence[ComparedBlock], allowed: Sequence[str]
) -> list[str]:
    notes = []
    for study in studies:
        if not study.finished:
            name = study.folder.root.name
            notes.append(
                f"{name} is not finished ({len(study.trials)} trials so far); later trials may "
                f"change this; to finish it: {study.folder.resume_command}"
            )
        if part := tested_part(study.results.confirm.test_images):
            notes.append(f"{study.folder.root.name}: {part}")
        if study.results.searched_on:
            notes.append(f"{study.folder.root.name}: {searched_on(study.results)}")
    if allowed:
        notes.append(f"compared although they may differ in: {', '.join(allowed)}")
    epochs = sorted({e.epochs for block in blocks for e in block.entries if e.seeds})
    if len(epochs) > 1:
        notes.append(f"the trainings differ in length: {', '.join(map(str, epochs))} epochs")
    return notes
