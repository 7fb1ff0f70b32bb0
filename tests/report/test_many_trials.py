"""The report of a study of many trials: what is drawn of them, and what is folded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.made_studies import made_study
from tests.report.looks import plots, read, tables, words


def test_of_many_trials_some_of_every_end_are_drawn_and_the_best_stand_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ltat_tune.report.pictures.MOST_CURVES", 20)
    ends = [("complete", 0.3 + 0.001 * (37 * i % 60)) if i % 3 else ("pruned", 0.1 + 0.001 * i)
            for i in range(60)]  # fmt: skip
    folder = made_study(
        tmp_path, scenarios={"data.imbalance_ratio": [2]}, start_from=[],
        trials={"imbalance_ratio_2": ends}, confirmed=None, finished=False,
    )  # fmt: skip
    told = read(folder.root)
    best, others = tables(told["trials"])
    assert (len(best.rows), best.folded, len(others.rows), others.folded) == (50, False, 10, True)
    scores = [float(row[2]) for row in best.rows if row[2] != "–"]
    assert len(scores) == 40 and scores == sorted(scores, reverse=True)
    (curves,) = plots(told["curves"])
    lines = [trace.name for trace in curves.figure.data if "lines" in trace.mode]
    # a third was stopped: 6 of 20 lines; made trials have one rung each, at epoch 2
    assert (lines.count("stopped early"), lines.count("trained to the end")) == (6, 13)
    legend = "where a trial ended early"
    (crosses,) = [trace for trace in curves.figure.data if trace.name == legend]
    assert len(crosses.x) == 20  # also of those without a line
    assert curves.figure.layout.xaxis.dtick == 1
    assert "Lines of 19 trials are drawn, the best of each way to end. 41 more are" in (
        words(told["curves"])
    )
