"""Compare entries: check that they are comparable, group them into blocks, and test them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ltat_tune.comparison.entries import (
    ComparedEntry,
    Reviewed,
    confirmed_entries,
    grouped_entries,
    resolve_key,
)
from ltat_tune.errors import StudyError
from ltat_tune.results.significance import (
    Significance,
    compare_scores,
    holm,
    mean_error,
    sign_test,
)
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
        against_first: the test of each entry but the first, in their order.
        honest: whether the validation images were other images than the test images.
        notes: remarks that a reader of the block needs.
    """

    title: str
    entries: Sequence[ComparedEntry]
    against_first: Sequence[Significance]
    honest: bool
    notes: Sequence[str] = ()

    @property
    def marked_title(self) -> str:
        """The title, with a warning if the entries were selected on the test images."""
        return self.title if self.honest else f"{self.title}: SELECTED ON TEST"


@dataclass(frozen=True)
class Overall:
    """A value of `--by`, averaged over the problems in which every value was tried."""

    label: str
    mean: float
    mean_rank: float  # 1 is best
    ahead: int  # problems in which the first value is better
    p: float | None  # exact sign test over problems, against the first value


@dataclass(frozen=True)
class Comparison:
    """All blocks of a comparison; the first of `metrics` ranks the entries."""

    by: Sequence[str]
    metrics: Sequence[str]
    blocks: Sequence[ComparedBlock]
    overall: Sequence[Overall] = ()
    notes: Sequence[str] = field(default=())


def put_together(
    studies: Sequence[Reviewed],
    *,
    by: Sequence[str] = (),
    metrics: Sequence[str] = (),
    allowed: Sequence[str] = (),
) -> Comparison:
    """Compare the confirmed configurations of studies, or the best of every value of `by`.

    Args:
        studies: the studies, in any state.
        by: words that `resolve_key` takes; none compares winners, confirmed and baselines.
        metrics: the metrics to show; the first ranks. If empty, the studies' objective is shown.
        allowed: kinds of `DIFFERENCES` to compare anyway.

    Raises:
        StudyError: the studies are not comparable; it lists every difference with its reason.
    """
    keys = [resolve_key(word) for word in by]
    entries = [
        entry
        for study in studies
        for entry in (grouped_entries(study, keys) if keys else confirmed_entries(study))
    ]
    if not entries:
        names = ", ".join(study.folder.root.name for study in studies)
        raise StudyError(f"there is nothing to compare: no trial of {names} is complete yet")
    shown = list(metrics) or [_objective(entries)]
    _check_metrics(entries, shown)
    groups = _blocks(entries, keys)
    across = "scenario" in keys or any(key in _PROBLEM for key in keys)
    _check(groups, allowed, across=across)
    blocks = [_block(group, shown[0], keys, across) for group in groups]
    blocks.sort(key=lambda block: not block.honest)
    return Comparison(
        keys, shown, blocks, _overall(blocks, shown[0]) if keys and not across else (),
        _notes(studies, blocks, allowed),
    )  # fmt: skip


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
        first = group[0]
        for other in group[1:]:
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


def _block(
    group: Sequence[ComparedEntry], metric: str, keys: Sequence[str], across: bool
) -> ComparedBlock:
    def place(entry: ComparedEntry) -> tuple[bool, float]:
        scores = entry.scores(metric)
        return len(scores) > 1, mean_error(list(scores.values()))[0] or 0.0

    entries = sorted(group, key=place, reverse=True)
    if keys:  # keep the best of each value over all studies, by its objective, whatever is shown
        best: dict[str, ComparedEntry] = {}
        for entry in sorted(group, key=_standing, reverse=True):
            best.setdefault(entry.label, entry)
        entries = [entry for entry in entries if best[entry.label] is entry]
    tested: list[Significance] = []
    if not across:
        first = entries[0].scores(metric)
        tested = holm([compare_scores(first, entry.scores(metric)) for entry in entries[1:]])
    honest = not entries[0].selected_on_test
    notes = [] if honest else [_NOT_RANKED]
    if across:
        notes.append("rows are different problems, so no row is tested against another")
    if alone := [e.label or e.name for e in entries if len(e.scores(metric)) == 1]:
        notes.append(
            f"only one seed, which also selected it: {', '.join(alone)}; optimistic beside "
            "confirmed rows"
        )
    return ComparedBlock(_title(entries, across), entries, tested, honest, notes)


def _standing(entry: ComparedEntry) -> tuple[bool, float]:
    """Return (whether it is confirmed, its mean score in its study's objective), to rank by."""
    scores = list(entry.scores(entry.objective).values())
    return len(scores) > 1, mean_error(scores)[0] or 0.0


def _title(entries: Sequence[ComparedEntry], across: bool) -> str:
    if across:
        return "over scenarios"
    titles = dict.fromkeys(entry.title for entry in entries)
    if len(titles) == 1:
        return next(iter(titles))
    data = entries[0].config.data
    return f"{data.name}, {data.profile}, imbalance ratio {data.imbalance_ratio:g}"


def _overall(blocks: Sequence[ComparedBlock], metric: str) -> list[Overall]:
    """Return a row for every value that all honest problems have; none for one problem."""
    honest = [block for block in blocks if block.honest]
    if len(honest) < 2:
        return []
    means = [{e.label: mean_error(list(e.scores(metric).values()))[0] or 0.0
              for e in block.entries} for block in honest]  # fmt: skip
    labels = [label for label in means[0] if all(label in by_label for by_label in means)]
    if len(labels) < 2:
        return []
    ranks = {
        label: statistics.fmean(1 + sum(m[o] > m[label] for o in labels) for m in means)
        for label in labels
    }
    labels.sort(key=lambda label: (ranks[label], -statistics.fmean(m[label] for m in means)))
    first = labels[0]
    rows = []
    for label in labels:
        gains = [m[first] - m[label] for m in means]
        rows.append(
            Overall(
                label, statistics.fmean(m[label] for m in means), ranks[label],
                sum(gain > 0 for gain in gains), None if label == first else sign_test(gains),
            )
        )  # fmt: skip
    return rows


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
    if allowed:
        notes.append(f"compared although they may differ in: {', '.join(allowed)}")
    epochs = sorted({e.epochs for block in blocks for e in block.entries})
    if len(epochs) > 1:
        notes.append(f"the trainings differ in length: {', '.join(map(str, epochs))} epochs")
    return notes
