"""`warm_start`: what is taken of an earlier study, what is left out, and that it is said."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from ltat_tune.engine.study import StudyRun
from ltat_tune.errors import SpaceError
from ltat_tune.preflight.load import load_space
from ltat_tune.preflight.warm_start import narrow
from ltat_tune.results.collect import collect
from ltat_tune.results.model import ConfirmedResult, write_results
from ltat_tune.space.domains import Domain
from ltat_tune.space.reader import read_space
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome
from ltat_tune.storage.trials import LedgerView

METRIC = "val/pgd20_balanced_acc"
TUNED = {
    "method.name": {"type": "categorical", "choices": ["pgd_at", "srat"]},
    "optim.lr": {"type": "float", "low": 0.01, "high": 0.3, "log": True},
    "method.temperature": {
        "type": "float", "low": 0.05, "high": 1.0, "when": {"method.name": "srat"},
    },
}  # fmt: skip


def _srat(lr: float, temperature: float = 0.1) -> dict[str, Any]:
    return {"method.name": "srat", "optim.lr": lr, "method.temperature": temperature}


def _pgd(lr: float) -> dict[str, Any]:
    return {"method.name": "pgd_at", "optim.lr": lr}


def _document(**parts: Any) -> dict[str, Any]:
    return {
        "name": "earlier",
        "fixed": {"optim.lr_schedule": "cosine", "data.val_per_class": 9},
        "scenarios": {"data.imbalance_ratio": [2, 5]},
        "tuned": TUNED,
        "searcher": {"trials": 12},
        **parts,
    }


def _load(path: Path, document: dict[str, Any]) -> Space:
    path.write_text(yaml.safe_dump(document))
    return load_space(path, check_machine=False)


def _run(
    folder: Path, trials: dict[str, list[tuple[dict[str, Any], float]]], **parts: Any
) -> Path:
    """A study in which these configurations, by scenario, ended with these scores."""
    space = _load(folder / "earlier.yaml", _document(**parts))
    study = StudyRun.create(space, folder, source="earlier.yaml")
    ledger = Ledger(study.folder.ledger, space)
    for scenario, ended in trials.items():
        for params, score in ended:
            ledger.enqueue(scenario, params)
            number, _ = ledger.propose(scenario)
            ledger.finish(scenario, number, Outcome("complete", 4), score)
    return study.folder.root


def _confirm(root: Path, scenario: str, scores: dict[int, list[float]]) -> None:
    """What the results of a study say of these trials, confirmed."""
    folder = StudyFolder(root)
    space = read_space(folder.space)
    results = collect(space, folder, LedgerView(folder))
    confirmed = [
        ConfirmedResult(
            recipe=f"{number:08x}", number=number, search_score=None, is_winner=True,
            is_baseline=False, params={}, seeds=list(range(len(values))), val={METRIC: values},
            test={},
        )
        for number, values in scores.items()
    ]  # fmt: skip
    scenarios = [
        one.model_copy(update={"confirmed": confirmed}) if one.name == scenario else one
        for one in results.scenarios
    ]
    write_results(folder, results.model_copy(update={"scenarios": scenarios}))


def _later(folder: Path, root: Path | str, **parts: Any) -> Space:
    """A study that lends from the one in `root`."""
    warm = {"study": str(root), **parts.pop("warm_start", {})}
    return _load(folder / "later.yaml", _document(name="later", warm_start=warm, **parts))


def _refused(folder: Path, root: Path | str, **parts: Any) -> str:
    with pytest.raises(SpaceError) as caught:
        _later(folder, root, **parts)
    (problem,) = caught.value.problems
    return problem.partition(": ")[2]


def _said(space: Space) -> list[str]:
    said = [n.removeprefix("warm start") for n in space.notes if n.startswith("warm start")]
    return [line for line in said if "predict learns from" not in line]


# -- points -------------------------------------------------------------------------------------


def test_confirmed_winners_come_first_then_the_best_complete_trials(tmp_path: Path) -> None:
    """t0001 scored highest in the search, t0000 was confirmed better than t0002."""
    trials = [(_pgd(0.1), 0.5), (_pgd(0.2), 0.6), (_srat(0.1), 0.55), (_srat(0.2), 0.4)]
    root = _run(tmp_path, {"imbalance_ratio_2": trials})
    _confirm(root, "imbalance_ratio_2", {2: [0.40, 0.42], 0: [0.50, 0.52]})
    space = _later(tmp_path, root, scenarios={"data.imbalance_ratio": [2]})
    assert space.warm_starts["imbalance_ratio_2"] == (_pgd(0.1), _srat(0.1), _pgd(0.2))
    assert _said(space) == [
        " of data.imbalance_ratio = 2: took t0000 (confirmed), t0002 (confirmed), t0001 of "
        "earlier (its scenario data.imbalance_ratio = 2)"
    ]


def test_another_ratio_gets_what_was_best_on_average_over_the_earlier_ones(
    tmp_path: Path,
) -> None:
    """Ranks from 0, best, to 1: 0.1 has 1/3 twice, 0.2 and 0.05 have 0 and 1."""
    trials = {
        "imbalance_ratio_2": [
            (_pgd(0.1), 0.5), (_pgd(0.2), 0.6), (_pgd(0.05), 0.1), (_pgd(0.02), 0.4),
        ],
        "imbalance_ratio_5": [
            (_pgd(0.1), 0.5), (_pgd(0.2), 0.1), (_pgd(0.05), 0.6), (_pgd(0.03), 0.2),
        ],
    }  # fmt: skip
    root = _run(tmp_path, trials)
    parts = {"scenarios": {"data.imbalance_ratio": [2, 10]}, "warm_start": {"best": 1}}
    space = _later(tmp_path, root, **parts)
    assert space.warm_starts["imbalance_ratio_2"] == (_pgd(0.2),)
    assert "on average over its 2 scenarios" in _said(space)[1]
    assert space.warm_starts["imbalance_ratio_10"] == (_pgd(0.1),)


def test_another_data_set_may_lend_and_each_scenario_tries_its_own_points(
    tmp_path: Path,
) -> None:
    trials = {
        "imbalance_ratio_2": [(_pgd(0.1), 0.5)],
        "imbalance_ratio_5": [(_srat(0.2), 0.5)],
    }
    root = _run(tmp_path, trials)
    fixed = {"data.name": "cifar10", "optim.lr_schedule": "cosine"}
    start = {"method.name": "pgd_at", "optim.lr": 0.15}
    space = _later(tmp_path, root, fixed=fixed, start_from=[start])
    ledger = Ledger(tmp_path / "ledger.journal", space)
    for scenario, lent in (("imbalance_ratio_2", _pgd(0.1)), ("imbalance_ratio_5", _srat(0.2))):
        assert [ledger.propose(scenario)[1] for _ in range(2)] == [start, lent]


def test_what_lies_outside_the_domains_is_left_out_with_the_reason(tmp_path: Path) -> None:
    trials = [(_pgd(0.29), 0.9), (_srat(0.1, 0.9), 0.8), (_pgd(0.05), 0.7), (_srat(0.02), 0.6)]
    root = _run(tmp_path, {"imbalance_ratio_2": trials})
    tuned = {
        "optim.lr": {"type": "float", "low": 0.02, "high": 0.2, "log": True},
        "optim.momentum": {"type": "float", "low": 0.8, "high": 0.95},
    }
    parts = {"tuned": tuned, "scenarios": {"data.imbalance_ratio": [2]}}
    fixed = {"method.name": "srat", "optim.lr_schedule": "cosine"}
    space = _later(tmp_path, root, fixed=fixed, **parts)
    # momentum was 0.9 there, the default, and lies in the range here
    points = [{"optim.lr": lr, "optim.momentum": 0.9} for lr in (0.1, 0.02)]
    assert space.warm_starts["imbalance_ratio_2"] == tuple(points)
    assert _said(space) == [
        ": earlier tuned method.name, method.temperature; this study does not",
        " of data.imbalance_ratio = 2: took t0001, t0003 of earlier (its scenario "
        "data.imbalance_ratio = 2); left out t0000: method.name was pgd_at there and is srat "
        "here; t0002: method.name was pgd_at there and is srat here",
    ]
    space = _later(tmp_path, root, warm_start={"best": 9}, scenarios={},
                   tuned={**TUNED, "optim.lr": tuned["optim.lr"]})  # fmt: skip
    assert "left out t0000: optim.lr 0.29 lies outside 0.02 .. 0.2 (log)" in _said(space)[0]


def test_an_infeasible_or_repeated_trial_is_not_lent(tmp_path: Path) -> None:
    document = _document(
        objective={"metric": METRIC, "at_least": {"val/clean_acc": 0.7}}, scenarios={}
    )
    space = _load(tmp_path / "earlier.yaml", document)
    study = StudyRun.create(space, tmp_path, source="earlier.yaml")
    ledger = Ledger(study.folder.ledger, space)
    for params, score, clean in ((_pgd(0.1), 0.9, 0.5), (_pgd(0.2), 0.5, 0.8)):
        ledger.enqueue("default", params)
        ledger.enqueue("default", params)
        number, _ = ledger.propose("default")
        metrics = {"val/clean_acc": clean}
        ledger.finish("default", number, Outcome("complete", 4, metrics=metrics), score)
    later = _later(tmp_path, study.folder.root, scenarios={})
    assert later.warm_starts["default"] == (_pgd(0.2),)
    assert "took t0001 of earlier" in _said(later)[0]


# -- ranges -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "values", "kept", "expected"),
    [
        # 0.1 .. 0.2, a quarter of 0.1 wider
        (Domain("x", "float", 0.0, 1.0), [0.1, 0.15, 0.2], [], (0.075, 0.225)),
        # never beyond the file's range
        (Domain("x", "float", 0.09, 0.21), [0.1, 0.2], [], (0.09, 0.21)),
        # 0.01 .. 0.16 is a factor of 16, a quarter of it a factor of 2
        (Domain("x", "float", 0.001, 1.0, log=True), [0.01, 0.16], [], (0.005, 0.32)),
        # 4 .. 8 with 1 on both sides; whole steps outwards
        (Domain("x", "int", 1, 20), [4, 8], [], (3, 9)),
        (Domain("x", "int", 1, 21, step=5), [6, 11], [], (1, 16)),
        # what start_from names stays inside
        (Domain("x", "float", 0.0, 1.0), [0.1, 0.2], [0.9], (0.075, 0.9)),
        # one value says nothing of a range, and one outside of it does not count
        (Domain("x", "float", 0.0, 1.0), [0.3, 0.3, 4.0], [], (0.0, 1.0)),
    ],
)
def test_a_range_is_the_span_of_the_best_a_quarter_wider_on_both_sides(
    domain: Domain, values: Sequence[float], kept: Sequence[float], expected: tuple[float, float]
) -> None:
    narrowed = narrow(domain, values, kept)
    assert (narrowed.low, narrowed.high) == pytest.approx(expected)


def test_narrowed_ranges_are_proposed_from_and_written_down(tmp_path: Path) -> None:
    """The best quarter of eight is 0.1 and 0.1 e: the logs' span is 1, so e^0.25 on both sides."""
    lrs = [0.1, 0.1 * math.e, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06]
    trials = [(_pgd(round(lr, 9)), 0.9 - 0.1 * i) for i, lr in enumerate(lrs)]
    root = _run(tmp_path, {"imbalance_ratio_2": trials})
    parts = {"scenarios": {"data.imbalance_ratio": [2]}, "warm_start": {"narrow": True, "best": 1}}
    space = _later(tmp_path, root, **parts)
    domain = space.tuned["optim.lr"]
    assert (domain.low, domain.high) == pytest.approx((0.1 / math.e**0.25, 0.3), rel=1e-5)
    assert space.document["tuned"]["optim.lr"]["low"] == domain.low
    assert _said(space)[1:] == [
        ": method.temperature keeps 0.05 .. 1, because 0 trials of the best quarter tuned "
        "it as a number",
        ": optim.lr is searched in 0.0778801 .. 0.3 (log) instead of 0.01 .. 0.3 (log)",
    ]
    ledger = Ledger(tmp_path / "ledger.journal", space)
    assert all(ledger.propose("imbalance_ratio_2")[1]["optim.lr"] >= 0.077 for _ in range(6))


