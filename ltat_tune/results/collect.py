"""Collect the results of a study; summary, compare, report and export all use them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.trial import FrozenTrial
from pydantic import TypeAdapter

from ltat_tune.presentation.units import percent
from ltat_tune.results.lead import holm
from ltat_tune.results.model import (
    ConfirmedResult,
    ConfirmSettings,
    EpochCounts,
    RankedTrial,
    ScenarioResults,
    SearchedOn,
    StudyResults,
    TrialCounts,
    read_results,
    verdict_metric,
)
from ltat_tune.results.proof import leads_of
from ltat_tune.results.race.counts import choice_counts
from ltat_tune.results.range_edges import edges
from ltat_tune.results.rung_quality import rung_quality
from ltat_tune.results.selection import (
    Candidate,
    candidates,
    confirmation_of,
    counted_test,
    front,
    infeasible,
    ranking,
    winner,
)
from ltat_tune.search.predict.observed import is_doubted
from ltat_tune.search.predict.outlook import outlook_of
from ltat_tune.search.rungs import place_rungs
from ltat_tune.space.objective import attack_of
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import read_complete, read_masking, read_test
from ltat_tune.storage.trial_state import Rows, score_of, state_of
from ltat_tune.storage.trials import LedgerView
from ltat_tune.storage.versioned import parse

_AHEAD = 10  # further trials whose gain is told

_SEARCHED_ON = TypeAdapter(list[SearchedOn])


def collect(space: Space, folder: StudyFolder, ledger: Rows) -> StudyResults:
    """Return the results so far, scenario by scenario."""
    scenarios = [_scenario(space, folder, ledger, s.name) for s in space.scenarios]
    settings = {**space.confirm.model_dump(mode="json"), "seeds": list(space.confirm_seeds)}
    return StudyResults(
        study=space.name,
        objective=space.objective.metric,
        selected_on_test=space.selected_on_test,
        smoke=bool(space.smoke),
        searched_on=parse(folder.facts, _SEARCHED_ON, folder.read_facts().get("searched_on", [])),
        confirm=ConfirmSettings(**settings),
        scenarios=_over_scenarios(scenarios),
    )


def shown_on_test(space: Space, folder: StudyFolder) -> SearchedOn | None:
    """Return what a study showed so far, if it has measured anything on the test images."""
    results, _ = results_so_far(space, folder)
    tested = (
        read_test(folder.confirmation(scenario.name, one.recipe, seed))
        for scenario in results.scenarios for one in scenario.confirmed for seed in one.seeds
    )  # fmt: skip
    if not any(tested):
        return None
    return SearchedOn(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        trials={one.name: one.trials.total for one in results.scenarios},
        winners={one.name: one.winner_recipe for one in results.scenarios},
    )


def _over_scenarios(scenarios: Sequence[ScenarioResults]) -> list[ScenarioResults]:
    """Return the scenarios with the p of each lead over a baseline corrected for all of them."""
    leads = [scenario.leads.baseline for scenario in scenarios]
    if sum(lead is not None and lead.p is not None for lead in leads) < 2:
        return list(scenarios)
    corrected = []
    adjusted = holm([None if lead is None else lead.p for lead in leads])
    for scenario, lead, p in zip(scenarios, leads, adjusted, strict=True):
        if lead is not None:
            lead = lead.model_copy(update={"over_scenarios": p})
            both = scenario.leads.model_copy(update={"baseline": lead})
            scenario = scenario.model_copy(update={"leads": both})
        corrected.append(scenario)
    return corrected


def results_so_far(space: Space, folder: StudyFolder) -> tuple[StudyResults, bool]:
    """Return (results, whether they are final) of a study; write nothing.

    The results of a running or unfinished study are computed from its ledger and files.

    Raises:
        StudyError: the ledger or a file cannot be read.
    """
    written = read_results(folder)
    if written is not None:
        return written, True
    return collect(space, folder, LedgerView(folder)), False


def _scenario(space: Space, folder: StudyFolder, ledger: Rows, name: str) -> ScenarioResults:
    where = space.scenario(name)
    every = {scenario.name: ledger.finished(scenario.name) for scenario in space.scenarios}
    rows = every[name]
    states = Counter(state_of(row) for row in rows)
    full = space.max_epochs * space.searcher.seeds_per_trial
    trained = sum(int(row.user_attrs.get("epochs", 0)) for row in rows)
    judged = [row for row in rows if state_of(row) in ("complete", "pruned")]
    confirmed = [
        _confirmed(space, folder, ledger, name, candidate)
        for candidate in candidates(space, ledger, name)
    ]
    winning = winner(space, folder, ledger, name)
    recipe = winning.recipe if winning else None
    chosen = next((one for one in confirmed if one.recipe == recipe), None)
    best = ranking(ledger, name)
    config = space.config(where, {})
    return ScenarioResults(
        name=name,
        title=where.title,
        values=dict(where.values),
        trials=TrialCounts(
            complete=states["complete"], pruned=states["pruned"],
            failed=states["failed"], diverged=states["diverged"],
        ),
        epochs=EpochCounts(
            full=full,
            planned=full * len(rows),
            trained=trained,
            # failed and diverged trials saved nothing; copies and probes cost epochs, stems save
            saved=sum(full - int(row.user_attrs.get("epochs", 0)) for row in judged),
        ),
        norm=config.measured_norm,
        eps=config.measured_eps,
        exhausted=ledger.exhausted(name),
        outlook=outlook_of(space, every, name, _AHEAD),
        infeasible=infeasible(space, ledger, name),
        front=[row.number for row in front(ledger, name)] if space.objective.also else [],
        rungs=rung_quality(place_rungs(space), best),
        best_trials=[
            RankedTrial(number=row.number, score=score_of(row) or 0.0, params=dict(row.params))
            for row in best[:10]
        ],
        winner=recipe,
        edges=edges(space.tuned, chosen.params) if chosen else [],
        leads=leads_of(space, folder, name, confirmed, chosen),
        choices=choice_counts(space, where, rows, confirmed),
        sentinel=read_masking(winning.path) if winning else None,  # of its first seed
        baseline=next((one.recipe for one in confirmed if one.is_baseline), None),
        confirmed=confirmed,
        failures=sorted({_cause(r) for r in rows
                         if _cause(r) and state_of(r) in ("failed", "diverged")}),
        doubted=[_doubted(space, row) for row in rows if is_doubted(row)],
    )  # fmt: skip


def _cause(row: FrozenTrial) -> str:
    """Return the last line of a row's reason, or an empty text."""
    lines = str(row.user_attrs.get("reason", "")).strip().splitlines()
    return lines[-1] if lines else ""


