"""No configuration is trained twice with one seed, and trials are numbered without repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from ltat_tune.results.selection import candidates
from ltat_tune.search.tried import SearchExhausted
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome
from tests.spaces import space_of

SIX = """\
tuned:
  loss.name: {type: categorical, choices: [cross_entropy, balanced_softmax, focal]}
  optim.lr: {type: categorical, choices: [0.1, 0.2]}
"""
RANGE = "tuned: {optim.lr: {type: float, low: 0.01, high: 0.3, log: true}}\n"


def _complete(ledger: Ledger, scenario: str = "default", value: float = 0.5) -> int:
    number, params = ledger.propose(scenario)
    ledger.record(scenario, number, 2, value / 2)
    metrics = {"val/clean_acc": 0.8}
    ledger.finish(scenario, number, Outcome("complete", 4, metrics=metrics), value)
    return number


def _rows(ledger: Ledger) -> list[optuna.trial.FrozenTrial]:
    """Every row that Optuna has, repeats included."""
    return ledger.study("default").get_trials(deepcopy=False)


@pytest.mark.parametrize("searcher", ["tpe", "random"])
def test_a_space_of_six_is_tried_once_each_and_then_the_search_ends(
    searcher: str, tmp_path: Path
) -> None:
    text = SIX + f"searcher: {{name: {searcher}, trials: 20}}\n"
    space = space_of(tmp_path, text)
    ledger = Ledger(tmp_path / "ledger.journal", space)
    assert [_complete(ledger) for _ in range(6)] == [0, 1, 2, 3, 4, 5]
    assert not ledger.is_searched("default")
    why = (
        "the default scenario: every configuration has been tried, so the search ends after 6 of "
        "20 trials"
    )
    with pytest.raises(SearchExhausted, match=why):
        ledger.propose("default")
    assert ledger.is_searched("default")
    assert len({row.params["loss.name"] + str(row.params["optim.lr"])
                for row in ledger.finished("default")}) == 6  # fmt: skip
    rows = len(_rows(ledger))
    again = Ledger(tmp_path / "ledger.journal", space)
    assert (again.exhausted("default"), again.is_searched("default")) == (why, True)
    with pytest.raises(SearchExhausted):
        again.propose("default")
    assert len(_rows(again)) == rows  # asked again, it costs nothing
    assert again.begun("default") == len(again.finished("default")) == 6


def test_scenarios_are_exhausted_one_by_one(tmp_path: Path) -> None:
    text = SIX + "scenarios: {data.imbalance_ratio: [2, 5]}\nsearcher: {name: random, trials: 7}\n"
    ledger = Ledger(tmp_path / "ledger.journal", space_of(tmp_path, text))
    for _ in range(6):
        _complete(ledger, "imbalance_ratio_2")
    with pytest.raises(SearchExhausted, match=r"data.imbalance_ratio = 2: .* 6 of 7"):
        ledger.propose("imbalance_ratio_2")
    assert _complete(ledger, "imbalance_ratio_5") == 0


def test_repeats_tell_the_sampler_what_is_known_and_leave_no_gap_in_the_numbers(
    tmp_path: Path,
) -> None:
    """A configuration that is queued again is a row of Optuna's, and no trial."""
    text = """\
objective: {metric: val/pgd20_balanced_acc, at_least: {val/clean_acc: 0.9}}
tuned:
  loss.name: {type: categorical, choices: [cross_entropy, focal]}
  loss.gamma: {type: float, low: 0.5, high: 4, when: {loss.name: focal}}
start_from:
  - {loss.name: cross_entropy}
  - {loss.name: cross_entropy}
  - {loss.name: focal, loss.gamma: 2.0}
"""
    space, path = space_of(tmp_path, text), tmp_path / "ledger.journal"
    ledger = Ledger(path, space)
    study = ledger.study("default")
    study.enqueue_trial({"loss.name": "cross_entropy"})  # skip_if_exists kept the second away
    assert _complete(ledger) == 0
    assert ledger.propose("default") == (1, {"loss.name": "focal", "loss.gamma": 2.0})
    number, params = ledger.propose("default")
    assert (number, params["loss.name"]) == (2, "focal")  # the queued repeat is behind it
    repeat = _rows(ledger)[2]
    assert repeat.user_attrs == {"same_as": 0, "state": "repeated"}
    assert (repeat.state, repeat.value) == (TrialState.COMPLETE, 0.5)
    assert repeat.intermediate_values == {2: 0.25}
    assert repeat.constraints == {"val/clean_acc": pytest.approx(0.1)}
    for number in (1, 2):
        ledger.record("default", number, 2, 0.1 * number)
        ledger.note("default", number, fact=number)
        assert ledger.row("default", number).intermediate_values == {2: 0.1 * number}
        ledger.finish("default", number, Outcome("pruned", 2), None)
    for opened in (ledger, Ledger(path, space)):
        assert [row.number for row in opened.finished("default")] == [0, 1, 2]
        assert [row.user_attrs.get("fact") for row in opened.finished("default")] == [None, 1, 2]
        assert opened.begun("default") == 3
        assert opened.row("default", 2).user_attrs["fact"] == 2