def test_seven_complete_trials_narrow_nothing(tmp_path: Path) -> None:
    trials = [(_pgd(0.02 * (i + 1)), 0.1 * i) for i in range(7)]
    root = _run(tmp_path, {"imbalance_ratio_2": trials})
    parts = {"scenarios": {"data.imbalance_ratio": [2]}, "warm_start": {"narrow": True}}
    space = _later(tmp_path, root, **parts)
    assert space.tuned["optim.lr"].low == 0.01
    assert _said(space)[1:] == [
        ": no range is narrowed, because earlier has 7 complete trials here; that takes at least 8"
    ]


# -- the earlier study is only read, and once ---------------------------------------------------


def test_a_resume_needs_no_earlier_study(tmp_path: Path) -> None:
    root = _run(tmp_path, {"imbalance_ratio_2": [(_pgd(0.1), 0.5)]})
    space = _later(tmp_path, root)
    study = StudyRun.create(space, tmp_path, source="later.yaml")
    shutil.rmtree(root)
    resumed = StudyRun.open(study.folder.root, check_machine=False).space
    assert resumed.warm_starts == space.warm_starts
    assert resumed.tuned == space.tuned
    assert _said(resumed) == [f": 2 configurations were taken from {root}"]


def test_predict_learns_from_what_the_earlier_study_trained_of_the_same_parameters(
    tmp_path: Path,
) -> None:
    ended = [(_pgd(round(0.02 * n, 2)), 0.5 + 0.01 * n) for n in range(1, 9)]
    root = _run(tmp_path, {"imbalance_ratio_2": ended, "imbalance_ratio_5": ended[:2]})
    space = _later(tmp_path, root, warm_start={"best": 1})
    assert "warm start of data.imbalance_ratio = 2: predict learns from 8 trials of earlier" in (
        space.notes
    )
    (problem,) = space.lent["imbalance_ratio_2"]
    learned = sorted(problem, key=lambda one: one[1])
    assert [params for params, _ in learned] == [params for params, _ in ended]
    assert [score for _, score in learned] == pytest.approx([score for _, score in ended])
    assert "imbalance_ratio_5" not in space.lent  # two trials tell nothing
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(dict(space.document)))
    assert (
        load_space(tmp_path / "again.yaml", check_machine=False).lent == space.lent
    )  # a resume needs no earlier study
    for name in ("tpe", "random"):
        other = _later(tmp_path, root, searcher={"name": name, "trials": 12})
        assert other.lent == {} and "learned" not in other.document["warm_start"]


