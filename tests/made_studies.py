"""Study folders with numbers of one's choice: the real ledger, files and results, no training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltat_tune.engine.task_factory import confirmation_task
from ltat_tune.files import write_text
from ltat_tune.preflight.load import load_space
from ltat_tune.results.collect import collect
from ltat_tune.results.model import write_results
from ltat_tune.results.selection import candidates
from ltat_tune.results.summary import as_text
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome
from ltat_tune.storage.training_files import (
    BrokenTraining,
    CompleteTraining,
    KeptAnswers,
    MeasuredOnTest,
    write_test,
    write_training,
)
from tests.drive import MINI

METRIC = "val/pgd3_balanced_acc"
Trial = tuple[str, float | None]  # state and score

# two trials come from start_from: 0 with cross_entropy, 1 with balanced_softmax
TRIALS: Mapping[str, Sequence[Trial]] = {
    "imbalance_ratio_2": (
        ("complete", 0.5),
        ("complete", 0.6),
        ("pruned", None),
        ("failed", None),
    ),
    "imbalance_ratio_4": (("complete", 0.3), ("complete", 0.4), ("diverged", None)),
}


def scored(number: int, seed: int) -> float:
    """0.50 to 0.52 for trial 0 with the seeds 1 to 3, 0.61 to 0.65 for trial 1."""
    return 0.5 + 0.1 * number + 0.01 * (seed - 1) * (1 + number) + 0.01 * (number > 0)


def right(share: float) -> KeptAnswers:
    """A share of the 400 images of each of 10 classes, the first ones, is answered right."""
    correct = np.arange(400) < round(400 * share)
    return KeptAnswers.of(np.tile(correct, 10), np.repeat(np.arange(10), 400), classes=10)


def made_study(
    out: Path,
    name: str = "made",
    *,
    trials: Mapping[str, Sequence[Trial]] = TRIALS,
    confirmed: Callable[[int, int], float] | None = scored,
    finished: bool = True,
    subset: str = "0123456789abcdef",
    facts: Mapping[str, Any] | None = None,
    fixed: Mapping[str, Any] | None = None,
    **changes: Any,
) -> StudyFolder:
    """A study as its driver leaves it.

    Args:
        out: folder of all studies.
        name: its name.
        trials: by scenario, how each ended; None as score gives one of `start_from` none.
        confirmed: (trial, seed) -> objective of a confirmation; None confirms nothing.
        finished: whether it has its results.
        subset: hash of the training images.
        facts: what study.json has else.
        fixed: changes of the fixed values.
        **changes: keys of the space file.
    """
    document = {**MINI, "name": name, **changes, "fixed": {**MINI["fixed"], **(fixed or {})}}
    folder = StudyFolder(out / name)
    known: dict[str, Any] = {
        "space_file": "made.yaml", "created": "2026-01-02T03:04:05+00:00", "uid": "made",
        "tracking_uri": None, "smoke": "", "versions": {}, "commit": "",
    }  # fmt: skip
    folder.create(document, {**known, **(facts or {})})
    space = load_space(folder.space, check_machine=False, allow_inert=True)
    ledger = Ledger(folder.ledger, space)
    for scenario, ends in trials.items():
        for state, score in ends:
            number, params = ledger.propose(scenario)
            place = folder.trial(scenario, number)
            ledger.record(scenario, number, 2, (score or 0.2) / 2)
            reason = {"failed": "Traceback:\nRuntimeError: no room", "diverged": "loss is nan",
                      "pruned": "not among the best"}.get(state, "")  # fmt: skip
            _write(place, state, score, subset, reason)
            ledger.finish(scenario, number, Outcome(state, 6, reason), score)  # type: ignore[arg-type]
        for candidate in candidates(space, ledger, scenario) if confirmed else ():
            for seed in space.confirm_seeds:
                task = confirmation_task(space, folder, scenario, candidate, seed, device="cpu")
                assert confirmed is not None
                score = confirmed(candidate.number, seed)
                _write(task.path, "complete", score, subset, "")
                metrics = {
                    f"test/{a}{group}_acc": score / 2
                    for a in space.confirm.attacks for group in ("", "_balanced")
                }  # fmt: skip
                per_class = {f"test/{a}": [score / 2] * 10 for a in space.confirm.attacks}
                write_test(task.path, MeasuredOnTest(
                    state="complete", epoch=6, weights="abcd", metrics=metrics,
                    per_class=per_class, images={a: 4000 for a in space.confirm.attacks},
                    correct={a: right(score / 2) for a in space.confirm.attacks},
                ))  # fmt: skip
    if finished:
        results = collect(space, folder, ledger)
        write_results(folder, results)
        write_text(folder.summary, as_text(results))
    return folder


def repeat_first_row(path: Path, times: int) -> None:
    """Writes the first trial of a journal again and again, as a driver would write others."""
    lines = path.read_text().splitlines()
    created = [line for line in lines if '"op_code":4' in line]
    written = [line for line in lines if '"trial_id":0,' in line or '"trial_id":0}' in line]
    with open(path, "a") as file:
        for number in range(len(created), len(created) + times):
            file.write(created[0] + "\n")
            for line in written:
                file.write(line.replace('"trial_id":0', f'"trial_id":{number}', 1) + "\n")


def _write(place: Path, state: str, score: float | None, subset: str, reason: str) -> None:
    place.mkdir(parents=True)
    (place / "config.yaml").write_text("# made\n")
    (place / "checkpoint.pt").write_bytes(b"c" * 1000)
    if state == "complete":
        assert score is not None
        write_training(place, CompleteTraining(
            state="complete", epoch=4, metrics={METRIC: score, "val/clean_acc": 0.9},
            weights="abcd", per_class={"val/pgd3": [score] * 10}, subset_hash=subset,
            predicted=[], ae_distances=[], samples_per_class=[20] * 10,
        ))  # fmt: skip
    elif state == "failed" or state == "diverged":
        write_training(place, BrokenTraining(state=state, reason=reason, seconds=1.0))
