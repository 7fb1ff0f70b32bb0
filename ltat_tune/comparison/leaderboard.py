"""Rank the winners of several studies, problem by problem, by what they reach on test images."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ltat_tune.config.scalars import pixels
from ltat_tune.errors import LtatError, StudyError
from ltat_tune.presentation.names import NORM_NAMES, attack_name, method_name, problem_name
from ltat_tune.presentation.units import duration, percent
from ltat_tune.presentation.value_phrases import setting
from ltat_tune.results.model import (
    ConfirmedResult,
    Lead,
    ScenarioResults,
    StudyResults,
    read_results,
)
from ltat_tune.results.proof import interval_on_test
from ltat_tune.results.wording import masking_line
from ltat_tune.space.objective import attack_of, group_of
from ltat_tune.space.reader import read_space
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder, list_studies
from ltat_tune.storage.trials import read_trials

READING = (
    "n is the number of seeds. In brackets: the 95 % interval of the mean, over seeds and test "
    "images. Rows of one table have the same problem, attack strength and measure. Their test "
    "images may still differ, which ltat-tune compare checks."
)


@dataclass(frozen=True)
class ScoreOnTest:
    """A mean over the seeds on the test images with its 95 % interval, fractions."""

    mean: float
    low: float | None = None
    high: float | None = None

    @property
    def text(self) -> str:
        """`54.7 (51.2 to 58.2)` in percent; the mean alone without an interval."""
        mean = percent(self.mean)
        if self.low is None or self.high is None:
            return mean
        return f"{mean} ({percent(self.low)} to {percent(self.high)})"


@dataclass(frozen=True)
class Standing:
    """The winner of one scenario of one study.

    Attributes:
        study: the study's folder.
        scenario: the scenario's name; empty if the study has no results yet.
        problem: data, ratio and attack strength in words.
        metric: the test metric by which winners rank.
        winner: the configuration in words.
        trial: its trial, `t0004`.
        seeds: the number of its confirmations.
        scores: test metric -> score.
        lead: the winner's lead over the baseline in points, with its 95 % interval.
        sentinel: the sentinel's verdict, such as `clear`.
        finding: the sentinel's most serious finding, or empty.
        epochs: epochs of the search and of all confirmations.
        seconds: time of all trials of the scenario; None if the ledger is unreadable.
        command: how to get the winner.
        notes: what makes the numbers worth less, and why there are none.
        is_honest: whether it is neither a smoke run nor chosen on the test images.
        order: data set, profile and imbalance ratio, by which problems stand.
    """

    study: Path
    scenario: str = ""
    problem: str = ""
    metric: str = ""
    winner: str = ""
    trial: str = ""
    seeds: int = 0
    scores: Mapping[str, ScoreOnTest] = field(default_factory=dict)
    lead: str = ""
    sentinel: str = ""
    finding: str = ""
    epochs: int = 0
    seconds: float | None = None
    command: str = ""
    notes: tuple[str, ...] = ()
    is_honest: bool = True
    order: tuple[str, str, float] = ("", "", 0.0)

    @property
    def score(self) -> ScoreOnTest | None:
        """The score by which it ranks; None before its test."""
        return self.scores.get(self.metric)

    @property
    def cost(self) -> str:
        """`232 epochs, 12 min`."""
        time = "" if self.seconds is None else f", {duration(self.seconds)}"
        return f"{self.epochs} epochs{time}"


def find_studies(words: Sequence[str], out: Path) -> list[StudyFolder]:
    """Return the studies that the words name: studies in `out`, their folders, or folders of them.

    Without words, all studies in `out`.

    Raises:
        StudyError: a word names no study, or there is none at all.
    """
    roots: dict[Path, Path] = {}
    wrong = []
    for word in words or [str(out)]:
        path = Path(word).expanduser()
        single = next((p for p in (path, out / word) if (p / "study.json").is_file()), None)
        several = [single] if single is not None else [path / name for name in list_studies(path)]
        if not several:
            wrong.append(f"no study {word}, neither a folder of studies nor a study in {out}")
        roots |= {root.resolve(): root for root in several}
    if wrong:
        known = ", ".join(list_studies(out)) or "none"
        raise StudyError("\n".join(f"{line}; studies in {out}: {known}" for line in wrong))
    return [StudyFolder(root) for root in roots.values()]


def standings(folders: Iterable[StudyFolder]) -> list[Standing]:
    """Return the winners of all studies: by problem, best first; studies without results last."""
    rows = [row for folder in folders for row in _of_study(folder)]
    return sorted(rows, key=lambda row: (
        not row.problem, row.order, row.problem, row.metric, not row.is_honest, row.score is None,
        -(row.score.mean if row.score is not None else 0.0), str(row.study), row.scenario,
    ))  # fmt: skip


def by_problem(rows: Iterable[Standing]) -> dict[str, list[Standing]]:
    """Return title -> rows that may be compared; rows of an empty title have no results."""
    groups: dict[str, list[Standing]] = {}
    for row in rows:
        title = f"{row.problem}: {metric_title(row.metric)}" if row.problem else ""
        groups.setdefault(title, []).append(row)
    return groups


def metric_title(metric: str) -> str:
    """Return `PGD-20 balanced` for `test/pgd20_balanced_acc`."""
    return f"{attack_name(attack_of(metric))} {group_of(metric)}".strip()


def _of_study(folder: StudyFolder) -> list[Standing]:
    try:
        results, space = read_results(folder), read_space(folder.space)
        if results is None:
            state = "is running" if folder.is_running() else "is not finished"
            return [Standing(folder.root, notes=(state,), command=folder.resume_command)]
        return [_of_scenario(folder, space, results, one) for one in results.scenarios]
    except LtatError as error:
        return [Standing(folder.root, notes=(str(error).splitlines()[0],))]


def _of_scenario(
    folder: StudyFolder, space: Space, results: StudyResults, scenario: ScenarioResults
) -> Standing:
    where = space.scenario(scenario.name)
    config, metric = space.config(where, {}), results.verdict_metric
    problem = problem_name(config.data, scenario.samples_per_class)
    problem += f", {NORM_NAMES[scenario.norm]}, eps {pixels(scenario.eps)}"
    notes = []
    if results.smoke:
        notes.append("a smoke run, whose numbers mean nothing")
    if results.selected_on_test:
        notes.append("selected on the test images, so too high")
    epochs = scenario.epochs.trained
    epochs += sum(len(one.seeds) for one in scenario.confirmed) * space.max_epochs
    report, winner = scenario.sentinel, scenario.winner
    facts: dict[str, Any] = {
        "study": folder.root, "scenario": scenario.name, "problem": problem, "metric": metric,
        "epochs": epochs, "seconds": _seconds(folder, scenario.name),
        "order": (config.data.name, config.data.profile, config.data.imbalance_ratio),
        "is_honest": not results.smoke and not results.selected_on_test,
    }  # fmt: skip
    if winner is None:
        return Standing(**facts, notes=(*notes, scenario.infeasible or "no winner is confirmed"))
    if not winner.test:
        notes.append("not tested yet")
    lead = scenario.leads.baseline
    only = f" --scenario {shlex.quote(scenario.name)}" if len(results.scenarios) > 1 else ""
    name = shlex.quote(folder.root.name)
    described = method_name(space.config(where, winner.params))
    settings = ", ".join(
        setting(p, v) for p, v in winner.params.items() if p not in ("method.name", "loss.name")
    )
    return Standing(
        **facts, winner=f"{described}, {settings}" if settings else described,
        trial=f"t{winner.number:04d}", seeds=len(winner.seeds),
        scores=_scores(folder, scenario.name, winner, results),
        lead="" if lead is None else _lead_text(lead),
        sentinel="not checked" if report is None else report.verdict,
        finding="" if report is None or report.is_clear else masking_line(report),
        command=f"ltat-tune export {name}{only} --weights{folder.out_option}",
        notes=tuple(notes),
    )  # fmt: skip


def _lead_text(lead: Lead) -> str:
    text = percent(lead.gain, sign="+")
    if lead.low is None or lead.high is None:
        return text
    return f"{text} ({percent(lead.low, sign='+')} to {percent(lead.high, sign='+')})"


def _scores(
    folder: StudyFolder, scenario: str, winner: ConfirmedResult, results: StudyResults
) -> dict[str, ScoreOnTest]:
    metrics = [results.verdict_metric, *(f"test/{a}_acc" for a in results.confirm.attacks)]
    scores = {}
    for metric in dict.fromkeys(metrics):
        if values := winner.scores("test", metric):
            part = results.confirm.test_images
            ends = interval_on_test(folder, scenario, winner, metric, part)
            low, high = ends or (None, None)
            scores[metric] = ScoreOnTest(statistics.fmean(values), low, high)
    return scores


def _seconds(folder: StudyFolder, scenario: str) -> float | None:
    try:
        rows = [row for row in read_trials(folder) if row.scenario == scenario]
    except StudyError:
        return None
    return sum(row.seconds or 0.0 for row in rows)


def leaderboard_text(rows: Sequence[Standing]) -> RenderableType:
    """Return the leaderboard for the terminal: a table for each problem, then how to get each."""
    parts: list[RenderableType] = []
    for title, group in by_problem(rows).items():
        parts.append(Text(title or "without results", style="bold"))
        if not title:
            parts += [Text(f"{row.study.name}: {'; '.join(row.notes)}") for row in group]
            continue
        table = Table(box=None, pad_edge=False, header_style="dim")
        for head in ("study", "winner", "n", "test, %", "masking", "cost"):
            table.add_column(head, overflow="fold")
        for row in group:
            winner = f"{row.trial} {row.winner}".strip()
            notes = "".join(f"\n{note}" for note in row.notes)
            score = "-" if row.score is None else row.score.text
            seeds = str(row.seeds or "-")
            table.add_row(row.study.name, winner + notes, seeds, score, row.sentinel, row.cost)
        parts += [table, *[Text(row.command, style="dim") for row in group if row.command], Text()]
    if any(row.scores for row in rows):
        parts.append(Text(READING, style="dim"))
    return Group(*parts)


def leaderboard_rows(rows: Iterable[Standing]) -> list[dict[str, Any]]:
    """Return flat rows with the same keys, shares as fractions, for JSON and CSV."""
    rows = list(rows)
    metrics = list(dict.fromkeys(metric for row in rows for metric in row.scores))
    flat = []
    for row in rows:
        line: dict[str, Any] = {
            "study": row.study.name, "scenario": row.scenario, "problem": row.problem,
            "trial": row.trial, "winner": row.winner, "seeds": row.seeds, "ranked_by": row.metric,
        }  # fmt: skip
        for metric in metrics:
            score = row.scores.get(metric)
            line[metric] = None if score is None else score.mean
            line[f"{metric}_low"] = None if score is None else score.low
            line[f"{metric}_high"] = None if score is None else score.high
        flat.append(line | {
            "lead": row.lead, "sentinel": row.sentinel, "finding": row.finding,
            "epochs": row.epochs, "seconds": row.seconds, "command": row.command,
            "notes": "; ".join(row.notes),
        })  # fmt: skip
    return flat
