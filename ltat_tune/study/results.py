"""What a study found, as plain data: the one source of summary, compare and export."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ltat_tune.study.folder import StudyFolder, read_json
from ltat_tune.study.ledger import Ledger, state_of
from ltat_tune.study.plan import Candidate, candidates, confirmation, ranking
from ltat_tune.study.space import Space


def collect(space: Space, folder: StudyFolder, ledger: Ledger) -> dict[str, Any]:
    """Everything that was found so far, scenario by scenario."""
    return {
        "study": space.name,
        "objective": space.objective.metric,
        "selected_on_test": space.selected_on_test,
        "smoke": bool(space.smoke),
        "confirm": space.confirm.model_dump(mode="json"),
        "scenarios": [_scenario(space, folder, ledger, s.name) for s in space.scenarios],
    }


def _scenario(space: Space, folder: StudyFolder, ledger: Ledger, name: str) -> dict[str, Any]:
    where = space.scenario(name)
    rows = ledger.finished(name)
    states = Counter(state_of(row) for row in rows)
    full = space.max_epochs
    trained = sum(int(row.user_attrs.get("epochs", 0)) for row in rows)
    stopped = [int(row.user_attrs.get("epochs", 0)) for row in rows if state_of(row) == "pruned"]
    confirmed = [
        _confirmed(space, folder, ledger, name, candidate)
        for candidate in candidates(space, ledger, name)
    ]
    winners = [c for c in confirmed if c["is_winner"] and c["val"].get(space.objective.metric)]
    winner = max(winners, key=lambda c: standing(c, space.objective.metric), default=None)
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
            "saved": sum(full - epochs for epochs in stopped),
        },
        "norm": config.evaluation.norm or config.attack.norm,
        "eps": config.attack.eps if config.evaluation.eps is None else config.evaluation.eps,
        "best_trials": [
            {"number": row.number, "score": row.value, "params": dict(row.params)}
            for row in best[:10]
        ],
        "winner": winner["recipe"] if winner else None,
        "baseline": next((c["recipe"] for c in confirmed if c["is_baseline"]), None),
        "confirmed": confirmed,
        "failures": sorted({str(r.user_attrs["reason"]).strip().splitlines()[-1]
                            for r in rows if r.user_attrs.get("reason")}),
    }  # fmt: skip


def _confirmed(
    space: Space, folder: StudyFolder, ledger: Ledger, scenario: str, candidate: Candidate
) -> dict[str, Any]:
    """One confirmed configuration: validation and test metrics as lists over its seeds."""
    seeds, val, test = [], [], []
    facts: dict[str, Any] = {}
    recipe = ""
    for seed in space.confirm.seeds:
        task = confirmation(space, folder, scenario, candidate, seed, device="cpu")
        recipe = task.path.name.rpartition("-seed")[0]
        trained = read_json(task.path / "result.json")
        if trained is None or trained["state"] != "complete":
            continue
        seeds.append(seed)
        val.append(trained["metrics"])
        facts = {name: trained[name] for name in ("samples_per_class", "subset_hash")}
        measured = read_json(task.path / "test.json")
        if measured is not None:
            test.append(measured["metrics"])
            facts["test_images"] = measured["images"]
    row = next(row for row in ledger.finished(scenario) if row.number == candidate.number)
    return {
        "recipe": recipe,
        "number": candidate.number,
        "search_score": row.value if state_of(row) == "complete" else None,
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


def standing(confirmed: Mapping[str, Any], metric: str) -> tuple[int, float]:
    """What confirmed configurations are ranked by: seeds that trained to their end, then the mean.

    Seeds first, or one that diverges on its bad seeds would win by the good ones that are left.
    """
    return len(confirmed["seeds"]), mean(confirmed["val"][metric])


def find(scenario: Mapping[str, Any], recipe: str | None) -> dict[str, Any] | None:
    """The confirmed configuration with this recipe."""
    return next((c for c in scenario["confirmed"] if c["recipe"] == recipe), None)
