"""What notebooks and the interpreter show: a few lines as text, and tables without markup."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from ltat_tune import Study, TrialConfig
from ltat_tune.api.best import Best, Score
from ltat_tune.api.evaluation import Measured
from ltat_tune.config.notebook import ShownList, accuracies_text, html_table, text_lines
from ltat_tune.training.fit_result import EpochMetrics, FitResult
from tests.made_studies import made_study

METRICS = {
    "train/loss": 1.2345, "val/clean_acc": 0.5, "val/clean_balanced_acc": 0.4,
    "val/clean_tail_acc": 0.1, "val/pgd20_acc": 0.25,
}  # fmt: skip
EPOCH = EpochMetrics(3, METRICS, 1.26)
CONFIG = TrialConfig.from_flat({"data.name": "digits", "optim.lr": 0.2})
SCORE = Score((0.5, 0.52))
BEST = Best(
    "imbalance_ratio_2", {"data.imbalance_ratio": 2}, 5, {"optim.lr": 0.2}, CONFIG, (1, 2),
    {"val/pgd20_acc": SCORE}, {"test/pgd20_acc": SCORE, "test/pgd20_tail_acc": SCORE},
    Path("c.pt"),
)  # fmt: skip
FIT = FitResult(nn.Linear(2, 2), 3, METRICS, "abcd", "fp32", "cpu", {}, [[1]], [])
MEASURED = Measured("pgd20", 0.1, "linf", 1.0, 400, {"acc": 0.5, "class_0_acc": 0.1},
                    {"acc": (0.45, 0.55)})  # fmt: skip


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data: str) -> None:
        if self.rows:
            self.rows[-1].append(data)


def cells(html: str) -> _Cells:
    parser = _Cells()
    parser.feed(html)
    return parser


def test_an_epoch_prints_its_accuracies_over_all_classes() -> None:
    assert repr(EPOCH).splitlines() == [
        "epoch 3 (1.3 s)",
        "  accuracies: val/clean_acc 50.0 %, val/clean_balanced_acc 40.0 %, val/pgd20_acc 25.0 %",
    ]
    assert repr(EpochMetrics(3, {}, 1.0, replayed=True, note="no graphs")).splitlines() == [
        "epoch 3 (read back)", "  note: no graphs",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "shown", [EPOCH, CONFIG, BEST, FIT, MEASURED], ids=lambda o: type(o).__name__
)
def test_a_few_lines_and_a_table(shown: Any) -> None:
    text = repr(shown)
    assert len(text.splitlines()) <= 6
    assert max(map(len, text.splitlines())) <= 100
    table = cells(shown._repr_html_())
    assert (
        {"table", "tr", "td"}
        <= table.tags
        <= {"table", "caption", "thead", "tbody", "tr", "th", "td"}
    )
    assert len(table.rows) > 1


def test_every_number_is_in_the_table_and_no_default_in_a_configuration() -> None:
    assert ["val/clean_tail_acc", "10.0 %"] in cells(EPOCH._repr_html_()).rows
    assert ["train/loss", "1.234"] in cells(EPOCH._repr_html_()).rows
    assert "optim.lr 0.2" in repr(CONFIG) and "optim.momentum" not in repr(CONFIG)
    assert "test: test/pgd20_acc 51.0 ± 1.4 %" in repr(BEST)
    assert repr(SCORE) == "51.0 ± 1.4 % (n = 2)"
    assert "accuracy: acc 50.0 % (45.0 to 55.0)" in repr(MEASURED)
    assert "Linear of epoch 3" in repr(FIT)


def test_names_with_markup_are_shown_as_they_are() -> None:
    table = html_table("<b>", ["&"], [["<script>alert(1)</script>"]])
    assert cells(table).tags == {"table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert "<script>" not in table


def test_a_list_shows_its_members_one_below_the_other() -> None:
    both = ShownList([EPOCH, EPOCH])
    assert both == [EPOCH, EPOCH]
    assert repr(both).count("epoch 3 (1.3 s)") == 2 and repr(ShownList[EpochMetrics]()) == "[]"
    assert both._repr_html_().count("<table>") == 2


def test_long_rows_are_wrapped_between_words() -> None:
    lines = text_lines("x", {"a": "word " * 60, "empty": ""}).splitlines()
    assert max(map(len, lines)) <= 100 and "empty" not in lines[-1]
    assert accuracies_text({"test/aa_acc": 1, "test/aa_worst_acc": 0}, str) == "test/aa_acc 1 %"


def test_a_study_says_who_won(tmp_path: Path) -> None:
    made_study(tmp_path)
    study = Study.open("made", out=tmp_path)
    text = repr(study)
    assert text.startswith(f"Study('{tmp_path / 'made'}'), finished\n")
    assert "data.imbalance_ratio = 2 t0001: test/pgd3_balanced_acc" in text
    assert cells(study._repr_html_()).rows[0][:2] == ["scenario", "winner"]
    best = study.best()
    assert best[0].trial == 1 and "trial t0001" in repr(best)
    made_study(tmp_path, "open", finished=False)
    assert repr(Study.open("open", out=tmp_path)).endswith("not finished")
