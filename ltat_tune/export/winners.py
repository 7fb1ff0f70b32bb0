"""Write the best configurations as files that train again to the same digits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ltat_tune import provenance
from ltat_tune.config.config_file import dump_config
from ltat_tune.config.plugin_loader import copy_plugins
from ltat_tune.errors import StudyError
from ltat_tune.export.card import model_card
from ltat_tune.export.winner import Winner
from ltat_tune.files import write_text
from ltat_tune.results.model import ConfirmedResult, ScenarioResults, StudyResults, read_results
from ltat_tune.results.selection import Candidate, confirmation_of, counted_test
from ltat_tune.results.wording import masking_line, mean_std
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import read_complete, read_masking


def export_study(
    folder: StudyFolder,
    space: Space,
    target: Path,
    *,
    scenarios: Sequence[str] = (),
    top: int = 1,
) -> list[Winner]:
    """Write `best-<scenario>.yaml` for every winner, `best-<scenario>-2.yaml` for the next, ...

    Its model card, `best-<scenario>.md`, and copies of its plugins go beside each.

    Args:
        folder: the study.
        space: its space.
        target: the folder to write into.
        scenarios: the only ones to export; empty exports all.
        top: number of confirmed configurations to export, best mean validation score first.

    Raises:
        StudyError: nothing was confirmed, or `target` holds another
            plugin of the same name.
        ConfigError: a plugin is missing or has changed.
    """
    results = read_results(folder)
    if results is None:
        raise StudyError(
            f"{folder.root.name} has no results yet; to finish it: {folder.resume_command}"
        )
    written = []
    for one in results.scenarios:
        if not scenarios or one.name in scenarios:
            best = one.contenders(results.objective)[:top]
            for place, confirmed in enumerate(best, start=1):
                suffix = "" if place == 1 else f"-{place}"
                path = target / f"best-{one.name}{suffix}.yaml"
                written.append(_write(path, place, folder, space, results, one, confirmed))
    if not written:
        raise StudyError(
            f"there is nothing to export: {folder.root.name} has no confirmed configuration"
        )
    return written


def _write(
    path: Path,
    place: int,
    folder: StudyFolder,
    space: Space,
    results: StudyResults,
    scenario: ScenarioResults,
    confirmed: ConfirmedResult,
) -> Winner:
    seed = confirmed.seeds[0]
    candidate = Candidate(confirmed.number, confirmed.params, False, True)
    training = confirmation_of(space, folder, scenario.name, candidate, seed)
    trained, measured = read_complete(training.path), counted_test(space, training.path)
    if trained is None:
        raise StudyError(
            f"{training.path} must hold the training of trial t{confirmed.number:04d} with seed "
            f"{seed}, which the results name, but holds none; to train it: {folder.resume_command}"
        )
    facts = {
        "test_part": results.confirm.test_images,
        "classes": trained.classes,
        "image_shape": trained.image_shape,
    }
    recorded = {
        "study": results.study,
        "scenario": scenario.name,
        "trial": f"t{confirmed.number:04d}",
        "seeds": list(confirmed.seeds),
        "objective": results.objective,
        "selected_on_test": results.selected_on_test,
        "epoch": trained.epoch,
        "weights": trained.weights,
        "subset_hash": trained.subset_hash,
        "val": {k: v for k, v in sorted(trained.metrics.items()) if k.startswith("val/")},
        "test": dict(sorted(measured.metrics.items())) if measured else {},
        "test_images": measured.images if measured else {},
        "attacks": results.confirm.attacks,
        **{name: value for name, value in facts.items() if value is not None},
        "threads": space.resources.cpus_per_trial,
        "noise": trained.noise
        if measured is None or all(attack in measured.correct for attack in measured.images)
        else "sequence",
        "precision": trained.precision,
        "arithmetic": trained.arithmetic,
        "versions": provenance.versions(),
    }
    report = read_masking(training.path)
    score = mean_std(confirmed.val[results.objective])
    comment = (
        f"{scenario.title}: {score} % {results.objective} over seeds "
        f"{', '.join(map(str, confirmed.seeds))} "
        f"(study {results.study}, trial {recorded['trial']})\n"
        + ("selected on the test images, so optimistic\n" if space.selected_on_test else "")
        + (f"gradient masking: {masking_line(report)}\n" if report is not None else "")
        + f"To train it again to the digits under `recorded` (seed {seed}):\n"
        f"  ltat-tune train {os.path.relpath(path)}"
    )
    plugins = copy_plugins(training.config.plugins, path.parent)
    dump_config(path, training.config, comment=comment, recorded=recorded)
    written = Winner(path, place, results, scenario, confirmed, training, recorded, plugins)
    write_text(path.with_suffix(".md"), model_card(written))
    return written
