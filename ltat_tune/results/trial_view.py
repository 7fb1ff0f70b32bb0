"""Collect one trial in full: its settings, course, files and result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import StudyError
from ltat_tune.presentation.states import state_in_words
from ltat_tune.presentation.units import percent
from ltat_tune.space.reader import read_space
from ltat_tune.space.space import Space, settings_text
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import CompleteTraining, read_complete
from ltat_tune.storage.trials import TrialRow, read_trials

_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class TrialView:
    """A trial with its settings, results and files.

    Attributes:
        origins: path -> tuned, scenario, fixed or default.
        result: the result of its training; None if it did not train to its end.
        history: (epoch, metrics) of its training, from the checkpoint; empty without a checkpoint.
        confirmations: seed -> folder of its configuration's confirmation.
    """

    folder: StudyFolder
    space: Space
    row: TrialRow
    config: TrialConfig
    origins: Mapping[str, str]
    result: CompleteTraining | None
    history: Sequence[tuple[int, Mapping[str, float]]]
    confirmations: Mapping[int, Path]

    @property
    def name(self) -> str:
        """Its full name, such as `quickstart/imbalance_ratio_50/t0003`."""
        return f"{self.folder.root.name}/{self.row.name}"

    @property
    def objective(self) -> str:
        """The metric by which the study judges trials."""
        return self.space.objective.metric


def find_trial(words: Sequence[str], out: Path) -> tuple[StudyFolder, TrialRow]:
    """Return the trial that `study/scenario/t0003`, `study t0003` or `study scenario 3` names.

    Raises:
        StudyError: there is no such study, scenario or trial, or several scenarios have one.
    """
    parts = [part for word in words for part in word.rstrip("/").split("/") if part]
    number = parts[-1].removeprefix("t") if parts else ""
    if len(parts) not in (2, 3) or not number.isdigit():
        raise StudyError(
            f"a trial is STUDY/SCENARIO/tNNNN, or STUDY tNNNN, got {' '.join(words)}; "
            "see `ltat-tune ls` for studies and `ltat-tune compare STUDY` for their trials"
        )
    folder = StudyFolder.open(out / parts[0])
    rows = read_trials(folder)
    scenarios = list(dict.fromkeys(row.scenario for row in rows))
    if len(parts) == 3 and parts[1] not in scenarios:
        raise StudyError(
            f"no scenario {parts[1]} in {parts[0]}; choose from: {', '.join(scenarios) or 'none'}"
        )
    chosen = [parts[1]] if len(parts) == 3 else scenarios
    matches = [row for row in rows if row.scenario in chosen and row.number == int(number)]
    if not matches:
        counts = ", ".join(
            f"{name} has {sum(row.scenario == name for row in rows)}" for name in chosen
        )
        raise StudyError(f"no trial t{int(number):04d} in {parts[0]}: {counts or 'it has none'}")
    if len(matches) > 1:
        names = ", ".join(f"{parts[0]}/{row.name}" for row in matches)
        raise StudyError(f"t{int(number):04d} is in {len(matches)} scenarios; name one: {names}")
    return folder, matches[0]


def view_trial(folder: StudyFolder, row: TrialRow) -> TrialView:
    """Return everything that a trial left; write nothing."""
    space = read_space(folder.space)
    where = space.scenario(row.scenario)
    config = space.config(where, row.params)
    origins = {
        path: "tuned" if path in row.params
        else "scenario" if path in where.values
        else "fixed" if path in space.fixed
        else "default"
        for path in config.flat()
    }  # fmt: skip
    confirmations = {}
    place = folder.root / "confirmations" / row.scenario
    for path in sorted(place.glob(f"{config.recipe}-seed*")):
        confirmations[int(path.name.rpartition("-seed")[2])] = path
    return TrialView(
        folder, space, row, config, origins, read_complete(row.folder),
        _history(row.folder / "checkpoint.pt"), dict(sorted(confirmations.items())),
    )  # fmt: skip


def _history(checkpoint: Path) -> list[tuple[int, Mapping[str, float]]]:
    from ltat_tune.training.checkpoint import history_if_readable

    return [(epoch, metrics) for epoch, metrics, *_ in history_if_readable(checkpoint)]


def sparkline(values: Sequence[float]) -> str:
    """Return one bar for each value, scaled from the lowest to the highest."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(_BARS[min(7, int(8 * (value - low) / span))] for value in values)


def curves(view: TrialView) -> dict[str, list[tuple[int, float]]]:
    """Return metric -> (epoch, value) for objective, clean accuracy and training loss."""
    names = dict.fromkeys((view.objective, "val/clean_acc", "train/loss"))
    curves_by_name = {
        name: [(epoch, metrics[name]) for epoch, metrics in view.history if name in metrics]
        for name in names
    }
    if not curves_by_name[view.objective] and view.row.scores:
        curves_by_name[view.objective] = list(view.row.scores.items())
    return {name: points for name, points in curves_by_name.items() if points}


def events(folder: StudyFolder, row: TrialRow) -> list[str]:
    """Return the events of a trial as lines, oldest first."""
    lines = []
    if row.started is not None:
        lines.append(f"{row.started:%Y-%m-%d %H:%M:%S}  proposed: {settings_text(row.params)}")
    for epoch, score in row.scores.items():
        lines.append(f"{'':19}  epoch {epoch}: {percent(score)} %")
    for seed, metrics in enumerate(row.seeds):
        scores = ", ".join(f"{name} {percent(value)} %" for name, value in metrics.items())
        lines.append(f"{'':19}  training {seed + 1} ended: {scores}")
    if row.ended is not None:
        reached = f", {percent(row.score)} %" if row.score is not None else ""
        why = f": {row.cause}" if row.cause else ""
        state = state_in_words(row.state)
        lines.append(
            f"{row.ended:%Y-%m-%d %H:%M:%S}  {state} after {row.epochs} epochs{reached}{why}"
        )
    elif not folder.is_running():
        lines.append(f"{'':19}  not finished; to continue: {folder.resume_command}")
    return lines


def trial_data(view: TrialView) -> dict[str, Any]:
    """Return a trial's data for `--format json`."""
    row, result = view.row, view.result
    opinion = None if result is None else result.second_opinion
    return {
        "trial": view.name, "state": row.state, "score": row.score, "objective": view.objective,
        "reason": row.reason, "claimed": row.claimed, "epochs": row.epochs, "seconds": row.seconds,
        "started": row.started and row.started.isoformat(),
        "ended": row.ended and row.ended.isoformat(),
        "scores": {str(epoch): score for epoch, score in row.scores.items()},
        "values": list(row.values), "violations": dict(row.violations),
        "parameters": {
            path: {"value": value, "from": view.origins[path]}
            for path, value in view.config.flat().items()
        },
        "second_opinion": opinion and {**opinion.as_data(), "gap": opinion.gap},
        "metrics": result.metrics if result else {},
        "per_class": result.per_class if result else {},
        "samples_per_class": result.samples_per_class if result else None,
        "classes": result.classes if result else None,
        "history": [{"epoch": epoch, **metrics} for epoch, metrics in view.history],
        "folder": str(row.folder),
        "confirmations": {str(seed): str(path) for seed, path in view.confirmations.items()},
    }  # fmt: skip
