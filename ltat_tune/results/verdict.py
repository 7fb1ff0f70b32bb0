"""State who won a scenario, and by how much, for the terminal, MLflow and the report.

The validation images chose the winner, so its score there is too high. What the verdict claims
comes from the test images, which chose nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ltat_tune.presentation.names import attack_name
from ltat_tune.results.lead import SETTLED
from ltat_tune.results.model import Lead, ScenarioResults, StudyResults
from ltat_tune.results.race.counts import RIVALS
from ltat_tune.results.wording import lead_clause, mean_std, power, tested_part
from ltat_tune.space.objective import attack_of, group_of

SMOKE = "smoke run: it shows that the file runs, and its numbers mean nothing"
ITSELF = "it is the baseline itself, which no other configuration beat on the validation images"
NO_PROOF = (
    "selected on the test images (selected_on_test), so it is optimistic and no p-value would "
    "mean anything"
)
_GUESSING = 1.1  # times the accuracy of guessing; below this a score counts as guessing
_TRIED = 4  # times: a method or loss with so many fewer complete trials is under-tried
_FEW = 5  # complete trials; with fewer the search has seen little
_MANY_CLASSES = 5  # names; more of them are counted


@dataclass(frozen=True)
class WinnerVerdict:
    """The verdict on a scenario's winner, in parts that a page joins to sentences.

    Attributes:
        is_best: whether it beats the baseline and the runner-up beyond chance, as far as there are
            such.
        score: `67.9 ± 2.5`, on the test images in percent; empty before the test.
        chosen_by: the objective on the validation images, in percent.
        baseline_score: the baseline's test score; None without a baseline beside the winner.
        claims: what is claimed of the winner against the baseline and the runner-up, in words.
        advice: what would settle an unsettled lead.
        caveats: what makes the verdict worth less, in words.
    """

    is_best: bool
    score: str
    chosen_by: str
    baseline_score: str | None
    claims: tuple[str, ...]
    advice: tuple[str, ...]
    caveats: tuple[str, ...]


def verdict_of(results: StudyResults, scenario: ScenarioResults) -> WinnerVerdict | None:
    """Return the verdict on a scenario, or None without a winner."""
    winner, rival, metric = scenario.winner, scenario.rival, results.verdict_metric
    if winner is None:
        return None
    others: list[tuple[Lead, str]] = []
    if rival is not None and scenario.leads.baseline is not None:
        others.append((scenario.leads.baseline, "the baseline"))
    second = scenario.leads.runner_up
    if second is not None and (rival is None or second.number != rival.number):
        others.append((second, f"the runner-up t{second.number:04d}"))
    leads = [lead for lead, _ in others]
    compared = rival is None or scenario.leads.baseline is not None
    base = rival.scores("test", metric) if rival is not None else []
    score = winner.scores("test", metric)
    return WinnerVerdict(
        is_best=bool(score and leads and compared)
        and all(lead.is_settled and lead.gain > 0 for lead in leads),
        score=mean_std(score) if score else "",
        chosen_by=mean_std(winner.val[results.objective]),
        baseline_score=mean_std(base) if base else None,
        claims=tuple(_claims(results, scenario, others)) if score else (),
        advice=_advice(leads) if score else (),
        caveats=tuple(filter(None, _caveats(results, scenario))),
    )


def _claims(
    results: StudyResults, scenario: ScenarioResults, others: Sequence[tuple[Lead, str]]
) -> list[str]:
    claims = [lead_clause(lead, other) for lead, other in others]
    if scenario.rival is not None and scenario.leads.baseline is None:
        tested = scenario.rival.scores("test", results.verdict_metric)
        why = (
            "an earlier version measured it without keeping the answers by image"
            if tested else "the baseline is not tested yet"
        )  # fmt: skip
        claims.append(f"has no tested lead over the baseline: {why}")
    return claims


def _advice(leads: Sequence[Lead]) -> tuple[str, ...]:
    """Return what would settle the unsettled lead that is hardest to settle."""
    unsettled = [lead for lead in leads if power(lead)]
    hardest = max(unsettled, key=lambda lead: lead.settles or 0.0, default=None)
    return () if hardest is None else (power(hardest),)


def _caveats(results: StudyResults, scenario: ScenarioResults) -> list[str]:
    winner = scenario.winner
    assert winner is not None
    metric, classes = results.objective, len(winner.samples_per_class)
    scores = winner.scores("test", results.verdict_metric) or winner.val[metric]
    attack = attack_of(results.verdict_metric)
    # all classes have as many validation and test images as the others, or nearly
    guessing = group_of(metric) in ("", "balanced") and classes > 0
    guessing = guessing and statistics.fmean(scores) < _GUESSING / classes
    lost, few = winner.lost_classes, scenario.trials.complete < _FEW
    named = f"{'class' if len(lost) == 1 else 'classes'} {', '.join(lost)}"
    if len(lost) > _MANY_CLASSES:
        named = f"{len(lost)} classes"
    return [
        NO_PROOF if results.selected_on_test else "",
        tested_part(results.confirm.test_images),
        ITSELF if scenario.baseline is not None and scenario.rival is None else "",
        f"its validation score is not credible: {winner.doubt}" if winner.doubt else "",
        _doubted(scenario),
        f"no better than guessing one of {classes} classes: train longer" if guessing else "",
        f"no test image of {named} is right under {attack_name(attack)}" if lost else "",
        f"only {_trials(scenario.trials.complete)} complete behind it" if few else "",
        *(f"{edge.path} lies on the {edge.side} edge of its range" for edge in scenario.edges),
        *_undertried(scenario),
        searched_on(results),
    ]  # fmt: skip


def _doubted(scenario: ScenarioResults) -> str:
    doubted = len(scenario.doubted)
    if not doubted:
        return ""
    which = "1 trial has" if doubted == 1 else f"{doubted} trials have"
    return f"{which} no rank, because the score is too good to be true"


def _trials(count: int) -> str:
    return f"{count} trial is" if count == 1 else f"{count} trials are"


def _undertried(scenario: ScenarioResults) -> list[str]:
    """Return each method or loss that few trials trained to their end, for what others had."""
    most: dict[str, int] = {}
    rivals = [one for one in scenario.choices if one.path in RIVALS]
    for one in rivals:
        most[one.path] = max(one.complete, most.get(one.path, 0))
    return [
        f"{one.choice}: {one.trials} trial{'s' * (one.trials != 1)}, "
        f"{one.complete or 'none'} complete" if one.trials else f"{one.choice}: not tried"
        for one in rivals
        if one.complete == 0 or _TRIED * one.complete < most[one.path]
    ]  # fmt: skip


def searched_on(results: StudyResults) -> str:
    """Return a warning if the search went on after the test numbers were shown."""
    return "searched on after the test images were seen" if results.searched_on else ""


def sentences(results: StudyResults) -> list[str]:
    """Return one sentence for each scenario with a winner, and one over all of them.

    A smoke run has one warning instead.
    """
    if results.smoke:
        return [SMOKE]
    verdicts = ((scenario, verdict_of(results, scenario)) for scenario in results.scenarios)
    lines = [_sentence(results, scenario, verdict) for scenario, verdict in verdicts if verdict]
    return [*lines, *filter(None, [over_scenarios(results, lambda scenario: scenario.title)])]


def _sentence(results: StudyResults, scenario: ScenarioResults, verdict: WinnerVerdict) -> str:
    method = "the winner"
    if scenario.winner is not None:
        method = scenario.winner.params.get("method.name", method)
    if verdict.score:
        text = f"{method} reaches {verdict.score} % {results.verdict_metric}"
        against = verdict.baseline_score
        text += f", the baseline {against} %" if against is not None else ""
    else:
        text = (
            f"{method} was chosen by its {verdict.chosen_by} % {results.objective}; not tested yet"
        )
    claims = [f"it {claim}" for claim in verdict.claims]
    if verdict.is_best:
        claims[0] = f"it is best: {claims[0]}"
    return f"{scenario.title}: " + "; ".join([text, *claims, *verdict.advice, *verdict.caveats])


def over_scenarios(results: StudyResults, title: Callable[[ScenarioResults], str]) -> str:
    """Return in which scenarios the winner beats the baseline, corrected for their number."""
    tested = [
        (title(scenario), lead) for scenario in results.scenarios
        if (lead := scenario.leads.baseline) is not None and lead.over_scenarios is not None
    ]  # fmt: skip
    if len(tested) < 2:
        return ""
    beaten = [
        name for name, lead in tested
        if lead.gain > 0 and lead.over_scenarios is not None and lead.over_scenarios < SETTLED
    ]  # fmt: skip
    which = f": {'; '.join(beaten)}" if 0 < len(beaten) < len(tested) else ""
    how_many = {0: "none of them", len(tested): "all of them"}.get(len(beaten), str(len(beaten)))
    return (
        f"over the {len(tested)} scenarios together (Holm), the winner beats the baseline beyond "
        f"chance in {how_many}{which}"
    )
