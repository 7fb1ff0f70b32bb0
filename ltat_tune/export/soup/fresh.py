"""Confirm a soup with fresh seeds: the same trials, trained anew with each seed, averaged anew.

The study itself trains them: each member must be among the candidates that it confirms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ltat_tune.comparison.checkpoints import measured_as_winner, winners_problem
from ltat_tune.comparison.entries import Reviewed
from ltat_tune.export.soup.make import Mixer, ScenarioSoups, Soup
from ltat_tune.export.soup.starts import Ingredient
from ltat_tune.models.arithmetic import chosen_device
from ltat_tune.results.lead import MeasuredLead, measured_lead
from ltat_tune.results.proof import metric_shares
from ltat_tune.results.selection import counted_test
from ltat_tune.space.objective import attack_of
from ltat_tune.storage.training_files import read_complete


@dataclass(frozen=True)
class FreshSoup:
    """A soup whose trials were trained anew with seeds that the search did not use.

    Attributes:
        scenario: its name.
        metric: of the scores, on the test images.
        seeds: the fresh seeds; empty if not every member was trained with one.
        scores: of the soup of each seed.
        lead: of the soup over the winner, seed by seed; None without seeds.
        top: the `confirm.top` that confirms every member.
    """

    scenario: str
    metric: str
    seeds: Sequence[int]
    scores: Sequence[float]
    lead: MeasuredLead | None
    top: int


def confirm_soup(
    study: Reviewed, made: ScenarioSoups, *, device: str = "auto",
    folder: Path = Path("evaluations"),
) -> FreshSoup | None:  # fmt: skip
    """Test the soup of each fresh seed beside the winner with that seed; None without a soup.

    Args:
        study: the study; the scenario has a winner that was tested.
        made: the soups of one scenario. The members are fixed: nothing is chosen again.
        device: the device that measures.
        folder: where what was measured is kept.
    """
    result = next(one for one in study.results.scenarios if one.name == made.scenario).winner
    if made.best is None or result is None:
        return None
    metric, place = study.results.verdict_metric, chosen_device(device)
    attack, problem = attack_of(metric), winners_problem(study, made.scenario, result)
    counts = problem.splits.samples_per_class.tolist()
    seeds, scores, differences = [], [], []
    classes = np.zeros(0, dtype=np.int64)
    for seed in study.space.fresh_seeds:
        members = [_again(study, made.scenario, one, seed) for one in made.best.members]
        tested = counted_test(
            study.space, study.folder.confirmation(made.scenario, result.recipe, seed)
        )
        theirs = None if tested is None else tested.answers(attack)
        if theirs is None or not all(read_complete(m.folder) and m.checkpoint.exists()
                                     for m in members):  # fmt: skip
            continue
        model = Mixer(study, members, place).mix(range(len(members)))
        ours = measured_as_winner(model, problem, [attack], folder, str(place)).answers(attack)
        assert ours is not None
        classes = ours[1]
        gained = metric_shares(metric, *ours, counts)
        seeds.append(seed)
        scores.append(float(gained.sum()))
        differences.append(gained - metric_shares(metric, *theirs, counts))
    lead = None
    if differences and not study.space.selected_on_test:
        lead = measured_lead(np.stack(differences), classes)
    return FreshSoup(made.scenario, metric, seeds, scores, lead, _top(study, made.best))


def _again(study: Reviewed, scenario: str, member: Ingredient, seed: int) -> Ingredient:
    """Return a member as its confirmation with a seed, trained or not."""
    config = member.config.replace({"seeds.seed": seed})
    return replace(
        member, config=config, folder=study.folder.confirmation(scenario, config.recipe, seed)
    )


def _top(study: Reviewed, soup: Soup) -> int:
    """Return the rank of the soup's worst member among the trials that may be confirmed."""
    numbers = {one.number for one in soup.members}
    scenario = soup.members[0].folder.parent.name
    able = [row for row in study.trials
            if row.scenario == scenario and row.score is not None and row.feasible
            and not row.doubt]  # fmt: skip
    able.sort(key=lambda row: (-(row.score or 0.0), row.number))
    return max(rank for rank, row in enumerate(able, start=1) if row.number in numbers)
