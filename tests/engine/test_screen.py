"""What the terminal shows of a study, at two sizes: everything that fits, and no cut word."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ltat_tune.engine import task_factory
from ltat_tune.engine.observers.live_view import LiveView
from ltat_tune.engine.observers.screen import (
    RunningTask,
    ScenarioProgress,
    ScreenState,
    changed_params,
    draw_screen,
)
from ltat_tune.engine.observers.time_left import TimeLeft
from ltat_tune.planning.looks import LookCost
from ltat_tune.results.selection import Candidate
from ltat_tune.search.stopping_rules import RungStanding
from ltat_tune.space.reader import read_space
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.task import Outcome, Task
from tests.drive import MINI, write_space

SIZES = ((80, 24), (200, 50))


def space_of(folder: Path, **changes: Any) -> Space:
    return read_space(write_space(folder, **changes))


def trial(space: Space, number: int, lr: float, scenario: str = "imbalance_ratio_2") -> Task:
    params = {"optim.lr": lr, "loss.name": "cross_entropy"}
    return task_factory.trial_task(
        space, StudyFolder(Path("s")), scenario, number, params, device="cpu"
    )


def look(space: Space, seed: int = 1) -> Task:
    candidate = Candidate(
        0, {"optim.lr": 0.1, "loss.name": "cross_entropy"}, is_baseline=True, is_winner=True
    )
    training = task_factory.confirmation_task(
        space, StudyFolder(Path("s")), "imbalance_ratio_2", candidate, seed, device="cpu"
    )
    return task_factory.test_of(training, space)


def shown(state: ScreenState, width: int, height: int, *, printed: int = 0) -> list[str]:
    """The screen of a size, on paper of another width."""
    console = Console(file=io.StringIO(), width=printed or width, height=height)
    console.print(draw_screen(state, width, height))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def busy(space: Space) -> ScreenState:
    """Eight trials run, a test among them; one scenario has a best trial and rungs."""
    progress = {s.name: ScenarioProgress() for s in space.scenarios}
    first = progress["imbalance_ratio_2"]
    first.states.update(complete=3, pruned=2, failed=1)
    first.epochs, first.best, first.best_trial = 17, 0.4567, "t0002"
    first.best_params = {"optim.lr": 0.3}
    running = {}
    for number in range(7):
        one = RunningTask(trial(space, number, 0.05 + number / 100), began=float(number))
        one.epoch, one.score, one.seconds, one.epochs = number, 0.3, 2.5 * number, number
        running[one.task.key] = one
    test = RunningTask(look(space), began=9.0, look="pgd3 200 of 1000 images")
    running[test.task.key] = test
    rungs = {"imbalance_ratio_2": [RungStanding(2, 4, 0.312), RungStanding(4, 1, None)]}
    left = {"search": 100.0, "confirmations": 65.0, "tests": 3700.0}
    return ScreenState(space, progress, running, rungs, left, {test.task.key: 75.0}, 61.0, "")


def test_a_large_terminal_shows_each_running_trial_the_best_and_the_rungs(tmp_path: Path) -> None:
    text = "\n".join(shown(busy(space_of(tmp_path)), 200, 50))
    assert "imbalance_ratio_2/t0003  trains" in text
    assert "3/6      30.0      2.5  lr 0.08" in text  # epoch of all, score, 7.5 s over 3 epochs
    assert "imbalance_ratio_2: best so far 45.7 % (t0002): lr 0.3" in text
    assert "rungs: epoch 2: 4 trials, below 31.2 % stops; epoch 4: 1 trial" in text
    assert "seed 1 is tested: pgd3 200 of 1000 images, about 1:15 left" in text
    assert "1:01 elapsed, about 1:04:25 left: search 1:40, confirmations 1:05, tests 1:01:40" \
        in text  # fmt: skip


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("ratios", [[2, 4], list(range(2, 42))], ids=["2", "40 scenarios"])
def test_no_word_is_cut_and_no_line_is_lost_below(
    tmp_path: Path, width: int, height: int, ratios: list[int]
) -> None:
    space = space_of(tmp_path, scenarios={"data.imbalance_ratio": ratios})
    state = busy(space)
    lines = shown(state, width, height)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    whole = " ".join(shown(state, width, height, printed=2000)).split()
    assert " ".join(lines).split() == whole or width == 200  # whose tables fold a column
    assert set(" ".join(lines).split()) == set(whole)
    assert not any("…" in line for line in lines)
    assert any(line.startswith("1:01 elapsed") for line in lines)


def test_parameters_that_are_the_baselines_are_not_repeated(tmp_path: Path) -> None:
    space = space_of(tmp_path)  # whose baseline has lr 0.1 and cross_entropy
    assert changed_params(space, trial(space, 3, 0.2).config) == {"optim.lr": 0.2}
    assert changed_params(space, trial(space, 0, 0.1).config) == {}
    space = space_of(tmp_path, start_from=[])
    assert set(changed_params(space, trial(space, 0, 0.1).config)) == {"optim.lr", "loss.name"}


def timed(space: Space, *, test_passes: float = 0.0) -> TimeLeft:
    """Nothing is done but 10 epochs of 2 s; an epoch has 100 passes, a sentinel none."""
    left = TimeLeft(space)
    cost = LookCost({"clean": test_passes / 4, "pgd3": 3 * test_passes / 4}, 0.0, 100.0)
    left._costs = {scenario.name: cost for scenario in space.scenarios}
    for number in range(2):
        for _ in range(5):
            left.epoch(trial(space, number, 0.1), 2.0)
        left.end(trial(space, number, 0.1), Outcome("complete", 5))
    return left


def test_the_time_left_counts_the_search_confirmations_and_tests(tmp_path: Path) -> None:
    # 2 of 4 trials took 5 epochs each: 10 epochs are left, 20 s. The baseline and the winner have
    # 2 seeds: 4 trainings of 6 epochs are 48 s. A test has the passes of 3 epochs: 4 are 24 s.
    space = space_of(tmp_path, scenarios={"data.imbalance_ratio": [2]})
    left = timed(space, test_passes=300.0)
    assert left.parts(1) == pytest.approx({"search": 20.0, "confirmations": 48.0, "tests": 24.0})
    assert left.parts(2) == pytest.approx({"search": 10.0, "confirmations": 24.0, "tests": 12.0})


def test_tests_that_ran_say_how_long_the_others_take(tmp_path: Path) -> None:
    space = space_of(tmp_path, scenarios={"data.imbalance_ratio": [2]})
    left = timed(space, test_passes=300.0)
    left.end(look(space, 1), Outcome("complete", 6, "", {}, 30.0))
    assert left.parts(1)["tests"] == pytest.approx(3 * 30.0)


def test_what_earlier_starts_did_is_not_counted_again(tmp_path: Path) -> None:
    space = space_of(tmp_path, scenarios={"data.imbalance_ratio": [2]})
    left = timed(space, test_passes=300.0)
    for _ in range(3):
        left.restore("imbalance_ratio_2", "confirmation")
    left.restore("imbalance_ratio_2", "test")
    # the search is over; one training of 6 epochs and 3 tests of 6 s are left
    assert left.parts(1) == pytest.approx({"search": 0.0, "confirmations": 12.0, "tests": 18.0})


def test_the_share_of_a_test_that_is_done_tells_what_is_left_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("ltat_tune.engine.observers.time_left.time.monotonic", lambda: now[0])
    space = space_of(tmp_path, scenarios={"data.imbalance_ratio": [2]})
    left, task = timed(space, test_passes=400.0), look(space)
    left.start(task)
    assert left.left_of(task) == pytest.approx(8.0)  # 4 epochs of 2 s, by the rule of thumb
    now[0] = 6.0
    left.look(task, "pgd3", 250, 1000)  # clean has a quarter of the work, pgd3 the rest
    # 0.25 + 0.75 * 0.25 = 0.4375 is done in 6 s
    assert left.left_of(task) == pytest.approx(6 * 0.5625 / 0.4375)


def test_parts_count_as_their_share_of_a_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("ltat_tune.engine.observers.time_left.time.monotonic", lambda: now[0])
    space = space_of(
        tmp_path, scenarios={"data.imbalance_ratio": [2]}, start_from=[],
        confirm={**MINI["confirm"], "seeds": [1]},
    )  # fmt: skip
    left, test = timed(space, test_passes=4000.0), look(space)  # 40 epochs of 2 s
    cost = LookCost({"clean": 1000.0, "pgd3": 3000.0}, 0.0, 100.0, {"clean": 4, "pgd3": 4})
    left._costs = {"imbalance_ratio_2": cost}
    left.restore("imbalance_ratio_2", "confirmation")
    parts = task_factory.part_tasks([test], space, slots=2)
    assert parts == []  # the rule of thumb for digits: one batch of each attack
    parts = [replace(test, key=f"{test.key}/part-{n}", kind="part", part=n, parts=2,
                     start_from=test.folder, folder=f"{test.folder}/{n}")
             for n in (1, 2)]  # fmt: skip
    assert left.parts(1)["tests"] == pytest.approx(80.0)
    assert left.parts(2)["tests"] == pytest.approx(40.0)  # both slots share it
    for part in parts:
        left.start(part)
    assert left.left_of(parts[0]) == pytest.approx(40.0)
    now[0] = 5.0
    left.look(parts[0], "pgd3", 100, 300)  # clean and a third of pgd3: half of its part
    assert left.left_of(parts[0]) == pytest.approx(5.0)
    assert left.parts(2)["tests"] == pytest.approx(30.0)  # a quarter of the test is done
    left.end(parts[0], Outcome("complete", 0, seconds=50.0))
    assert left.parts(2)["tests"] == pytest.approx(20.0)
    left.end(parts[1], Outcome("complete", 0, seconds=50.0))
    assert left.parts(2)["tests"] == pytest.approx(0.0)
    left.start(test)
    assert left.left_of(test) == pytest.approx(0.0)
    left.end(test, Outcome("complete", 6, "", {}, 2.0, lent_s=90.0))
    left.restore("imbalance_ratio_2", "confirmation")
    assert left._usual_s("imbalance_ratio_2", "test", 2.0) == 92.0
    line = shown_of(space, RunningTask(parts[0], 0.0, look="pgd3 100 of 300 images"))
    assert "seed 1 is tested, part 1 of 2: pgd3 100 of 300 images" in line


def shown_of(space: Space, running: RunningTask) -> str:
    """The screen on which one task runs, as one line."""
    state = ScreenState(
        space=space, progress={"imbalance_ratio_2": ScenarioProgress()},
        running={running.task.key: running}, rungs={}, left={}, looks={}, elapsed=1.0, phase="",
    )  # fmt: skip
    return " ".join(" ".join(shown(state, 200, 50)).split())


def test_events_stay_above_the_live_screen(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    console = Console(
        file=io.StringIO(), force_terminal=True, width=80, height=24, color_system=None
    )
    with LiveView(space, console, quiet=False, slots=2) as view:
        task = trial(space, 0, 0.1)
        view.on_start(task)
        view.on_end(task, Outcome("complete", 6, "", {MINI["objective"]["metric"]: 0.5}))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "imbalance_ratio_2/t0000 started: loss cross_entropy, lr 0.1" in text
    assert "✓ imbalance_ratio_2/t0000 complete: 50.0 %" in text
    assert text.endswith("\x1b[2K") or "\x1b[1A\x1b[2K" in text[-40:]  # the screen is wiped
