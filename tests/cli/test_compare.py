"""`ltat-tune compare`: what is put side by side, what is refused, and how it is printed."""

from __future__ import annotations

import csv
import io
import json
import math
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
    assert "± is the standard deviation over the seeds." in text
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
    # seeds 1 and 2 of trial 1: 61 and 63 %, mean 62, standard deviation sqrt(2)
    (row,) = [line for line in text.splitlines() if line.startswith("one t0001 winner")][:1]
    # against 50 and 51 %: p = 1 - 2 / pi * atan(23) = 0.0277, times 3 comparisons
    assert row.split()[3:] == ["62.0", "±", "1.4", "0.083", "2", "4/6", "24"]
    words = " ".join(text.split())
    assert "p against one t0000, the baseline: paired t-test over 2 seeds (same subset" in words
    assert "p corrected by Holm's method for 3 comparisons" in text
    blocks = _json(tmp_path, "one", "two")["blocks"]
    assert [entry["study"] for entry in blocks[0]["entries"]] == ["one", "two", "one", "two"]


@pytest.mark.parametrize("columns", ["80", "60"])
def test_no_number_is_cut_on_a_narrow_terminal(tmp_path: Path, columns: str) -> None:
    made_study(tmp_path)
    names = ("clean_acc", "clean_balanced_acc", "pgd3_acc", "pgd3_balanced_acc")
    metrics = ",".join([METRIC, "val/clean_acc", *(f"test/{name}" for name in names)])
    shown = []
    for width in ("300", columns):
        runner = CliRunner(env={"COLUMNS": width})
        given = ["compare", "made", "--out", str(tmp_path), "--metric", metrics]
        done = runner.invoke(main, given, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        shown.append(sorted("".join(done.stdout.split())))
    assert shown[0] == shown[1]


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
    assert found["overall_reference"] == "cross_entropy"  # the baseline's loss
    assert (first["ahead"], first["p"]) == (0, 0.5)  # 2 / 2^2
    assert (second["ahead"], second["p"]) == (None, None)
    text = _compare(tmp_path, "made", "--by", "loss").stdout
    assert "0 of 2" in text
    assert "reference: cross_entropy; p against it" in text


def test_by_scenario_tests_nothing(tmp_path: Path) -> None:
    made_study(tmp_path)
    (block,) = _json(tmp_path, "made", "--by", "scenario")["blocks"]
    assert len(block["entries"]) == 2
    # the made study has 20 images of every class
    labels = {f"data.imbalance_ratio = {ratio} (1 reached)" for ratio in (2, 4)}
    assert {entry["label"] for entry in block["entries"]} == labels
    assert block["tests"] == [None, None]
    assert block["reference"] is None


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
    spread = float(rows[0][f"{METRIC} standard deviation"])  # of 0.61 and 0.63
    assert spread == pytest.approx(0.01 * math.sqrt(2))
    assert rows[0]["selected_on_test"] == "False"
    assert rows[0]["test"] == "paired t-test"
    assert float(rows[0]["gain_over_reference"]) == pytest.approx(0.62 - 0.505)
    assert [row["reference"] for row in rows] == ["False", "True"] * 2
    assert {row["state"] for row in rows} == {"measured"}


def test_markdown_and_latex_are_whole(tmp_path: Path) -> None:
    made_study(tmp_path)
    markdown = _compare(tmp_path, "made", "--format", "markdown").stdout
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    latex = _compare(tmp_path, "made", "--format", "latex").stdout
    assert latex.count(r"\begin{tabular}{lrrrrr}") == latex.count(r"\end{tabular}") == 2
    assert r"val/pgd3\_balanced\_acc" in latex
    legend = "is the standard deviation over the seeds."
    shown = rf"\multicolumn{{6}}{{l}}{{\footnotesize $\pm$ {legend}}} \\"
    assert latex.splitlines().count(shown) == 2  # in the paper, not only in its source
    assert markdown.splitlines().count(f"± {legend}  ") == 2
    for text in (latex, markdown, _compare(tmp_path, "made", "--by", "loss").stdout):
        assert "standard error" not in text


CIFAR = {"data.name": "cifar10", "data.max_per_class": None, "data.val_per_class": 100,
         "model.name": "resnet18", "model.width": None, "model.stem": "conv",
         "evaluation.val_attack": "pgd3"}  # fmt: skip


def _cifar(out: Path, ratio: float, profile: str = "exp") -> None:
    fixed = {path: value for path, value in CIFAR.items() if value is not None}
    made_study(
        out, "cifar", trials={f"imbalance_ratio_{ratio:g}": TRIALS["imbalance_ratio_2"]},
        scenarios={"data.imbalance_ratio": [ratio]},
        fixed={**fixed, "data.profile": profile, "data.max_per_class": 5000 - 100},
        confirm={"top": 1, "seeds": [1, 2], "attacks": ["clean", "pgd20"], "sentinel": False},
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
    assert "the training images here have imbalance ratio 1, in the papers 50" in words  # 20 each
    assert "REAT trains for 80 epochs, here it is 6" in words


def test_published_says_what_there_is_where_nothing_matches(tmp_path: Path) -> None:
    _cifar(tmp_path, 30)
    text = " ".join(_compare(tmp_path, "cifar", "--published").stdout.split())
    assert (
        "no paper here reports cifar10, exp 30 (1 reached), resnet18; on cifar10 they report "
        "exp 50 on resnet18" in text
    )  # the made study has 20 images of every class
    assert "data.imbalance_ratio = 30 (1 reached)" in text
    made_study(tmp_path)
    for form in ("table", "markdown", "latex", "json"):
        done = _compare(tmp_path, "made", "--published", "--format", form)
        assert done.exit_code == 0
        assert "no paper here reports digits; they report cifar10" in " ".join(done.stdout.split())


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


LOSSES = ["cross_entropy", "balanced_softmax", "focal"]
THREE = {
    "optim.lr": {"type": "float", "low": 0.02, "high": 0.4, "log": True},
    "loss.name": {"type": "categorical", "choices": LOSSES},
}
# trial 0 has cross_entropy and trial 1 balanced_softmax
STOPPED: dict[str, Any] = {
    "tuned": THREE,
    "trials": {
        "imbalance_ratio_2": (("complete", 0.5), ("pruned", 0.55)),
        "imbalance_ratio_4": (("complete", 0.3), ("complete", 0.4)),
    },
}


def _lines(out: Path, *arguments: str) -> str:
    return " ".join(_compare(out, "made", *arguments).stdout.split())


def test_every_value_has_a_row_measured_or_not(tmp_path: Path) -> None:
    made_study(tmp_path, **STOPPED)
    found = _json(tmp_path, "made", "--by", "loss")
    first, second = found["blocks"]
    # it was stopped at epoch 2 with half of 0.55
    assert [(e["label"], e["state"]) for e in first["entries"]] == [
        ("cross_entropy", "measured"),
        ("balanced_softmax", "stopped early at epoch 2 (27.5)"),
        ("focal", "not tried"),
    ]
    assert [e["label"] for e in second["entries"]] == [
        "balanced_softmax",
        "cross_entropy",
        "focal",
    ]
    assert first["tests"] == [None] * 3
    text = _lines(tmp_path, "--by", "loss")
    assert "balanced_softmax - 0 - 6 made t0001 stopped early at epoch 2 (27.5)" in text
    assert "focal - 0 - 0 not tried" in text
    assert f"in brackets: the trial's best {METRIC} up to then, %" in text
    markdown = _compare(tmp_path, "made", "--by", "loss", "--format", "markdown").stdout
    assert "| balanced_softmax (stopped early at epoch 2 (27.5)) | - |" in markdown
    text = _compare(tmp_path, "made", "--by", "loss", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    (focal,) = [row for row in rows if row["group"] == "focal"][:1]
    assert (focal["trial"], focal[METRIC], focal["n"]) == ("", "", "0")
    for form in ("table", "json", "csv", "latex", "markdown"):
        assert _compare(tmp_path, "made", "--by", "loss", "--published", "--format", form
                        ).exit_code == 0  # fmt: skip


def test_what_was_not_measured_has_no_mean_and_loses_nowhere(tmp_path: Path) -> None:
    made_study(tmp_path, **STOPPED)
    overall = _json(tmp_path, "made", "--by", "loss")["overall"]
    assert [(o["label"], o["measured"], o["mean_rank"], o["ahead"]) for o in overall] == [
        ("cross_entropy", 2, 1.0, None),
        ("balanced_softmax", 1, None, None),
        ("focal", 0, None, None),
    ]
    assert overall[0]["mean"] == pytest.approx((0.505 + 0.505) / 2)
    assert [o["mean"] for o in overall[1:]] == [None, None]
    text = _lines(tmp_path, "--by", "loss")
    assert "balanced_softmax - - measured in 1 of 2 problems" in text
    assert "focal - - measured in 0 of 2 problems" in text


def test_a_metric_that_one_row_lacks_counts_as_not_measured_over_problems(tmp_path: Path) -> None:
    """Only the winner was confirmed, so cross_entropy has no accuracy on the test images."""
    made_study(tmp_path, start_from=[], tuned=THREE)
    found = _json(tmp_path, "made", "--by", "loss", "--metric", "test/clean_acc")
    assert 0.0 not in [o["mean"] for o in found["overall"]]
    assert all(o["mean"] is None for o in found["overall"] if o["measured"] < 2)


def test_a_confirmed_baseline_whose_trial_was_stopped_keeps_its_row(tmp_path: Path) -> None:
    made_study(
        tmp_path, trials={"imbalance_ratio_2": (("pruned", 0.5), ("complete", 0.6))},
        scenarios={"data.imbalance_ratio": [2]},
    )  # fmt: skip
    (block,) = _json(tmp_path, "made", "--by", "loss")["blocks"]
    assert [(e["label"], e["role"], len(e["seeds"])) for e in block["entries"]] == [
        ("balanced_softmax", "winner", 2), ("cross_entropy", "baseline", 2)
    ]  # fmt: skip
    assert block["reference"] == "cross_entropy, the baseline"


def test_the_reference_is_the_baseline_whichever_row_is_best(tmp_path: Path) -> None:
    made_study(tmp_path)
    (block, _) = _json(tmp_path, "made", "--by", "loss")["blocks"]
    assert block["reference"] == "cross_entropy, the baseline"
    best, baseline = block["tests"]
    assert baseline is None
    # 61 and 63 % against 50 and 51: gains of 11 and 12 points, t = 11.5 / 0.5 with 1 degree
    assert best["gain"] == pytest.approx(0.115)
    assert best["p"] == pytest.approx(1 - 2 / math.pi * math.atan(23))
    text = _lines(tmp_path, "--by", "loss")
    assert "p against cross_entropy, the baseline: paired t-test over 2 seeds" in text


def test_a_confirmed_baseline_stands_beside_a_better_row_with_its_value(tmp_path: Path) -> None:
    """The third trial has the baseline's learning rate; it is better, and was not confirmed."""
    made_study(
        tmp_path, trials={"imbalance_ratio_2": (("complete", 0.5), ("complete", 0.6),
                                                ("complete", 0.55))},
        scenarios={"data.imbalance_ratio": [2]},
        start_from=[{"optim.lr": 0.1, "loss.name": "cross_entropy"},
                    {"optim.lr": 0.2, "loss.name": "balanced_softmax"},
                    {"optim.lr": 0.1, "loss.name": "balanced_softmax"}],
    )  # fmt: skip
    (block,) = _json(tmp_path, "made", "--by", "optim.lr")["blocks"]
    rows = [(e["label"], e["trial"], e["is_extra"]) for e in block["entries"]]
    assert rows == [("0.2", 1, False), ("0.1", 0, True), ("0.1", 2, False)]
    assert block["reference"] == "0.1 (baseline)"
    assert [test and test["test"] for test in block["tests"]] == [
        "paired t-test", None, "none: fewer than 2 seeds on a side"
    ]  # fmt: skip
    assert "0.1 (baseline) 50.5 ± 0.7" in _lines(tmp_path, "--by", "optim.lr")


def test_against_names_the_reference(tmp_path: Path) -> None:
    made_study(tmp_path)
    against = ("--against", "balanced_softmax")
    (block, _) = _json(tmp_path, "made", "--by", "loss", *against)["blocks"]
    assert block["reference"] == "balanced_softmax"
    assert block["tests"][0] is None
    assert block["tests"][1]["gain"] == pytest.approx(-0.115)
    (block, _) = _json(tmp_path, "made", "--against", "t0001")["blocks"]
    assert block["reference"] == "made t0001"
    (block, _) = _json(tmp_path, "made", "--against", "baseline")["blocks"]
    assert block["reference"] == "made t0000, the baseline"


def test_without_a_baseline_the_first_row_of_the_space_file_is_the_reference(
    tmp_path: Path,
) -> None:
    made_study(tmp_path, start_from=[], tuned=THREE)
    block = _json(tmp_path, "made", "--by", "loss")["blocks"][0]
    measured = [e["label"] for e in block["entries"] if e["state"] == "measured"]
    first = min(measured, key=LOSSES.index)
    assert block["reference"] == (
        f"{first}, the first row in the order of the space file (no row has the baseline)"
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--by", "loss", "--against", "fokal"),
         "--against fokal is not among the rows; choose from baseline, cross_entropy, "
         "balanced_softmax"),
        (("--by", "loss", "--against", "focal"),
         "--against focal was not measured (not tried); choose from baseline, cross_entropy, "
         "balanced_softmax"),
        (("--by", "scenario", "--against", "baseline"),
         "--against baseline: these rows are different problems, so no row is tested against "
         "another; leave --against out"),
    ],
)  # fmt: skip
def test_a_reference_that_cannot_serve_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    made_study(tmp_path, **STOPPED)
    done = _compare(tmp_path, "made", *arguments)
    assert done.exit_code == 2
    assert problem in " ".join(done.stderr.split())


def test_a_reference_measured_in_one_problem_alone_is_said_so_in_the_other(tmp_path: Path) -> None:
    made_study(tmp_path, **STOPPED)
    text = _lines(tmp_path, "--by", "loss", "--against", "balanced_softmax")
    why = "balanced_softmax was not measured (stopped early at epoch 2 (27.5))"
    assert f"no row is tested: {why}" in text
    assert "p against balanced_softmax: paired t-test over 2 seeds" in text


def test_independent_rows_are_tested_together_by_dunnett(tmp_path: Path) -> None:
    """Three studies, each with a subset of its own."""
    for name, shift in (("one", 0.0), ("two", 0.05), ("three", 0.1)):

        def confirmed(number: int, seed: int, shift: float = shift) -> float:
            return 0.4 + shift + 0.01 * seed

        made_study(tmp_path, name, subset=name * 4, confirmed=confirmed)
    arguments = ("one", "two", "three", "--by", "study", "--allow-different", "subset")
    text = " ".join(_compare(tmp_path, *arguments).stdout.split())
    assert (
        "p against one, the first study named: Dunnett's test over 2 seeds: three, two p "
        "corrected for 2 comparisons" in text
    )
