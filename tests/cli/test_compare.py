"""`ltat-tune compare`: what is put side by side, what is refused, and how it is printed."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ltat_tune.cli import main
from tests.made_studies import METRIC, TRIALS, made_study, repeat_first_row


def _compare(out: Path, *arguments: str) -> Result:
    # the width of a narrow terminal
    runner = CliRunner(env={"COLUMNS": "80"})
    return runner.invoke(main, ["compare", *arguments, "--out", str(out)])


def _json(out: Path, *arguments: str) -> Any:
    done = _compare(out, *arguments, "--format", "json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_one_finished_study_alone_prints_its_summary_and_best_trials(tmp_path: Path) -> None:
    made_study(tmp_path)
    text = _compare(tmp_path, "made").stdout
    assert "data.imbalance_ratio = 2" in text
    assert "accuracy, % (mean ± std over seeds)" in text
    assert f"best complete trials ({METRIC}, one seed)" in text
    assert _json(tmp_path, "made")["study"] == "made"


def test_an_unfinished_study_says_so_and_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    folder = made_study(tmp_path, finished=False, confirmed=None)
    before = {path: path.stat().st_mtime_ns for path in folder.root.rglob("*")}
    done = _compare(tmp_path, "made")
    assert done.exit_code == 0
    assert "best trial t0001: 60.0 %" in done.stdout
    assert (
        "made is not finished, so these results are preliminary; "
        "finish it with `ltat-tune resume made"
    ) in done.stderr
    table = _compare(tmp_path, "made", "--by", "loss").stdout
    assert "note: made is not finished (7 trials so far)" in table
    assert {path: path.stat().st_mtime_ns for path in folder.root.rglob("*")} == before


def test_two_studies_stand_in_one_table_with_error_n_epoch_and_a_named_test(
    tmp_path: Path,
) -> None:
    made_study(tmp_path, "one")
    made_study(tmp_path, "two", confirmed=lambda number, seed: 0.4 + 0.1 * number + 0.02 * seed)
    done = _compare(tmp_path, "one", "two")
    text = done.stdout
    assert max(map(len, text.splitlines())) <= 80
    # seeds 0 and 1 of trial 1: 61 and 63 %, mean 62, standard error 1
    (row,) = [line for line in text.splitlines() if line.startswith("one t0001 winner")][:1]
    assert row.split()[3:] == ["62.0", "±", "1.0", "2", "4/6", "24"]
    assert "paired t-test over 2 seeds (same subset and seed)" in text
    assert "p corrected by Holm's method for 3 comparisons" in text
    blocks = _json(tmp_path, "one", "two")["blocks"]
    assert [entry["study"] for entry in blocks[0]["entries"]] == ["one", "two", "one", "two"]


def test_by_a_parameter_takes_the_best_of_each_value_and_counts_over_problems(
    tmp_path: Path,
) -> None:
    made_study(tmp_path)
    found = _json(tmp_path, "made", "--by", "loss")
    assert found["by"] == ["loss.name"]
    for block in found["blocks"]:
        assert [e["label"] for e in block["entries"]] == ["balanced_softmax", "cross_entropy"]
    first, second = found["overall"]
    assert (first["label"], first["mean_rank"]) == ("balanced_softmax", 1.0)
    assert (second["ahead"], second["p"]) == (2, 0.5)  # 2 / 2^2
    text = _compare(tmp_path, "made", "--by", "loss").stdout
    assert "2 of 2" in text


def test_by_scenario_tests_nothing(tmp_path: Path) -> None:
    made_study(tmp_path)
    (block,) = _json(tmp_path, "made", "--by", "scenario")["blocks"]
    assert len(block["entries"]) == 2
    assert block["against_first"] == []


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("lamda", "--by: unknown parameter lamda; did you mean method.separation_weight (λ)?"),
        ("name", "--by name can mean data.name, model.name"),
    ],
)
def test_an_unknown_word_is_refused_with_what_was_meant(
    tmp_path: Path, word: str, problem: str
) -> None:
    made_study(tmp_path)
    done = _compare(tmp_path, "made", "--by", word)
    assert done.exit_code == 2
    assert problem in done.stderr


def test_an_unmeasured_metric_is_refused_with_those_there_are(tmp_path: Path) -> None:
    made_study(tmp_path)
    done = _compare(tmp_path, "made", "--metric", "test/aa_acc")
    assert done.exit_code == 2
    assert "--metric test/aa_acc was not measured; choose from test/clean_acc" in done.stderr


@pytest.mark.parametrize(
    ("kind", "other", "why"),
    [
        ("subset", {"subset": "f" * 16, "fixed": {"seeds.subset_seed": 3}},
         "they trained on different images (seeds.subset_seed 0 and 3)"),
        ("split", {"fixed": {"data.val_per_class": 12}},
         "they are measured on different images (data.val_per_class 10 and 12)"),
        ("eps", {"fixed": {"evaluation.eps": 0.2}},
         "they are attacked with different strengths (linf 0.1 and linf 0.2)"),
        ("smoke", {"facts": {"smoke": "a smoke run"}}, "two is a smoke run"),
    ],
)  # fmt: skip
def test_what_is_not_comparable_is_refused_with_the_reason_unless_asked(
    tmp_path: Path, kind: str, other: dict[str, Any], why: str
) -> None:
    made_study(tmp_path, "one")
    made_study(tmp_path, "two", **other)
    done = _compare(tmp_path, "one", "two")
    assert done.exit_code == 2
    assert f"{kind}: " in done.stderr
    assert why in done.stderr
    assert f"--allow-different {kind}" in done.stderr
    asked = _compare(tmp_path, "one", "two", "--allow-different", kind)
    assert asked.exit_code == 0, asked.stderr
    assert f"compared although they may differ in: {kind}" in " ".join(asked.stdout.split())


def test_selected_on_test_is_never_ranked_beside_honest_studies(tmp_path: Path) -> None:
    made_study(tmp_path, "honest")
    made_study(tmp_path, "papers", confirmed=lambda number, seed: 0.9 - 0.01 * seed,
               fixed={"data.val_source": "test"})  # fmt: skip
    blocks = _json(tmp_path, "honest", "papers")["blocks"]
    assert [block["selected_on_test"] for block in blocks] == [False, False, True, True]
    for block in blocks:
        assert len({entry["study"] for entry in block["entries"]}) == 1
    text = _compare(tmp_path, "honest", "papers").stdout
    assert text.count("SELECTED ON TEST") == 2
    for form in ("markdown", "latex"):
        assert _compare(tmp_path, "honest", "papers", "--format", form).stdout.count(
            "SELECTED ON TEST"
        ) == 2  # fmt: skip
    latex = _compare(tmp_path, "honest", "papers", "--format", "latex").stdout
    shown = r"\multicolumn{6}{l}{\textbf{Selected on the test images: optimistic}} \\"
    assert latex.splitlines().count(shown) == 2  # in the paper, not only in its source


def test_csv_has_a_row_an_entry_with_fractions(tmp_path: Path) -> None:
    made_study(tmp_path)
    text = _compare(tmp_path, "made", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 4
    assert float(rows[0][METRIC]) == pytest.approx(0.62)
    assert rows[0]["selected_on_test"] == "False"
    assert rows[1]["test"] == "paired t-test"


def test_markdown_and_latex_are_whole(tmp_path: Path) -> None:
    made_study(tmp_path)
    markdown = _compare(tmp_path, "made", "--format", "markdown").stdout
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    latex = _compare(tmp_path, "made", "--format", "latex").stdout
    assert latex.count(r"\begin{tabular}{lrrrrr}") == latex.count(r"\end{tabular}") == 2
    assert r"val/pgd3\_balanced\_acc" in latex


CIFAR = {"data.name": "cifar10", "data.max_per_class": None, "data.val_per_class": 100,
         "model.name": "resnet18", "model.width": None, "model.stem": "conv",
         "evaluation.val_attack": "pgd3"}  # fmt: skip


def _cifar(out: Path, ratio: float, profile: str = "exp") -> None:
    fixed = {path: value for path, value in CIFAR.items() if value is not None}
    made_study(
        out, "cifar", trials={f"imbalance_ratio_{ratio:g}": TRIALS["imbalance_ratio_2"]},
        scenarios={"data.imbalance_ratio": [ratio]},
        fixed={**fixed, "data.profile": profile, "data.max_per_class": 5000 - 100},
        confirm={"top": 1, "seeds": [0, 1], "attacks": ["clean", "pgd20"], "sentinel": False},
    )  # fmt: skip


def test_published_rows_of_the_same_problem_stand_beside_ours(tmp_path: Path) -> None:
    _cifar(tmp_path, 50)
    done = _compare(tmp_path, "cifar", "--published")
    assert done.exit_code == 0, done.output
    text = done.stdout
    assert max(map(len, text.splitlines())) <= 80
    (row,) = [
        line for line in text.splitlines() if "REAT Table 1 " in line and "PGD-AT, focal" in line
    ]
    assert row.split()[-6:] == ["53.58", "±", "0.81", "30.88", "±", "0.24"]  # the paper's Table 1
    (once,) = [line for line in text.splitlines() if "REAT, balanced-softmax" in line]
    assert once.split()[-6:] == ["67.33", "±", "0.45", "36.20", "±", "0.06"]  # of seven tables
    assert "SRAT Table" not in text  # exp 50 is REAT's alone
    words = " ".join(text.split())
    assert "linf with eps 0.1, in the papers linf with 8/255" in words
    assert "REAT keeps the epoch that was best by PGD-20 on the test images" in words
    assert "here 100 validation images of each class are held out" in words
    assert "REAT trains for 80 epochs, here it is 6" in words


def test_published_says_what_there_is_where_nothing_matches(tmp_path: Path) -> None:
    _cifar(tmp_path, 30)
    text = " ".join(_compare(tmp_path, "cifar", "--published").stdout.split())
    assert (
        "neither paper reports cifar10, exp 30, resnet18; on cifar10 they report exp 50 on "
        "resnet18" in text
    )
    made_study(tmp_path)
    for form in ("table", "markdown", "latex", "json"):
        done = _compare(tmp_path, "made", "--published", "--format", form)
        assert done.exit_code == 0
        assert "neither paper reports digits; REAT and SRAT report cifar10" in " ".join(
            done.stdout.split()
        )


def test_a_thousand_trials_are_compared_in_three_seconds(tmp_path: Path) -> None:
    folder = made_study(tmp_path, finished=False, confirmed=None)
    repeat_first_row(folder.ledger, 1000)
    began = time.process_time()
    done = _compare(tmp_path, "made", "--by", "loss", "--by", "optim.lr")
    assert time.process_time() - began < 3
    assert "1007 trials so far" in done.stdout


def test_a_misspelt_study_is_answered_with_the_nearest(tmp_path: Path) -> None:
    made_study(tmp_path)
    done = _compare(tmp_path, "mede")
    assert done.exit_code == 2
    assert "did you mean made?" in done.stderr


def test_the_best_of_a_value_is_chosen_by_validation_whatever_is_shown(tmp_path: Path) -> None:
    """Study two is worse by validation and better on the test images; that chooses nothing."""
    made_study(tmp_path, "one")
    worse = made_study(tmp_path, "two", confirmed=lambda number, seed: 0.3 + 0.01 * seed)
    for path in worse.root.glob("confirmations/*/*/test.json"):
        tested = json.loads(path.read_text())
        tested["metrics"]["test/clean_acc"] = 0.99
        path.write_text(json.dumps(tested))
    found = _json(tmp_path, "one", "two", "--by", "loss", "--metric", "test/clean_acc")
    assert {e["study"] for block in found["blocks"] for e in block["entries"]} == {"one"}


def test_a_trial_that_was_never_tested_has_a_gap_and_no_p(tmp_path: Path) -> None:
    made_study(tmp_path, start_from=[])  # no baseline: of what did not win nothing is confirmed
    done = _compare(tmp_path, "made", "--by", "optim.lr", "--metric", "test/clean_acc")
    assert done.exit_code == 0, done.output
    assert "none: not measured" in done.stdout
