"""Private names of Optuna that search/optuna_internals.py uses: what breaks when they move."""

from __future__ import annotations

import inspect

import optuna
import pytest
from optuna.samplers import CmaEsSampler
from optuna.samplers._ga import BaseGASampler
from optuna.study import StudySummary
from optuna.trial import FrozenTrial

USES = [
    (optuna.Study, "_get_trials", "searchers no longer see trials that passed a rung"),
    (BaseGASampler, "get_trial_generation", "points of start_from are no parents in nsga2, nsga3"),
    (CmaEsSampler, "_restore_optimizer", "cmaes pickles its state into the journal"),
    (CmaEsSampler, "_init_optimizer", "cmaes cannot begin at the best trial"),
    (CmaEsSampler, "_get_solution_trials", "cmaes cannot be rebuilt on resume"),
    (CmaEsSampler, "_split_optimizer_str", "cmaes pickles its state into the journal"),
]


@pytest.mark.parametrize(("owner", "name", "loss"), USES, ids=[name for _, name, _ in USES])
def test_a_method_of_optuna_is_where_it_was(owner: type, name: str, loss: str) -> None:
    assert callable(getattr(owner, name, None)), f"{owner.__name__}.{name} is gone: {loss}"


def test_samplers_read_trials_from_the_cache_and_nobody_else_does() -> None:
    arguments = list(inspect.signature(optuna.Study._get_trials).parameters)
    assert arguments == ["self", "deepcopy", "states", "use_cache"], (
        "Study._get_trials takes other arguments: searchers miss trials that passed a rung"
    )


def test_rows_and_studies_have_the_ids_that_the_ledger_writes_by() -> None:
    study = optuna.create_study()
    trial = study.ask()
    row = study.trials[0]
    assert isinstance(row, FrozenTrial) and isinstance(row._trial_id, int)
    assert trial._trial_id == row._trial_id, "a dead driver's trial cannot be taken over"
    assert study._storage.get_trial(row._trial_id).number == 0, "scores cannot be written"
    (known,) = study._storage.get_all_studies()
    assert hasattr(known, "_study_id"), "a ledger cannot be read without a driver"
    assert StudySummary is not None


def test_enqueued_trials_are_told_from_proposed_ones() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"x": 1.0})
    study.ask()
    study.ask()
    queued, proposed = study.trials
    assert "fixed_params" in queued.system_attrs, "repeats of start_from count as the sampler's"
    assert "fixed_params" not in proposed.system_attrs


def test_cmaes_transforms_points_as_the_ledger_holds_them() -> None:
    transform = optuna._transform._SearchSpaceTransform(
        {"x": optuna.distributions.FloatDistribution(1.0, 100.0, log=True)}, transform_0_1=True
    )
    assert transform.transform({"x": 10.0}) == pytest.approx([0.5]), "cmaes starts at other points"
