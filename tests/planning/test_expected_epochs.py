"""How many epochs a search trains, worked out by hand."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from ltat_tune.planning.expected_epochs import going_on, promoted, search_length, stage_epochs
from ltat_tune.preflight.load import load_space
from ltat_tune.search.rungs import Rungs
from ltat_tune.space.space import Space
from ltat_tune.space.spec import SchedulerSpec
from tests.drive import write_space

NO_RUNGS = Rungs((), ())


def _space(folder: Path, trials: int = 6, **changes: Any) -> Space:
    """Six epochs each, as `MINI`."""
    searcher = {"trials": trials, **changes.pop("searcher", {})}
    path = write_space(folder, searcher=searcher, start_from=[], **changes)
    return load_space(path, check_machine=False)


def test_asha_lets_ceil_i_over_eta_of_i_go_on() -> None:
    # eta 3: the first two go on, then 1/3, 2/4, 2/5, 2/6
    spec = SchedulerSpec(reduction_factor=3)
    assert going_on(2, spec) == 2
    assert going_on(3, spec) == pytest.approx(2 + 1 / 3)
    assert going_on(6, spec) == pytest.approx(2 + 1 / 3 + 1 / 2 + 2 / 5 + 1 / 3)
    assert going_on(2.5, spec) == pytest.approx(2 + 1 / 6)


def test_the_median_lets_half_go_on_behind_the_first_five() -> None:
    assert going_on(9, SchedulerSpec(name="median")) == 7


def test_without_rungs_every_trial_trains_to_its_end(tmp_path: Path) -> None:
    length = search_length(_space(tmp_path), NO_RUNGS)
    assert (length.trained, length.at_most, length.complete) == (36, 36, 6)


def test_a_rung_stops_what_asha_stops(tmp_path: Path) -> None:
    # three trials reach epoch 2, two and a third the end: 3 * 2 + 7/3 * 4
    length = search_length(_space(tmp_path, 3), Rungs((2,), ()))
    assert length.complete == pytest.approx(7 / 3)
    assert length.trained == pytest.approx(6 + 28 / 3)
    assert length.at_most == 18


def test_a_probe_costs_its_epochs_beside(tmp_path: Path) -> None:
    rungs = Rungs((), (), probes=(2,), probe_epochs=3)
    length = search_length(_space(tmp_path, 3), rungs)
    assert length.trained == pytest.approx(3 * (2 + 3) + 7 / 3 * 4)
    assert length.at_most == 3 * (6 + 3)


def test_hyperband_has_a_bracket_without_rungs(tmp_path: Path) -> None:
    # rungs 1 and 3, eta 2: of seven trials four see both, two the second, one none;
    # four: 1, 1/2, 2/3, 1/2 go on = 8/3, of which 1 + (1 + 2/3) * 1/2 + ... pass the second
    spec = {"name": "hyperband", "reduction_factor": 2}
    space = _space(tmp_path, 7, scheduler=spec)
    first = 1 + 1 / 2 + 2 / 3 + 1 / 2
    second = 1 + 1 / 2 + (first - 2) * 2 / 3
    both = 4 * 1 + first * 2 + second * 3
    one = 2 * 3 + (1 + 1 / 2) * 3
    assert search_length(space, Rungs((1, 3), ())).trained == pytest.approx(both + one + 6)


def test_several_seeds_are_trained_of_what_comes_to_its_end(tmp_path: Path) -> None:
    space = _space(tmp_path, 3, searcher={"seeds_per_trial": 3}, confirm={"top": 0})
    length = search_length(space, Rungs((2,), ()))
    assert length.trained == pytest.approx(6 + 28 / 3 + 7 / 3 * 2 * 6)
    assert stage_epochs(space, Rungs((2,), ())) == [18]


def _ever_promoted(order: tuple[int, ...]) -> int:
    """Trials that are among the best half of those before some trial, or of all: eta 2."""
    found: set[int] = set()
    for n in range(1, len(order) + 1):
        found |= set(sorted(order[:n])[: n // 2])
    return len(found | set(sorted(order)[: -(-len(order) // 2)]))


def test_copies_are_promoted_as_in_all_orders_of_four() -> None:
    orders = list(itertools.permutations(range(4)))
    mean = sum(map(_ever_promoted, orders)) / len(orders)
    assert promoted(4, 1, 2.0)[0] == 4
    assert promoted(4, 1, 2.0)[1] == pytest.approx(mean)
    assert promoted(2, 1, 2.0) == (2, 1)
    assert promoted(1, 2, 3.0) == (1, 1, 1)  # one trial always trains to its end
    two_levels = promoted(4, 2, 2.0)  # as many as go on, a fraction between whole numbers
    assert two_levels[2] == pytest.approx(1 + (mean - 2) * (promoted(3, 1, 2.0)[1] - 1))
    assert promoted(9000, 1, 2.0)[1] == pytest.approx(3 * promoted(3000, 1, 2.0)[1])


def test_copies_come_before_the_whole_run(tmp_path: Path) -> None:
    # two trials: copies of 2 epochs, one goes on to 6
    space = _space(tmp_path, 2, scheduler={"reduction_factor": 2, "rungs": "copy"})
    length = search_length(space, Rungs((), (), copies=(2,)))
    assert (length.trained, length.complete, length.by_length) == (2 * 2 + 6, 1, {2: 4})
    assert length.at_most == 2 * (2 + 6)
    assert stage_epochs(space, Rungs((), (), copies=(2,))) == [2, 6]


LATE = {
    "reweight.name": "class_balanced",
    "reweight.schedule": "deferred",
    "reweight.start_fraction": 0.5,
}


def _late(folder: Path, trials: int, branches: int) -> Space:
    from tests.drive import MINI

    return _space(
        folder,
        trials,
        fixed={**MINI["fixed"], **LATE},
        tuned={
            "optim.lr": MINI["tuned"]["optim.lr"],
            "reweight.beta": {"type": "float", "low": 0.9, "high": 0.999},
        },
        searcher={"branches": branches},
    )


def test_branches_train_their_stem_once(tmp_path: Path) -> None:
    # six trials, two early configurations of three branches each, three of six epochs shared
    length = search_length(_late(tmp_path, 6, 3), NO_RUNGS)
    assert (length.expected, length.shared, length.trained) == (36, 4 * 3, 24)
    assert search_length(_late(tmp_path, 6, 1), NO_RUNGS).shared == 0


def test_a_rung_before_the_stems_end_leaves_fewer_to_branch(tmp_path: Path) -> None:
    # of n first trials at a rung at 2, a share r reaches 3, and each has one sibling:
    # n (1 + r) = 6 with r as for six trials at a rung
    space = _late(tmp_path, 6, 2)
    r = (2 + 1 / 3 + 1 / 2 + 2 / 5 + 1 / 3) / 6
    followers = 6 - 6 / (1 + r)
    length = search_length(space, Rungs((2,), ()))
    assert length.shared == pytest.approx(3 * followers)


def test_a_grid_shares_what_its_rows_have_in_common(tmp_path: Path) -> None:
    from tests.drive import MINI

    space = _space(
        tmp_path,
        fixed={**MINI["fixed"], **LATE},
        tuned={
            "optim.lr": {"type": "categorical", "choices": [0.1, 0.2]},
            "reweight.beta": {"type": "categorical", "choices": [0.9, 0.99, 0.999]},
        },
        searcher={"name": "grid"},
        scheduler={"name": "none"},
    )
    assert space.searcher.trials == 6
    assert search_length(space, NO_RUNGS).shared == 2 * 2 * 3  # two stems, two siblings each


def test_there_are_no_more_trials_than_configurations(tmp_path: Path) -> None:
    tuned = {"loss.name": {"type": "categorical", "choices": ["cross_entropy", "ldam"]}}
    assert search_length(_space(tmp_path, 50, tuned=tuned), NO_RUNGS).trials == 2
