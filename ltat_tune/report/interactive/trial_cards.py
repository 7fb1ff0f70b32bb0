"""Collect what the page shows of a trial when a reader opens it: settings, course, end, files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltat_tune.presentation.units import duration, in_percent
from ltat_tune.report.data import ReportData, Scene, TrialCurve
from ltat_tune.report.interactive.live import thresholds_of
from ltat_tune.report.words import NONE, how_it_ended, label, percent, trial, value
from ltat_tune.storage.trials import TrialRow

MOST_CARDS = 1000  # of a study; a page of more would take seconds to open
_MOST_POINTS = 40  # of a curve
_READABLE = (".yaml", ".json", ".txt")  # a browser shows these


def trial_cards(data: ReportData, target: Path) -> dict[str, Any]:
    """Return the data of the trials as the page's script reads it.

    Args:
        data: the study.
        target: the page's file, from which it links to the trials' files.

    Returns:
        `study`, a key of the study; `epochs` of a whole training; `metric`; and `trials`, a card
        for each trial by its name, such as `imbalance_ratio_50/t0003`.
    """
    rows = [(scene, row) for scene in data.scenes for row in scene.rows]
    if len(rows) > MOST_CARDS:
        rows.sort(key=lambda pair: -(pair[1].score or 0.0))
        rows = rows[:MOST_CARDS]
    least = {scene.scenario.name: thresholds_of(data, scene) for scene in data.scenes}
    return {
        "study": str(data.facts.get("uid") or data.folder.root.name),
        "metric": data.metric,
        "epochs": data.space.max_epochs,
        "trials": {
            row.name: _card(data, scene, row, least[row.scenario][row.name], target)
            for scene, row in rows
        },
    }


def _card(
    data: ReportData, scene: Scene, row: TrialRow, least: Mapping[int, float], target: Path
) -> dict[str, Any]:
    score = "" if row.score is None else f"{percent(row.score)} %"
    news = f"{trial(row.number)} {how_it_ended(row.state)}" + (f" ({score})" if score else "")
    facts = {
        "how it ended": how_it_ended(row.state), "score": score or NONE,
        "epochs": f"{row.epochs} of {data.space.max_epochs}",
        "time": duration(row.seconds) if row.seconds is not None else NONE,
        "started": f"{row.started:%Y-%m-%d %H:%M:%S}" if row.started else NONE,
        "ended": f"{row.ended:%Y-%m-%d %H:%M:%S}" if row.ended else NONE,
    }  # fmt: skip
    curves = [_points(one) for one in scene.curves.get(row.number, ()) if one.epochs]
    if not curves and row.scores:
        curves = [_points(TrialCurve("", tuple(row.scores), tuple(row.scores.values()), 0, 0))]
    name = f"{data.folder.root.name}/{row.name}"
    return {
        "title": f"{trial(row.number)}, {scene.scenario.title}",
        "name": trial(row.number),
        "scenario": row.scenario,
        "marks": _marks(scene, row),
        "running": row.state == "running",
        "news": news,
        "why": row.cause,
        "facts": facts,
        "params": {
            label(path): value(path, row.params[path]) if path in row.params else NONE
            for path in data.space.tuned
        },
        "curves": curves,
        "thresholds": [[epoch, in_percent(score)] for epoch, score in least.items()],
        "files": _files(data, row, target),
        "command": f"ltat-tune show {shlex.quote(name)}{data.folder.out_option}",
    }


def _marks(scene: Scene, row: TrialRow) -> list[str]:
    roles = (("winner", scene.winner), ("baseline", scene.baseline))
    return [role for role, one in roles if one is not None and one.result.number == row.number]


def _points(curve: TrialCurve) -> dict[str, Any]:
    """Return a curve with at most _MOST_POINTS points, the last one among them."""
    last = len(curve.epochs) - 1
    steps = min(last, _MOST_POINTS - 1)
    kept = sorted({round(i * last / steps) for i in range(steps + 1)}) if steps else [0]
    return {
        "name": curve.name.replace("copy-", "copy of ").replace("seed-", "seed "),
        "epochs": [curve.epochs[i] for i in kept],
        "scores": [in_percent(curve.scores[i]) for i in kept],
        "texts": [percent(curve.scores[i]) for i in kept],
    }


def _files(data: ReportData, row: TrialRow, target: Path) -> list[dict[str, str]]:
    """Return `path`, from the study's folder on, and `link` where a browser can show the file."""
    if not row.folder.is_dir():
        return []
    beside = Path(os.path.relpath(data.folder.root, target.resolve().parent))
    files = []
    for file in sorted(path for path in row.folder.rglob("*") if path.is_file()):
        path = file.relative_to(data.folder.root).as_posix()
        link = (beside / path).as_posix() if file.suffix in _READABLE else ""
        files.append({"path": path, "link": link})
    return files
