"""What the report says, held against the study's own files."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ltat_tune.cli import main
from ltat_tune.evaluation.sentinel import SentinelReport
from ltat_tune.evaluation.sentinel_checks import Check
from ltat_tune.preflight.load import load_space
from ltat_tune.report.blocks import PageSection
from ltat_tune.report.data import Reader
from ltat_tune.report.write import sections, write_report
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome
from tests.report.looks import copy_of, edit, plots, read, tables, visible, words, written

METRIC = "val/pgd3_balanced_acc"
Told = dict[str, PageSection]


@pytest.fixture(scope="module")
def told(reported: Path) -> Told:
    """The report of the study as it is."""
    return read(reported)


@pytest.fixture(scope="module")
def results(reported: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((reported / "results.json").read_text())
    return found


def _shown(values: list[float]) -> str:
    percent = [100 * value for value in values]
    return f"{statistics.mean(percent):.1f} ± {statistics.stdev(percent):.1f}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


def test_the_verdict_comes_first_and_names_winner_baseline_and_what_was_saved(
    told: Told, results: dict[str, Any]
) -> None:
    first = next(iter(told.values()))
    assert first.key == "verdict"
    sentences = words(first).splitlines()
    for sentence, scenario in zip(sentences, results["scenarios"], strict=False):
        confirmed = {c["recipe"]: c for c in scenario["confirmed"]}
        won, base = confirmed[scenario["winner"]], confirmed[scenario["baseline"]]
        ratio = scenario["values"]["data.imbalance_ratio"]
        assert sentence.startswith(f"On imbalance ratio {ratio:g}, ")
        assert f"η = {won['params']['optim.lr']:.3g}" in sentence
        tested = METRIC.replace("val/", "test/")
        shown = f"{_shown(won['test'][tested])} % balanced accuracy under PGD-3 on the test images"
        assert f"has {shown}, the baseline, PGD-AT (CE), " in sentence
        assert f" {_shown(base['test'][tested])} %; it " in sentence
        lead = scenario["leads"]["baseline"]
        ends = f"95 % interval {100 * lead['low']:+.1f} to {100 * lead['high']:+.1f}, p"
        assert f" the baseline by {100 * abs(lead['gain']):.1f} points" in sentence
        assert f"{ends} {_p(lead['p'])}" in sentence
        epochs = scenario["epochs"]
        assert f"{100 * epochs['saved'] / epochs['planned']:.0f} % of epochs saved" in sentence


def test_every_chapter_is_there_in_its_order(told: Told) -> None:
    assert list(told) == [
        "verdict", "winners", "race", "importance", "search", "curves", "trade-off", "classes",
        "masking", "confirmations", "failures", "costs", "protocol", "reproduce", "trials",
    ]  # fmt: skip


def test_winners_stand_beside_the_baseline_with_their_test_scores(
    told: Told, results: dict[str, Any]
) -> None:
    scores = tables(told["winners"])[0]
    for scenario in results["scenarios"]:
        won = next(c for c in scenario["confirmed"] if c["recipe"] == scenario["winner"])
        ratio = f" {scenario['values']['data.imbalance_ratio']:g}"
        name = f"winner t{won['number']:04d}"
        row = next(r for r in scores.rows if r[1] == name and r[0].endswith(ratio))
        assert row[3:] == (
            _shown(won["val"][METRIC]), _shown(won["test"]["test/clean_acc"]),
            _shown(won["test"]["test/pgd3_acc"]), "2",
        )  # fmt: skip


def test_the_best_on_average_is_one_that_every_scenario_tried(told: Told) -> None:
    average = tables(told["winners"])[-1]
    assert average.head[2] == "mean rank"
    assert sorted(float(row[2]) for row in average.rows) == [float(r[2]) for r in average.rows]
    assert len(average.rows) == 2  # start_from alone is tried in both


def test_importance_has_intervals_and_says_what_it_is_computed_from(told: Told) -> None:
    section = told["importance"]
    assert "8 trials at epoch 2" in words(section)
    table = tables(section)[0]
    assert {row[0] for row in table.rows} == {
        "optim.lr (η)", "optim.weight_decay", "method.name", "method.separation_weight (λ)",
    }  # fmt: skip
    conditional = next(row for row in table.rows if row[0].startswith("method.separation"))
    assert conditional[1] == "–"  # fANOVA cannot: some trials have no λ
    shares = [float(row[1].split()[0]) for row in table.rows if row[1] != "–"]
    assert sum(shares) == pytest.approx(100, abs=2)
    clear = {row[0] for row in table.rows if row[5] == "yes"}
    assert clear == {row[0] for row in table.rows if float(row[4].lstrip("< ")) <= 0.05}


def test_every_trial_is_in_the_table_and_has_its_curve(told: Told) -> None:
    found = told
    for table in tables(found["trials"]):
        assert len(table.rows) == 8
    curves = plots(found["curves"])[0].figure
    stopped = [row for row in tables(found["curves"])[0].rows if row[1] == "stopped early"]
    assert sum(len(trace.x) for trace in curves.data if trace.mode == "markers") == len(stopped)
    assert [row for row in stopped if "below the threshold of" not in row[4]] == []
    ends = [max(trace.x) for trace in curves.data if trace.mode != "markers"]
    assert sorted(set(ends)) == [2, 6]  # stopped at the rung, or trained to the end


def test_the_front_is_over_both_objectives(told: Told, results: dict[str, Any]) -> None:
    section = told["trade-off"]
    for table, scenario in zip(tables(section), results["scenarios"], strict=True):
        front = {row[0] for row in table.rows if row[3] == "yes"}
        assert front == {f"t{number:04d}" for number in scenario["front"]}


def test_data_and_protocol_are_told(told: Told, results: dict[str, Any]) -> None:
    (table,) = [t for t in tables(told["protocol"]) if t.caption.startswith("Data")]
    facts = {row[0]: row[1:] for row in table.rows}
    first = results["scenarios"][0]["confirmed"][0]
    assert facts["subset hash"][0] == first["subset_hash"]
    assert facts["training images"][0] == str(sum(first["samples_per_class"]))
    assert list(facts["imbalance ratio"]) == ["2", "4"]  # 20 images to 10 and to 5
    assert facts["training attack"][0].startswith("PGD-3, L∞, eps 0.1, step 0.05")
    assert facts["validation images"][0].startswith("10 of each class, held out of the training")
    assert facts["test images"][0] == "clean on 400, PGD-3 on 400"


def test_it_says_how_to_get_the_same_again(reported: Path, told: Told) -> None:
    section = told["reproduce"]
    assert f"ltat-tune train {reported}/best/best-imbalance_ratio_2.yaml" in words(section)
    facts = json.loads((reported / "study.json").read_text())
    rows = {row[0]: row[1] for row in tables(section)[0].rows}
    assert rows["optuna"] == facts["versions"]["optuna"]
    assert rows["machine"] == facts["machine"]


def test_a_study_without_results_says_so_and_shows_what_is_there(
    reported: Path, tmp_path: Path
) -> None:
    study = copy_of(reported, tmp_path)
    (study / "results.json").unlink()
    for folder in (study / "confirmations").glob("*/*"):
        (folder / "result.json").unlink()
    found = read(study)
    assert "the best trial is t" in words(found["verdict"])
    assert "not confirmed yet" in words(found["verdict"])
    page = visible(written(study, tmp_path / "page.html"))
    assert "The study is not finished. To finish it: ltat-tune resume reported" in page
    assert "none was trained to its end yet" in words(found["confirmations"])


def test_a_running_study_is_read_while_its_driver_holds_it(reported: Path, tmp_path: Path) -> None:
    study = copy_of(reported, tmp_path)
    with StudyFolder(study).locked():
        data = Reader(StudyFolder.open(study)).read()
    assert data.state == "running"
    assert Reader(StudyFolder.open(study)).read().state == "finished"


def test_a_study_of_which_nothing_has_begun_has_a_report(reported: Path, tmp_path: Path) -> None:
    study = copy_of(reported, tmp_path)
    for name in ("ledger.journal", "results.json"):
        (study / name).unlink()
    text = visible(written(study, tmp_path / "page.html"))
    assert "nothing has been trained yet" in text
    assert "No trial has been judged yet." in text


def test_smoke_and_selected_on_test_are_loud(reported: Path, tmp_path: Path) -> None:
    study = copy_of(reported, tmp_path)
    edit(study / "study.json", lambda facts: facts.update(smoke="made small"))
    edit(study / "results.json", lambda r: r.update(smoke=True, selected_on_test=True))
    text = visible(written(study, tmp_path / "page.html"))
    assert "Warning. Smoke run: it only shows that the space file runs. Its numbers mean" in text
    assert "Warning. selected_on_test: the validation images are the test images" in text
    assert "is best" not in text


def test_what_was_chosen_on_the_test_images_says_so_in_every_verdict(
    reported: Path, tmp_path: Path
) -> None:
    study = copy_of(reported, tmp_path)
    edit(study / "results.json", lambda r: r.update(selected_on_test=True))
    sentences = words(read(study)["verdict"]).splitlines()
    assert all("selected_on_test" in sentence for sentence in sentences[:2])


def test_failures_are_grouped_by_cause(reported: Path, told: Told, tmp_path: Path) -> None:
    study = copy_of(reported, tmp_path)
    space = load_space(study / "space.yaml", check_machine=False,
                       overrides=["searcher.trials=11"])  # fmt: skip
    ledger = Ledger(study / "ledger.journal", space)
    for number, state in enumerate(("failed", "failed", "diverged")):
        trial, _ = ledger.propose("imbalance_ratio_2")
        reason = f"Traceback {number}\nRuntimeError: no such layer" if state == "failed" else (
            "the loss was not finite in epoch 2")  # fmt: skip
        ledger.finish("imbalance_ratio_2", trial, Outcome(state, 1, reason), None)  # type: ignore[arg-type]
    (study / "results.json").unlink()
    (table,) = tables(read(study)["failures"])
    assert [row[1:] for row in table.rows] == [
        ("failed", "2", "RuntimeError: no such layer", "t0008, t0009"),
        ("diverged", "1", "the loss was not finite in epoch 2", "t0010"),
    ]
    assert words(told["failures"]) == "No trial failed or diverged."


def test_masking_is_told_in_the_verdict_and_check_by_check(
    reported: Path, told: Told, results: dict[str, Any], tmp_path: Path
) -> None:
    study = copy_of(reported, tmp_path)
    scenario = results["scenarios"][0]
    check = Check("black_box", "Square against PGD-20", {"square": 20.0}, 0.05, "standing", True,
                  "serious", "Square breaks 31 images that PGD-20 leaves standing.")  # fmt: skip
    report = SentinelReport("masked", 100, 50, 0.1, "linf", 0, 1000, (check,))
    folder = StudyFolder(study).confirmation(scenario["name"], scenario["winner"], 1)
    (folder / "sentinel.json").write_text(json.dumps(report.to_json()))
    found = read(study)
    first = words(found["verdict"]).splitlines()[0]
    assert "gradient masking: masked: Square breaks 31 images that PGD-20 leaves standing" in first
    assert tables(found["masking"])[0].rows[0][:3] == (
        "Square against PGD-20", "sign of masking", "serious",
    )  # fmt: skip
    assert "Not checked, because the study did not request it." in words(told["masking"])


def test_what_users_write_cannot_become_markup(reported: Path, tmp_path: Path) -> None:
    study = copy_of(reported, tmp_path)
    evil = "</script><script>throw 1</script><img src=x onerror=throw>"
    edit(study / "study.json", lambda facts: facts.update(machine=evil, space_file=evil))
    space = load_space(study / "space.yaml", check_machine=False,
                       overrides=["searcher.trials=9"])  # fmt: skip
    ledger = Ledger(study / "ledger.journal", space)
    trial, _ = ledger.propose("imbalance_ratio_2")
    ledger.finish("imbalance_ratio_2", trial, Outcome("failed", 1, evil), None)
    (study / "space.yaml").write_text(f"# {evil}\n" + (study / "space.yaml").read_text())
    page = written(study, tmp_path / "page.html")
    assert evil not in page
    assert "<img" not in page
    assert "&lt;img src=x onerror=throw&gt;" in page


def test_the_file_is_small_whole_and_written_in_one_go(reported: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    text = written(reported, target)
    assert len(text.encode()) < 5_000_000
    assert text.endswith("</html>\n") or text.endswith("</html>")
    assert 'http-equiv="refresh"' not in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html"]


def test_what_did_not_change_is_not_computed_again(
    reported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(StudyFolder.open(reported))
    first = [scene.importances for scene in reader.read().scenes]
    monkeypatch.setattr("ltat_tune.report.data.importances", None)  # to call it would fail
    monkeypatch.setattr("ltat_tune.training.checkpoint.read_history", None)
    assert [scene.importances for scene in reader.read().scenes] == first


def test_the_command_writes_beside_the_study_or_where_it_is_told(
    reported: Path, tmp_path: Path
) -> None:
    study = copy_of(reported, tmp_path / "studies")
    done = CliRunner().invoke(main, ["report", "reported", "--out", str(study.parent)])
    assert (done.exit_code, done.stdout) == (0, f"{study / 'report.html'}\n")
    target = tmp_path / "elsewhere" / "x.html"
    again = CliRunner().invoke(main, ["report", str(study), "--to", str(target)])
    assert again.stdout == f"{target}\n"
    assert target.read_text().startswith("<!doctype html>")


def test_watching_ends_with_the_study_and_leaves_a_file_that_stays(
    reported: Path, tmp_path: Path
) -> None:
    study, target = copy_of(reported, tmp_path / "studies"), tmp_path / "x.html"
    data = write_report(Reader(StudyFolder.open(study)), target, refresh_s=7)
    assert 'http-equiv="refresh" content="7"' in target.read_text()
    assert sections(data)[0].key == "verdict"
    done = CliRunner().invoke(main, ["report", str(study), "--to", str(target), "--every", "1"])
    assert done.exit_code == 0
    assert 'http-equiv="refresh"' not in target.read_text()


def test_where_it_cannot_write_it_says_so(reported: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = CliRunner().invoke(main, ["report", str(reported), "--to", str(blocked / "x.html")])
    assert done.exit_code != 0
    message = str(done.exception) + done.stderr
    assert f"cannot write the report to {blocked / 'x.html'}" in message
    assert "choose another file with --to" in message


def test_the_race_says_what_each_choice_was_given(told: Told) -> None:
    shown = tables(told["race"])
    assert [row[0] for row in shown[0].rows[:2]] == ["method.name pgd_at", "method.name srat"]
    assert all(row[1].isdigit() and row[3].isdigit() for one in shown for row in one.rows)
