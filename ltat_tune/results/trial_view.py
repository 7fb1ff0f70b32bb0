"""One trial in full: what was set, how it went, where its files are, what may be done with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import CheckpointError, StudyError
from ltat_tune.space.reader import read_space
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import CompleteTraining, read_complete
from ltat_tune.storage.trials import TrialRow, read_trials

_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class TrialView:
    """A trial and all that is known of it.

    Attributes:
        origins: path -> tuned, scenario, fixed or default.
        result: what its training left; None if it did not come to its end.
        history: (epoch, metrics) of its training, from the checkpoint; empty without one.
        confirmations: folders of its configuration's confirmations, by seed.
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
        """`quickstart/imbalance_ratio_50/t0003`."""
        return f"{self.folder.root.name}/{self.row.name}"

    @property
    def objective(self) -> str:
        """The metric that it was judged by."""
        return self.space.objective.metric


def find_trial(words: Sequence[str], out: Path) -> tuple[StudyFolder, TrialRow]:
    """The trial that `study/scenario/t0003`, `study t0003` or `study scenario 3` means.

    Raises:
        StudyError: no such study, scenario or trial, or one in each of several scenarios.
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
    found = [row for row in rows if row.scenario in chosen and row.number == int(number)]
    if not found:
        counts = ", ".join(
            f"{name} has {sum(row.scenario == name for row in rows)}" for name in chosen
        )
        raise StudyError(f"no trial t{int(number):04d} in {parts[0]}: {counts or 'it has none'}")
    if len(found) > 1:
        names = ", ".join(f"{parts[0]}/{row.name}" for row in found)
        raise StudyError(f"t{int(number):04d} is in {len(found)} scenarios; name one: {names}")
    return folder, found[0]


def view_trial(folder: StudyFolder, row: TrialRow) -> TrialView:
    """Reads what a trial left; nothing is written."""
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
    if not checkpoint.exists():
        return []
    from ltat_tune.training.checkpoint import read_history

    try:
        return [(epoch, metrics) for epoch, metrics, *_ in read_history(checkpoint)]
    except CheckpointError:  # torn, or being written
        return []


def sparkline(values: Sequence[float]) -> str:
    """One bar a value, from the lowest to the highest of them."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(_BARS[min(7, int(8 * (value - low) / span))] for value in values)


def curves(view: TrialView) -> dict[str, list[tuple[int, float]]]:
    """Metric -> (epoch, value): the objective, its clean partner and the training loss."""
    wanted = dict.fromkeys((view.objective, "val/clean_acc", "train/loss"))
    found = {
        name: [(epoch, metrics[name]) for epoch, metrics in view.history if name in metrics]
        for name in wanted
    }
    if not found[view.objective] and view.row.scores:
        found[view.objective] = list(view.row.scores.items())
    return {name: points for name, points in found.items() if points}


def events(folder: StudyFolder, row: TrialRow) -> list[str]:
    """What happened to a trial, oldest first, one line each."""
    lines = []
    if row.started is not None:
        lines.append(f"{row.started:%Y-%m-%d %H:%M:%S}  proposed: {_told(row.params)}")
    for epoch, score in row.scores.items():
        lines.append(f"{'':19}  epoch {epoch}: {100 * score:.1f} %")
    for seed, metrics in enumerate(row.seeds):
        told = ", ".join(f"{name} {100 * value:.1f} %" for name, value in metrics.items())
        lines.append(f"{'':19}  training {seed + 1} ended: {told}")
    if row.ended is not None:
        reached = f", {100 * row.score:.1f} %" if row.score is not None else ""
        why = f": {row.cause}" if row.cause else ""
        lines.append(
            f"{row.ended:%Y-%m-%d %H:%M:%S}  {row.state} after {row.epochs} epochs{reached}{why}"
        )
    elif not folder.is_running():
        lines.append(f"{'':19}  left unfinished; go on: {folder.resume_command}")
    return lines


def trial_data(view: TrialView) -> dict[str, Any]:
    """For `--format json`."""
    row, result = view.row, view.result
    return {
        "trial": view.name, "state": row.state, "score": row.score, "objective": view.objective,
        "reason": row.reason, "epochs": row.epochs, "seconds": row.seconds,
        "started": row.started and row.started.isoformat(),
        "ended": row.ended and row.ended.isoformat(),
        "scores": {str(epoch): score for epoch, score in row.scores.items()},
        "values": list(row.values), "violations": dict(row.violations),
        "parameters": {
            path: {"value": value, "from": view.origins[path]}
            for path, value in view.config.flat().items()
        },
        "metrics": result.metrics if result else {},
        "per_class": result.per_class if result else {},
        "samples_per_class": result.samples_per_class if result else None,
        "history": [{"epoch": epoch, **metrics} for epoch, metrics in view.history],
        "folder": str(row.folder),
        "confirmations": {str(seed): str(path) for seed, path in view.confirmations.items()},
    }  # fmt: skip


def _told(params: Mapping[str, Any]) -> str:
    from ltat_tune.space.space import text_of

    return ", ".join(f"{path} {text_of(value)}" for path, value in params.items())
