"""The leaderboard: whose winner stands where, with which numbers, and what is said of the rest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import norm, t

from ltat_tune.cli import main
from ltat_tune.comparison.leaderboard import find_studies, leaderboard_rows, standings
from ltat_tune.errors import StudyError
from ltat_tune.results.model import read_results
from ltat_tune.storage.folder import StudyFolder
from tests.browser import Visit, accessibility_problems
from tests.made_studies import made_study, scored
from tests.report.looks import edit

METRIC = "test/pgd3_balanced_acc"


def _better(number: int, seed: int) -> float:
    return scored(number, seed) + 0.05


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`best`, better than `made`; `half`, not finished; `smoked`, a smoke run of `best`."""
    folder = tmp_path_factory.mktemp("studies")
    made_study(folder)
    made_study(folder, "best", confirmed=_better)
    smoked = made_study(folder, "smoked", confirmed=_better)
    edit(smoked.results, lambda results: results.update(smoke=True))
    made_study(folder, "half", finished=False)
    return folder


def _rows(out: Path, *words: str) -> list[tuple[str, str]]:
    return [(row.study.name, row.scenario) for row in standings(find_studies(words, out))]


def test_winners_stand_by_problem_best_first_and_smoke_and_unfinished_last(out: Path) -> None:
    easy, hard = "imbalance_ratio_2", "imbalance_ratio_4"
    assert _rows(out) == [
        *[(name, easy) for name in ("best", "made", "smoked")],
        *[(name, hard) for name in ("best", "made", "smoked")],
        ("half", ""),
    ]


def test_numbers_are_those_of_the_results_with_the_interval_over_seeds_and_images(
    out: Path,
) -> None:
    row = standings(find_studies(["made"], out))[0]
    results = read_results(StudyFolder(out / "made"))
    assert results is not None
    winner = results.scenarios[0].winner
    assert winner is not None and row.trial == f"t{winner.number:04d}"
    # of 400 test images a class, each seed answers the first ones right
    reached = [scored(winner.number, seed) / 2 for seed in winner.seeds]
    counts, n = [round(400 * share) for share in reached], len(reached)
    answers = np.arange(400) < np.array(counts)[:, None]  # of one class; all ten are alike
    adds = answers / 4000  # what an image adds to the mean of ten recalls
    by_seed = 10 * adds.sum(axis=1)
    mean = adds.mean(axis=0)
    rest = (adds - adds.mean(axis=1, keepdims=True)) - (mean - mean.mean())
    scale = 400 / 399
    shared = 10 * scale * float((rest**2).sum()) / (n - 1)
    images = 10 * scale * float(((mean - mean.mean()) ** 2).sum()) - shared / n
    moved = shared * max(0.0, 1 - 1.5 / (n - 1))
    seeds = max(0.0, float(by_seed.var(ddof=1)) - moved) / n
    student, normal = t.isf(0.025, n - 1), norm.isf(0.025)
    half = np.sqrt(student**2 * seeds + normal**2 * (images + moved / n))
    score = row.scores[METRIC]
    assert score.mean == pytest.approx(np.mean(reached))
    assert (score.low, score.high) == pytest.approx(
        (by_seed.mean() - half, by_seed.mean() + half), abs=1e-9
    )


def test_a_study_without_results_or_that_cannot_be_read_says_why(
    out: Path, tmp_path: Path
) -> None:
    (half,) = standings(find_studies(["half"], out))
    assert half.notes == ("is not finished",) and "resume half" in half.command
    assert not half.scores
    broken = made_study(tmp_path, "broken")
    broken.results.write_text("{")
    (row,) = standings(find_studies([str(broken.root)], out))
    assert "results.json" in row.notes[0]


def test_words_are_studies_their_folders_or_folders_of_them_and_each_counts_once(
    out: Path,
) -> None:
    every = {name for name, _ in _rows(out)}
    assert every == {name for name, _ in _rows(out, str(out), "made", str(out / "best"))}
    assert len(_rows(out, "made", str(out / "made"))) == 2
    with pytest.raises(StudyError, match="no study nothing.*studies in .*: best, half") as error:
        find_studies(["nothing", "nowhere"], out)
    assert len(str(error.value).splitlines()) == 2  # all of them at once


def test_cost_counts_the_search_and_every_confirmation(out: Path) -> None:
    row = standings(find_studies(["made"], out))[0]
    results = read_results(StudyFolder(out / "made"))
    assert results is not None
    scenario = results.scenarios[0]
    trained = sum(len(one.seeds) for one in scenario.confirmed)
    assert trained > 0
    assert row.epochs == scenario.epochs.trained + trained * scenario.epochs.full


def test_the_command_prints_and_writes_a_page_or_data_alone(out: Path) -> None:
    def call(*words: str) -> str:
        done = CliRunner().invoke(main, ["leaderboard", *words, "--out", str(out)])
        assert done.exit_code == 0, done.stderr
        return done.stdout

    text = call("made", "best")
    assert text.splitlines()[-1] == str(out / "leaderboard.html")
    assert "ltat-tune export best --scenario imbalance_ratio_2 --weights" in text
    page = (out / "leaderboard.html").read_text()
    assert "ltat-tune export best --scenario imbalance_ratio_4" in page
    (out / "leaderboard.html").unlink()
    rows = json.loads(call("--format", "json"))
    assert rows == leaderboard_rows(standings(find_studies([], out)))
    assert rows[0][f"{METRIC}_low"] < rows[0][METRIC] < rows[0][f"{METRIC}_high"]
    assert len({tuple(row) for row in rows}) == 1
    assert not (out / "leaderboard.html").exists()


def test_the_page_needs_no_network_sorts_by_keys_and_nobody_is_shut_out(
    browser: Visit, out: Path, tmp_path: Path
) -> None:
    file = tmp_path / "board.html"
    (out / "made" / "report.html").write_text("<!doctype html>")
    done = CliRunner().invoke(main, ["leaderboard", str(out), "--to", str(file)])
    assert done.exit_code == 0
    page = browser.open(file)
    assert browser.requests == [file.as_uri()] and browser.errors == []
    names = "table[data-sortable] >> nth=0 >> tbody th"
    assert page.locator(names).all_inner_texts() == ["best", "made", "smoked"]
    page.locator("table[data-sortable] thead button").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert page.locator(names).all_inner_texts() == ["smoked", "made", "best"]
    link = page.locator("tbody a", has_text="made").first.get_attribute("href")
    assert link is not None
    assert (tmp_path / link).resolve() == (out / "made" / "report.html").resolve()
    assert file.stat().st_size < 100_000
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(300)
        assert accessibility_problems(page) == []
    page.set_viewport_size({"width": 400, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") == 400