def test_a_repeat_of_what_trains_or_failed_has_nothing_to_tell(tmp_path: Path) -> None:
    text = SIX + "searcher: {name: random, trials: 6}\n"
    ledger = Ledger(tmp_path / "ledger.journal", space_of(tmp_path, text))
    number, first = ledger.propose("default")
    ledger.finish("default", number, Outcome("failed", 1, "why"), None)
    _, second = ledger.propose("default")
    for params in (first, second):
        ledger.enqueue("default", params)
    ledger.propose("default")
    repeats = [row for row in _rows(ledger) if row.user_attrs.get("state") == "repeated"]
    assert {row.state for row in repeats} == {TrialState.FAIL}
    assert {row.user_attrs["same_as"] for row in repeats} == {0, 1}


def test_a_row_of_a_driver_that_died_before_it_knew_the_repeat_is_ended(tmp_path: Path) -> None:
    """Once with its parameters written, once without: the only other value is then proposed."""
    text = "tuned: {optim.lr: {type: categorical, choices: [0.1, 0.2]}}\nsearcher: {trials: 9}\n"
    space, path = space_of(tmp_path, text), tmp_path / "ledger.journal"
    ledger = Ledger(path, space)
    _complete(ledger)
    known = ledger.finished("default")[0].params["optim.lr"]
    study = ledger.study("default")
    study.enqueue_trial({"optim.lr": known})
    space.suggest(study.ask())
    study.enqueue_trial({"optim.lr": known})
    study.ask()
    resumed = Ledger(path, space)
    assert resumed.unfinished("default") == []
    assert [row.state.name for row in _rows(resumed)] == ["COMPLETE"] * 3
    assert resumed.propose("default") == (1, {"optim.lr": 0.2 if known == 0.1 else 0.1})
    (mine,) = Ledger(path, space).unfinished("default")
    assert mine.number == 1


def test_a_dead_drivers_trial_is_taken_over_under_its_number(tmp_path: Path) -> None:
    space, path = space_of(tmp_path, RANGE), tmp_path / "ledger.journal"
    ledger = Ledger(path, space)
    _complete(ledger)
    ledger.enqueue("default", ledger.finished("default")[0].params)
    number, params = ledger.propose("default")
    assert (number, len(_rows(ledger))) == (1, 3)
    resumed = Ledger(path, space)
    (row,) = resumed.unfinished("default")
    assert resumed.take_over("default", row) == (1, params)
    resumed.finish("default", 1, Outcome("complete", 4), 0.7)
    assert [row.value for row in resumed.finished("default")] == [0.5, 0.7]


def test_a_grid_of_configurations_that_are_alike_ends_early(tmp_path: Path) -> None:
    """gamma acts with focal alone: 4 combinations, 3 configurations."""
    text = """\
tuned:
  loss.name: {type: categorical, choices: [cross_entropy, focal]}
  loss.gamma: {type: categorical, choices: [1.0, 2.0]}
searcher: {name: grid}
"""
    (tmp_path / "space.yaml").write_text(text)
    from ltat_tune.preflight.load import load_space

    space = load_space(tmp_path / "space.yaml", check_machine=False, allow_inert=True)
    ledger = Ledger(tmp_path / "ledger.journal", space)
    assert [_complete(ledger) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(SearchExhausted, match="3 of 4 trials"):
        ledger.propose("default")


def test_where_a_sampler_repeats_itself_an_untried_configuration_is_drawn(tmp_path: Path) -> None:
    """nsga2 of two parents crosses the same few choices over and over; all 9 are found."""
    text = """\
objective: {metric: val/pgd20_balanced_acc, also: [val/clean_acc]}
tuned:
  loss.name: {type: categorical, choices: [cross_entropy, balanced_softmax, focal]}
  optim.lr: {type: categorical, choices: [0.1, 0.2, 0.3]}
searcher: {name: nsga2, trials: 9, startup_trials: 2}
"""
    ledger = Ledger(tmp_path / "ledger.journal", space_of(tmp_path, text))
    assert [_complete(ledger) for _ in range(9)] == list(range(9))
    found = {tuple(row.params.values()) for row in ledger.finished("default")}
    assert len(found) == 9


def test_growth_is_linear_and_opening_again_takes_no_row_twice(tmp_path: Path) -> None:
    """The journal's bytes for each trial are the same for the first and the last of 60."""
    text = RANGE + "searcher: {name: random, trials: 60}\n"
    space, path = space_of(tmp_path, text), tmp_path / "ledger.journal"
    ledger = Ledger(path, space)
    sizes = []
    for _ in range(3):
        for _ in range(20):
            _complete(ledger)
        sizes.append(path.stat().st_size)
    assert abs((sizes[2] - sizes[1]) - (sizes[1] - sizes[0])) < 0.05 * sizes[0]
    again = Ledger(path, space)
    assert again.begun("default") == len(_rows(again)) == 60


def test_an_infeasible_baseline_is_confirmed_as_the_baseline_alone(tmp_path: Path) -> None:
    text = f"""\
objective: {{metric: val/pgd20_balanced_acc, at_least: {{val/clean_acc: 0.9}}}}
{RANGE}start_from: [{{optim.lr: 0.1}}]
"""
    space = space_of(tmp_path, text)
    ledger = Ledger(tmp_path / "ledger.journal", space)
    for score, clean in ((0.9, 0.5), (0.4, 0.95)):
        number, _ = ledger.propose("default")
        metrics: dict[str, Any] = {"val/clean_acc": clean}
        ledger.finish("default", number, Outcome("complete", 4, metrics=metrics), score)
    chosen = candidates(space, ledger, "default")
    assert [(c.number, c.is_winner, c.is_baseline) for c in chosen] == [
        (1, True, False),
        (0, False, True),
    ]
