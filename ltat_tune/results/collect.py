"""What a study found, as plain data: the one source of summary, compare and export."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ltat_tune.files import read_json
from ltat_tune.results.range_edges import edges
from ltat_tune.results.rung_quality import rung_quality
from ltat_tune.results.selection import (
    Candidate,
    candidates,
    confirmation_of,
    front,
    infeasible,
    ranking,
    standing,
    winner,
)
from ltat_tune.results.significance import compare_scores
from ltat_tune.search.rungs import place_rungs
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.trial_state import Rows, score_of, state_of
from ltat_tune.storage.trials import LedgerView


def collect(space: Space, folder: StudyFolder, ledger: Rows) -> dict[str, Any]:
    """Everything that was found so far, scenario by scenario."""
    return {
        "study": space.name,
        "objective": space.objective.metric,
        "selected_on_test": space.selected_on_test,
        "smoke": bool(space.smoke),
        "confirm": space.confirm.model_dump(mode="json"),
        "scenarios": [_scenario(space, folder, ledger, s.name) for s in space.scenarios],
    }


def results_so_far(space: Space, folder: StudyFolder) -> tuple[dict[str, Any], bool]:
    """The results of a study, and whether they are its last; nothing is written.

    Of one that runs, or was left, what its ledger and its files say now.

    Raises:
        StudyError: the ledger cannot be read.
    """
    written = folder.read_results()
    if written is not None:
        return written, True
    return collect(space, folder, LedgerView(folder)), False


def _scenario(space: Space, folder: StudyFolder, ledger: Rows, name: str) -> dict[str, Any]:
    where = space.scenario(name)
    rows = ledger.finished(name)
    states = Counter(state_of(row) for row in rows)
    full = space.max_epochs * space.searcher.seeds_per_trial
    trained = sum(int(row.user_attrs.get("epochs", 0)) for row in rows)
    judged = [row for row in rows if state_of(row) in ("complete", "pruned")]
    confirmed = [
        _confirmed(space, folder, ledger, name, candidate)
        for candidate in candidates(space, ledger, name)
    ]
    won = winner(space, folder, ledger, name)
    recipe = won.recipe if won else None
    best = ranking(ledger, name)
    config = space.config(where, {})
    return {
        "name": name,
        "title": where.title,
        "values": dict(where.values),
        "trials": {s: states.get(s, 0) for s in ("complete", "pruned", "failed", "diverged")},
        "epochs": {
            "full": full,
            "planned": full * len(rows),
            "trained": trained,
            # what failed or diverged saved nothing; copies and probes cost, stems give
            "saved": sum(full - int(row.user_attrs.get("epochs", 0)) for row in judged),
        },
        "norm": config.measured_norm,
        "eps": config.measured_eps,
        "exhausted": ledger.exhausted(name),
        "infeasible": infeasible(space, ledger, name),
        "front": [row.number for row in front(ledger, name)] if space.objective.also else [],
        "rungs": rung_quality(place_rungs(space), best),
        "best_trials": [
            {"number": row.number, "score": score_of(row), "params": dict(row.params)}
            for row in best[:10]
        ],
        "winner": recipe,
        "edges": next((edges(space.tuned, c["params"]) for c in confirmed
                       if c["recipe"] == recipe), []),
        "leads": _leads(confirmed, recipe, space.objective.metric),
        "sentinel": read_json(won.path / "sentinel.json") if won else None,  # first seed's
        "baseline": next((c["recipe"] for c in confirmed if c["is_baseline"]), None),
        "confirmed": confirmed,
        "failures": sorted({str(r.user_attrs["reason"]).strip().splitlines()[-1]
                            for r in rows
                            if r.user_attrs.get("reason") and state_of(r) != "pruned"}),
    }  # fmt: skip


def _leads(
    confirmed: Sequence[Mapping[str, Any]], winner: str | None, metric: str
) -> dict[str, Any]:
    """The winner against the best other candidate, and against the baseline."""
    won = next((c for c in confirmed if c["recipe"] == winner), None)
    others = [c for c in confirmed if c is not won and c["val"].get(metric)]
    if won is None:
        return {}
    rivals = [c for c in others if c["is_winner"]]
    found = {"runner_up": max(rivals, key=lambda c: standing(c["val"][metric]), default=None),
             "baseline": next((c for c in others if c["is_baseline"]), None)}  # fmt: skip
    return {who: _lead(won, other, metric) for who, other in found.items() if other is not None}


def _lead(won: Mapping[str, Any], other: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """How far, and how surely, one configuration is ahead of another over their seeds."""
    scores, others = (
        {(c["subset_hash"], seed): value
         for seed, value in zip(c["seeds"], c["val"][metric], strict=True)}
        for c in (won, other)
    )  # fmt: skip
    found = compare_scores(others, scores)
    return {
        "number": other["number"], "gain": found.gain, "p": found.p, "test": found.test,
        "n": found.n, "seeds": [len(scores), len(others)],
    }  # fmt: skip


def _confirmed(
    space: Space, folder: StudyFolder, ledger: Rows, scenario: str, candidate: Candidate
) -> dict[str, Any]:
    """One confirmed configuration: validation and test metrics as lists over its seeds."""
    seeds, val, test = [], [], []
    facts: dict[str, Any] = {}
    recipe = ""
    for seed in space.confirm.seeds:
        confirmed = confirmation_of(space, folder, scenario, candidate, seed)
        recipe = confirmed.recipe
        trained = read_json(confirmed.path / "result.json")
        if trained is None or trained["state"] != "complete":
            continue
        seeds.append(seed)
        val.append(trained["metrics"])
        facts = {name: trained[name] for name in ("samples_per_class", "subset_hash")}
        measured = read_json(confirmed.path / "test.json")
        if measured is not None:
            test.append(measured["metrics"])
            facts["test_images"] = measured["images"]
    row = next(row for row in ledger.finished(scenario) if row.number == candidate.number)
    return {
        "recipe": recipe,
        "number": candidate.number,
        "search_score": score_of(row),
        "is_winner": candidate.is_winner,
        "is_baseline": candidate.is_baseline,
        "params": candidate.params,
        "seeds": seeds,
        "val": _columns(val),
        "test": _columns(test) if len(test) == len(val) else {},
        **facts,
    }


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Metric -> values over the seeds, for metrics that every seed has."""
    if not rows:
        return {}
    shared = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: [row[name] for row in rows] for name in shared}


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return statistics.fmean(values)


def mean_std(values: Sequence[float]) -> str:
    """`41.2 ± 0.4`: percent, sample standard deviation over the seeds; without one seed's ±."""
    if not values:
        return "-"
    text = f"{100 * mean(values):.1f}"
    return f"{text} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else text


def masking(report: Mapping[str, Any]) -> str:
    """The sentinel's verdict in one line: `clear (9 checks)`, or what speaks against it most."""
    if report["right"] == 0:
        return str(report["headline"])
    triggered = [check for check in report["checks"] if check["triggered"]]
    if not triggered:
        return f"{report['verdict']} ({len(report['checks'])} checks)"
    worst = next((check for check in triggered if check["severity"] == "serious"), triggered[0])
    return f"{report['verdict']}: {worst['sentence']}"


def find(scenario: Mapping[str, Any], recipe: str | None) -> dict[str, Any] | None:
    """The confirmed configuration with this recipe."""
    return next((c for c in scenario["confirmed"] if c["recipe"] == recipe), None)
