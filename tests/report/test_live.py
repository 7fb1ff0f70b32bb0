"""What the page shows of a study that runs: its trainings, and what they must reach."""

from __future__ import annotations

from pathlib import Path

from ltat_tune.preflight.load import load_space
from ltat_tune.report.data import Reader
from ltat_tune.report.interactive.trial_cards import trial_cards
from ltat_tune.report.write import sections
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from tests.made_studies import made_study
from tests.report.looks import plots, read, tables, words

_SCENARIO = "imbalance_ratio_2"


def _running(out: Path, reached: float | None = None) -> StudyFolder:
    """Trials 0 to 2 reached 25, 30 and 10 % at epoch 2; the fourth has begun."""
    folder = made_study(
        out, scenarios={"data.imbalance_ratio": [2]}, confirmed=None, finished=False,
        scheduler={"name": "asha", "grace_epochs": 2, "reduction_factor": 3, "rungs": "prefix"},
        searcher={"name": "random", "trials": 9},
        trials={_SCENARIO: [("complete", 0.5), ("complete", 0.6), ("pruned", None)]},
    )  # fmt: skip
    space = load_space(folder.space, check_machine=False, allow_inert=True)
    ledger = Ledger(folder.ledger, space)
    number, _ = ledger.propose(_SCENARIO)
    if reached is not None:
        ledger.record(_SCENARIO, number, 2, reached)
    return folder


def test_a_running_trial_stands_with_the_threshold_of_its_next_rung(tmp_path: Path) -> None:
    folder = _running(tmp_path)
    with folder.locked():
        told = read(folder.root)
    assert next(iter(told)) == "now"
    assert words(told["now"]).splitlines()[0] == (
        "3 of 9 trials ended (2 trained to the end, 1 stopped early); 1 running. The best so far "
        "is t0001 with 60.0 %."
    )
    (table,) = tables(told["now"])
    ((name, epoch, score, threshold, pace, settings),) = table.rows
    # of four, ceil(4 / 3) = 2 go on: it must reach the second best, 25 %
    assert (name, epoch, score, threshold, pace) == (
        "t0003", "0 of 6", "–", "25.0 at epoch 2", "–",
    )  # fmt: skip
    assert "η = " in settings
    assert table.trials == (f"{_SCENARIO}/t0003",)


def test_its_curve_is_drawn_against_the_best_and_the_thresholds(tmp_path: Path) -> None:
    folder = _running(tmp_path, reached=0.28)
    with folder.locked():
        told = read(folder.root)
    (drawn,) = plots(told["now"])
    traces = {trace.name: trace for trace in drawn.figure.data}
    assert list(traces["t0003"].x) == [2] and list(traces["t0003"].y) == [28.0]
    assert list(traces["best so far, t0001"].y) == [30.0]
    assert list(traces["threshold of a rung"].y[:2]) == [25.0, 25.0]


def test_a_study_that_does_not_run_has_no_such_section(tmp_path: Path) -> None:
    assert "now" not in read(_running(tmp_path).root)


def test_cards_hold_what_a_trial_left_with_links_from_where_the_page_lies(tmp_path: Path) -> None:
    folder = _running(tmp_path)
    data = Reader(folder).read()
    assert sections(data)[0].key == "verdict"
    cards = trial_cards(data, tmp_path / "pages" / "x.html")
    stopped = cards["trials"][f"{_SCENARIO}/t0002"]
    assert stopped["why"] == "not among the best"
    assert stopped["facts"]["how it ended"] == "stopped early"
    assert stopped["curves"] == [{"name": "", "epochs": [2], "scores": [10.0], "texts": ["10.0"]}]
    # without its own 10 %, it would be the third of three, of which one goes on
    assert stopped["thresholds"] == [[2, 30.0]]
    links = {file["path"]: file["link"] for file in stopped["files"]}
    place = f"trials/{_SCENARIO}/t0002"
    assert links[f"{place}/config.yaml"] == f"../made/{place}/config.yaml"
    assert links[f"{place}/checkpoint.pt"] == ""  # nothing that a browser shows
    assert stopped["command"] == f"ltat-tune show made/{_SCENARIO}/t0002 --out {tmp_path}"