def _doubted(space: Space, row: FrozenTrial) -> str:
    """Return a sentence on a trial whose score is too good to be true."""
    claimed = row.user_attrs.get("claimed")
    its = "its score" if claimed is None else f"its {percent(claimed)} %"
    return (
        f"t{row.number:04d}: {its} {space.objective.metric} is {_cause(row)}; it counts with "
        f"{percent(score_of(row) or 0.0)} %, behind every credible trial"
    )


def _confirmed(
    space: Space, folder: StudyFolder, ledger: Rows, scenario: str, candidate: Candidate
) -> ConfirmedResult:
    """Return one confirmed configuration, with each metric as a list over its seeds."""
    seeds, val, test, tested = [], [], [], []
    attack = attack_of(verdict_metric(space.objective.metric, space.confirm.attacks))
    facts: dict[str, Any] = {}
    recipe, names = "", list[str]()
    for seed in space.confirm_seeds:
        confirmed = confirmation_of(space, folder, scenario, candidate, seed)
        recipe = confirmed.recipe
        trained = read_complete(confirmed.path)
        if trained is None:
            continue
        seeds.append(seed)
        val.append(trained.credible)
        if trained.second_opinion is not None and trained.is_doubted:
            facts["doubt"] = f"that of seed {seed} is {trained.second_opinion.reason}"
        facts |= {"samples_per_class": trained.samples_per_class,
                 "subset_hash": trained.subset_hash, "classes": trained.classes or []}  # fmt: skip
        names = trained.classes or [str(place) for place in range(len(trained.samples_per_class))]
        measured = counted_test(space, confirmed.path)
        if measured is not None:
            test.append(measured.metrics)
            tested.append(measured.per_class.get(f"test/{attack}", []))
            facts["test_images"] = measured.images
    row = next(row for row in ledger.finished(scenario) if row.number == candidate.number)
    return ConfirmedResult(
        recipe=recipe,
        number=candidate.number,
        search_score=score_of(row),
        is_winner=candidate.is_winner,
        is_baseline=candidate.is_baseline,
        params=candidate.params,
        seeds=seeds,
        val=_columns(val),
        test=_columns(test) if len(test) == len(val) else {},
        lost_classes=_lost(tested, names),
        **facts,
    )


def _lost(recalls: Sequence[Sequence[float | None]], names: Sequence[str]) -> list[str]:
    """Return the classes of which no image is right, whatever the seed."""
    if not recalls or not all(recalls):
        return []
    by_class = zip(names, zip(*recalls, strict=True), strict=True)
    return [name for name, values in by_class if all(value == 0 for value in values)]


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Return metric -> values over the seeds, for metrics that every seed has."""
    if not rows:
        return {}
    shared = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: [row[name] for row in rows] for name in shared}
