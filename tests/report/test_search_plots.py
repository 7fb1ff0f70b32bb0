"""Where plots put what: positions worked by hand."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from ltat_tune.report.blocks import table, without_empty_columns
from ltat_tune.report.plot_style import VERMILLION
from ltat_tune.report.search_plots import (
    axis_ticks,
    contour,
    importance_plot,
    parallel_coordinates,
    short,
    slices,
)
from ltat_tune.results.importance import Importance, ImportanceEstimate, Importances
from ltat_tune.space.domains import Domain
from ltat_tune.storage.trials import RowState, TrialRow

LR = Domain("optim.lr", "float", low=0.01, high=1.0, log=True)
METHOD = Domain("method.name", "categorical", choices=("pgd_at", "srat"))
TAU = Domain("method.temperature", "float", low=0.0, high=1.0, when={"method.name": ("srat",)})
TUNED = {one.path: one for one in (LR, METHOD, TAU)}


def _row(
    number: int,
    score: float | None,
    params: dict[str, Any],
    scores: dict[int, float] | None = None,
    state: RowState = "complete",
) -> TrialRow:
    return TrialRow("s", number, state, score, params, scores or {}, 6, "", None, None, Path())


ROWS = [
    _row(0, 0.5, {"optim.lr": 0.1, "method.name": "pgd_at"}),
    _row(1, 0.6, {"optim.lr": 1.0, "method.name": "srat", "method.temperature": 0.5}),
    _row(2, None, {"optim.lr": 0.01, "method.name": "pgd_at"}, {2: 0.1, 4: 0.2}, "pruned"),
]


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0.02, 0.4, ["0.02", "0.05", "0.1", "0.2"]),
        (0.01, 1.0, ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"]),
        (1e-5, 1.0, ["1e-05", "0.0001", "0.001", "0.01", "0.1", "1"]),
    ],
)
def test_log_axes_have_ticks_that_people_write(low: float, high: float, texts: list[str]) -> None:
    ticks = axis_ticks(low, high, log=True)
    assert [text for _, text in ticks] == texts
    assert [10**at for at, _ in ticks] == pytest.approx([float(text) for text in texts])


def test_a_short_log_axis_and_a_plain_one_have_five_ticks() -> None:
    assert len(axis_ticks(0.1, 0.15, log=True)) == 5
    assert axis_ticks(0.0, 4.0, log=False)[1] == (1.0, "1")


def test_a_column_in_which_nothing_stands_is_left_out() -> None:
    whole = table("What.", ("a", "b", "c"), [("x", "", "1"), ("y", " ", "2")], text=2)
    assert without_empty_columns(whole) == table("What.", ("a", "c"), [("x", "1"), ("y", "2")])


def test_a_parameter_is_its_symbol_or_the_end_of_its_path() -> None:
    assert [short(path) for path in ("optim.lr", "loss.name", "optim.weight_decay")] == [
        "η", "loss", "weight decay",
    ]  # fmt: skip


def test_parallel_coordinates_are_on_the_searched_scale_and_have_a_place_for_nothing() -> None:
    lr, method, tau, score = parallel_coordinates(ROWS, TUNED).data[0].dimensions
    assert list(lr["values"]) == pytest.approx([-1, 0, -2])
    assert list(lr.range) == [-2, 0]
    assert list(method["values"]) == [0, 1, 0]
    assert list(tau["values"]) == pytest.approx([-0.12, 0.5, -0.12])
    assert tau.ticktext[0] == "–"
    assert list(score["values"]) == pytest.approx([0.5, 0.6, 0.488])
    assert score.ticktext[:2] == ("no score", "50.0")


def test_a_trial_without_a_score_is_grey_and_the_worst_with_one_is_not() -> None:
    line = parallel_coordinates(ROWS, TUNED).data[0].line
    worst, _, stopped = ((c - line.cmin) / (line.cmax - line.cmin) for c in line.color)
    grey = [at for at, colour in line.colorscale if colour == "#9aa0a8"]
    assert stopped < max(grey) < worst


def test_the_winner_is_a_thick_line_of_its_own_colour() -> None:
    plain, marked = (parallel_coordinates(ROWS, TUNED, winner=n).data[0] for n in (None, 1))
    for before, after in zip(plain.dimensions, marked.dimensions, strict=True):
        assert list(after["values"][:3]) == list(before["values"])
        height = after.range[1] - after.range[0]
        beside = [(v - after["values"][1]) / height for v in after["values"][3:]]
        assert beside == pytest.approx([-0.004, -0.002, 0.002, 0.004])
    line = marked.line
    shares = [(c - line.cmin) / (line.cmax - line.cmin) for c in line.color]
    assert shares[1] == pytest.approx(1.0) and max(shares[0], shares[2]) < 0.95
    assert [at for at, colour in line.colorscale if colour == VERMILLION] == [0.95, 1.0]


def test_slices_stand_on_the_grid_and_span_the_searched_range() -> None:
    fig = slices(ROWS, TUNED, winner=1)
    points = {(trace.xaxis, x) for trace in fig.data for x in trace.x}
    assert {x for axis, x in points if axis == "x2"} == {0.0, 1.0}  # choices
    assert list(fig.layout.xaxis.range) == pytest.approx([-2.1, 0.1])  # 0.01 to 1, and a margin
    assert {name for trace in fig.data for name in trace.customdata} <= {row.name for row in ROWS}


def test_slices_leave_out_what_a_trial_does_not_have_and_mark_the_winner() -> None:
    fig = slices(ROWS, TUNED, winner=1)
    by_axis: dict[str, dict[str, list[float]]] = {}
    for trace in fig.data:
        by_axis.setdefault(trace.xaxis, {})[trace.name] = list(trace.y)
    lr, _, tau = by_axis.values()
    assert lr["trained to the end"] == pytest.approx([50, 60])
    assert lr["stopped early: score at its last rung"] == pytest.approx([20])
    assert lr["winner"] == pytest.approx([60])
    assert tau["trained to the end"] == pytest.approx([60])


def test_bars_stand_for_each_method_that_has_a_share() -> None:
    one = ImportanceEstimate(0.75, 0.5, 0.9)
    values = (
        Importance("optim.lr", one, one, 9, 0.0005),
        Importance("method.temperature", None, one, 4, 0.61),
    )
    drawn = importance_plot(Importances(values, 9, None))
    bars = [trace for trace in drawn.data if trace.type == "bar"]
    assert drawn.layout.yaxis.ticktext == ("τ<br>p = 0.61", "η<br>p < 0.001")
    assert [list(bar.x) for bar in bars] == [[75], [75, 75]]
    assert bars[0].error_x.array[0] == pytest.approx(15)
    assert bars[0].error_x.arrayminus[0] == pytest.approx(25)


def _both(count: int) -> tuple[list[Any], list[str]]:
    low = FloatDistribution(0.01, 1.0, log=True)
    rows = [
        create_trial(
            params={"optim.lr": 0.01 * 1.4**i, "method.temperature": (i * 7 % 10) / 10},
            distributions={"optim.lr": low, "method.temperature": FloatDistribution(0.0, 1.0)},
            value=i / 100,
        )
        for i in range(count)
    ]
    return rows, ["optim.lr", "method.temperature"]


def test_a_contour_takes_the_two_ranges_that_matter_most() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = contour(*_both(8))
    assert drawn is not None
    fig, pair = drawn
    assert set(pair) == {"optim.lr", "method.temperature"}
    titles = {fig.layout.xaxis.title.text, fig.layout.yaxis.title.text}
    assert titles == {short(path) for path in pair}
    points = next(trace for trace in fig.data if trace.type == "scatter")
    assert len(points.x) == 8


def test_too_few_trials_have_no_contour() -> None:
    assert contour(*_both(4)) is None