def test_the_earlier_study_is_left_as_it_is_even_with_a_torn_last_line(tmp_path: Path) -> None:
    root = _run(tmp_path, {"imbalance_ratio_2": [(_pgd(0.1), 0.5)]})
    with open(root / "ledger.journal", "ab") as file:
        file.write(b'{"op_code": 5, "tri')
    before = {p: p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
    assert _later(tmp_path, root).warm_starts["imbalance_ratio_2"] == (_pgd(0.1),)
    assert {p: p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()} == before


def test_a_name_alone_is_looked_for_under_studies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studies").mkdir()
    _run(tmp_path / "studies", {"imbalance_ratio_2": [(_pgd(0.1), 0.5)]})
    monkeypatch.chdir(tmp_path)
    assert _later(tmp_path, "earlier").warm_starts["imbalance_ratio_2"] == (_pgd(0.1),)


# -- what is refused ----------------------------------------------------------------------------


def test_what_cannot_be_read_is_refused_plainly(tmp_path: Path) -> None:
    root = _run(tmp_path, {"imbalance_ratio_2": [(_pgd(0.1), 0.5)]})
    absent = _refused(tmp_path, tmp_path / "nowhere")
    assert absent == (
        f"warm_start.study must be the folder of a study: no study in {tmp_path / 'nowhere'}; "
        f"studies in {tmp_path}: earlier"
    )
    journal = root / "ledger.journal"
    journal.write_bytes(b"\x00\xff\n" + journal.read_bytes())
    assert _refused(tmp_path, root).startswith(f"warm_start.study {root} cannot be read (")
    journal.unlink()
    assert (
        _refused(tmp_path, root) == f"warm_start.study {root} has no complete trial to start from"
    )
    assert not journal.exists()
    (root / "space.yaml").write_text("tuned: {}\n")
    assert _refused(tmp_path, root).startswith(
        f"warm_start.study {root} has a space file that is refused now: "
    )


def test_smoke_runs_and_choices_by_test_images_are_not_lent(tmp_path: Path) -> None:
    trials = {"imbalance_ratio_2": [(_pgd(0.1), 0.5)]}
    fixed = {"optim.lr_schedule": "cosine", "data.val_source": "test"}
    root = _run(tmp_path, trials, fixed=fixed)
    assert _refused(tmp_path, root) == (
        f"warm_start.study {root} selected on its test images (data.val_source test), so its "
        "choice would leak them into this search; name a study that validated on data.val_source "
        "train"
    )
    assert _later(tmp_path, root, fixed=fixed).warm_starts["imbalance_ratio_2"] == (_pgd(0.1),)
    facts = json.loads((root / "study.json").read_text())
    (root / "study.json").write_text(json.dumps({**facts, "smoke": "smoke: 2 trials"}))
    problem = f"warm_start.study {root} was a smoke run, whose numbers mean nothing"
    assert _refused(tmp_path, root, fixed=fixed) == problem


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (3, "warm_start must be a mapping such as {study: studies/srat, best: 3}, got 3"),
        ({"best": 2}, "warm_start must name the folder of a study: study: PATH"),
        ({"study": "x", "best": -1}, "warm_start.best must be >= 0, got -1"),
        (
            {"study": "x", "narow": True},
            "unknown key warm_start.narow; warm_start has study, best, narrow, taken, learned",
        ),
        (
            {"study": "x", "taken": {"imbalance_ratio_2": [{"optim.lr": 5}]}},
            "optim.lr must lie in 0.01 .. 0.3 (log), got 5",
        ),
        (
            {"study": "x", "taken": {"ratio_9": []}},
            "warm_start.taken must name scenarios, got ratio_9; choose from: imbalance_ratio_2, "
            "imbalance_ratio_5",
        ),
    ],
)
def test_what_is_written_wrong_is_refused_with_rule_and_value(
    written: Any, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(SpaceError) as caught:
        _load(tmp_path / "later.yaml", _document(warm_start=written))
    assert [p.partition(": ")[2] for p in caught.value.problems] == [problem]


def test_a_grid_has_nothing_to_start_from(tmp_path: Path) -> None:
    tuned = {"optim.lr": {"type": "categorical", "choices": [0.1, 0.2]}}
    problem = _refused(tmp_path, "x", tuned=tuned, searcher={"name": "grid"})
    assert problem == (
        "warm_start gives a search its first points, but searcher.name grid does not search; "
        "write them under start_from, or use tpe"
    )


def test_a_smoke_run_tries_the_file_without_the_earlier_study(tmp_path: Path) -> None:
    root = _run(tmp_path, {"imbalance_ratio_2": [(_pgd(0.1), 0.5)]})
    _later(tmp_path, root)
    space = load_space(tmp_path / "later.yaml", check_machine=False, smoke=True)
    assert (dict(space.warm_starts), "warm_start" in space.document) == ({}, False)
