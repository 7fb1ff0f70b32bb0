"""Build the sections on failures, costs, protocol, reproduction and all trials."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from ltat_tune.config.scalars import pixels
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.presentation.names import (
    NORM_NAMES,
    counts_in_words,
    problem_name,
    ratio_in_words,
    script_note,
    training_words,
)
from ltat_tune.presentation.units import duration
from ltat_tune.report import pictures
from ltat_tune.report.blocks import Block, Heading, PageSection, Plot, Table, Text, table
from ltat_tune.report.data import ReportData, Scene, TrialCurve, deleted
from ltat_tune.report.search import trials_tables
from ltat_tune.report.words import NONE, attack_name, count, trial
from ltat_tune.storage.code_history import code_history
from ltat_tune.storage.training_files import read_complete

_VALIDATION = {
    "train": "{} of each class, held out of the training images before the subset is cut",
    "folder": "the data set's own validation folder",
    "given": "the data set's own validation images, or those of data.indices",
    "test": "the test images themselves: selected_on_test",
}
_KEPT = {
    "last": "last epoch", "best": "best epoch",
    "best_late": "best epoch, the latest of equal ones",
}  # fmt: skip


def failures(data: ReportData) -> PageSection:
    """Return the section on failed and diverged trials, grouped by cause."""
    rows: list[list[str]] = []
    for scene in data.scenes:
        groups: dict[tuple[str, str], list[str]] = {}
        for row in scene.with_state("failed", "diverged"):
            groups.setdefault((row.state, row.cause or "no reason given"), []).append(
                trial(row.number)
            )
        for (state, cause), trials in sorted(groups.items(), key=lambda g: -len(g[1])):
            shown = ", ".join(trials[:12]) + (f" and {len(trials) - 12} more" if len(trials) > 12
                                              else "")  # fmt: skip
            rows.append([scene.scenario.title, state, str(len(trials)), cause, shown])
    if not rows:
        return PageSection("failures", "Failures", (Text("No trial failed or diverged."),))
    causes = Table(
        "Trials without a result, by cause. `ltat-tune logs` shows the traceback.",
        ("scenario", "state", "trials", "cause", "which"), tuple(map(tuple, rows)),
        numeric=frozenset({2}),
    )  # fmt: skip
    return PageSection("failures", "Failures", (causes,))


def costs(data: ReportData) -> PageSection:
    """Return the section on epochs, hours, and savings by early stopping."""
    columns = [_cost(data, scene) for scene in data.scenes]
    head = ["", *(scene.scenario.title for scene in data.scenes)]
    blocks: list[Block] = [table(
        "What was trained. Times add up the seconds of all epochs, validation included, from the "
        "checkpoints that still exist. Trials that ran side by side both count in full. Tests and "
        "attacks on trained models do not count. A confirmation that continued from a trial's "
        "checkpoint counts that trial's epochs again.",
        head, [[key, *(column[key] for column in columns)] for key in columns[0]],
    )]  # fmt: skip
    started = [row.started for scene in data.scenes for row in scene.rows if row.started]
    ended = [row.ended for scene in data.scenes for row in scene.rows if row.ended]
    if started and ended:
        clock = (max(ended) - min(started)).total_seconds()
        blocks.append(Text(
            f"The search took {duration(clock)} of wall-clock time, from its first trial to its "
            "last, interruptions included."
        ))  # fmt: skip
    if data.space.budget is not None:
        blocks.append(Text(f"Budget: {data.space.budget}."))
    blocks += [Text(f"{scene.scenario.title}: {scene.results.outlook.sentence}, by what the "
                    "surrogate of predict learned from all complete trials.", "quiet")
               for scene in data.scenes if scene.results.outlook is not None]  # fmt: skip
    blocks += [Text(scene.results.exhausted, "quiet") for scene in data.scenes
               if scene.results.exhausted]  # fmt: skip
    return PageSection("costs", "Costs", tuple(blocks))


def _cost(data: ReportData, scene: Scene) -> dict[str, str]:
    epochs, trials = scene.results.epochs, scene.results.trials
    searched = [curve for own in scene.curves.values() for curve in own]
    confirmed = scene.confirmation_curves
    share = 100 * epochs.saved / epochs.planned if epochs.planned else 0.0
    return {
        "trials trained to the end": str(trials.complete),
        "trials stopped early": str(trials.pruned),
        "trials failed": str(trials.failed),
        "trials diverged": str(trials.diverged),
        "epochs, if every trial had trained to the end": str(epochs.planned),
        "epochs trained in the search": str(epochs.trained),
        "epochs saved": f"{epochs.saved} ({share:.0f} %)",
        "training time of the search": _time(searched, sum(deleted(scene, data.rungs).values())),
        "training time saved, at the same seconds per epoch": _saved_time(scene, searched),
        "training time of confirmations": _time(
            confirmed, sum(len(one.runs) for one in scene.confirmed) - len(confirmed)
        ),
    }  # fmt: skip


def _time(curves: Sequence[TrialCurve], lost: int) -> str:
    """Return the time of all trainings; deleted checkpoints make it a lower bound."""
    if not curves:
        return NONE
    total = duration(sum(curve.seconds for curve in curves))
    return f"more than {total}; {count(lost, 'checkpoint')} deleted" if lost > 0 else total


def _saved_time(scene: Scene, searched: Sequence[TrialCurve]) -> str:
    trained = sum(curve.trained for curve in searched)
    saved = scene.results.epochs.saved
    if not trained or saved <= 0:
        return NONE
    return duration(saved * sum(curve.seconds for curve in searched) / trained)


def protocol(data: ReportData) -> PageSection:
    """Return the section on images, attack and measurement of each scenario."""
    blocks: list[Block] = []
    columns = [_protocol(data, scene) for scene in data.scenes]
    if columns:
        head = ["", *(scene.scenario.title for scene in data.scenes)]
        rows = [[key, *(column[key] for column in columns)] for key in columns[0]]
        blocks.append(table("Data and protocol.", head, rows, text=len(head)))
    for scene in data.scenes:
        run = next((run for one in scene.confirmed for run in one.runs), None)
        if run is None:
            continue
        if len(data.scenes) > 1:
            blocks.append(Heading(scene.scenario.title))
        order = sorted(range(len(run.samples_per_class)), key=lambda c: -run.samples_per_class[c])
        blocks.append(Plot(
            pictures.training_counts_plot(run),
            f"Training images by class, {sum(run.samples_per_class)} in total. Head, body and "
            "tail are thirds of the classes by number of images.",
            numbers=table("Training images by class.", ["class", "images"],
                          [[run.class_names[c], str(run.samples_per_class[c])] for c in order],
                          folded=True),
        ))  # fmt: skip
    return PageSection("protocol", "Data and protocol", tuple(blocks))


def _protocol(data: ReportData, scene: Scene) -> dict[str, str]:
    config = data.config(scene, {})
    subset, counts, classes, measured = _images(scene)
    tuned = {path.partition(".")[0] for path in data.space.tuned}
    images = ", ".join(f"{attack_name(a)} on {n}" for a, n in measured.items())
    attack = _attack(config) + (" (partly tuned)" if "attack" in tuned else "")
    note = script_note(config)
    if config.trains_elsewhere:
        attack = training_words(config)[1]
    return {
        "data": problem_name(config.data, counts),
        "training images": str(sum(counts)) if counts else NONE,
        "images of each class": counts_in_words(counts, classes) if counts else NONE,
        "imbalance ratio": ratio_in_words(config.data, counts) if counts else NONE,
        "subset hash": subset or NONE,
        "subset seed": str(config.seeds.subset_seed),
        "validation images": _VALIDATION[config.data.val_source].format(config.data.val_per_class),
        "chosen by": data.metric,
        "training attack": attack,
        "measured within": (
            f"{NORM_NAMES[config.measured_norm]}, eps {pixels(config.measured_eps)}"
        ),
        "test images": images or NONE,
        "model": config.model.name,
        **({"in the learning curves": note} if note else {}),
        "epochs": str(config.optim.epochs),
        "weights of": _KEPT[config.evaluation.select_epoch],
        "seeds of confirmations": ", ".join(map(str, data.space.confirm_seeds)),
    }


def _attack(config: TrialConfig) -> str:
    attack = config.attack
    return (
        f"PGD-{attack.steps}, {NORM_NAMES[attack.norm]}, eps {pixels(attack.eps)}, step "
        f"{pixels(attack.step_size)}, BatchNorm in {attack.bn_mode} mode"
    )


def _images(scene: Scene) -> tuple[str, Sequence[int], Sequence[str], Mapping[str, int]]:
    """Return (subset hash, images by class, class names, attack -> number of test images).

    They come from a confirmation, or else from any trained trial. They are empty if there is none.
    """
    for one in scene.confirmed:
        if one.result.subset_hash:
            result = one.result
            names = one.runs[0].class_names if one.runs else result.classes
            return result.subset_hash, result.samples_per_class, names, result.test_images
    for row in scene.rows:
        trained = read_complete(row.folder)
        if trained is not None:
            names = trained.classes or []
            return trained.subset_hash, trained.samples_per_class, names, {}
    return "", [], [], {}


def reproduce(data: ReportData) -> PageSection:
    """Return the section with commands, versions, commit and machine."""
    facts, folder = data.facts, data.folder
    out = folder.out_option
    best = sorted(folder.best.glob("*.yaml"))
    file = shlex.quote(str(facts["space_file"]))
    lines = [
        f"ltat-tune run {file}   # the whole study",
        f"ltat-tune run {folder.space}   # the same study, with every --set applied",
    ]
    lines += [f"ltat-tune train {path}   # one winner, to the same digits" for path in best]
    lines.append(f"ltat-tune compare {folder.root.name}{out}   # the results in the terminal")
    versions = facts.get("versions", {})
    rows = [[name, str(version)] for name, version in versions.items()]
    rows += [["commit", str(facts.get("commit") or "not from a checkout")],
             ["code of all starts", code_history(facts) if "versions" in facts else NONE],
             ["machine", str(facts.get("machine", NONE))],
             ["first start", str(facts.get("created", NONE))],
             ["study", f"{folder.root.name} ({facts.get('uid', NONE)})"]]  # fmt: skip
    blocks: list[Block] = [
        Text("\n".join(lines), "code"),
        table("Versions, commit and machine.", ["what", "version"], rows, text=2),
    ]
    if data.folder.space.exists():
        blocks += [Heading("The space file as it was run"), Text(folder.space.read_text(), "code")]
    return PageSection("reproduce", "How to reproduce", tuple(blocks))


def all_trials(data: ReportData) -> PageSection:
    """Return the section with every trial of every scenario."""
    tables = [part for scene in data.scenes for part in trials_tables(data, scene)]
    return PageSection("trials", "All trials", tuple(tables))
