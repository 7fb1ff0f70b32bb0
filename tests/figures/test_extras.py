"""The figures that neither paper has, on real tiny trainings and against numbers by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import MissingData
from ltat_tune.figures.extra.models import answers, class_differences, paired_difference
from ltat_tune.figures.extra.specs import EXTRAS
from ltat_tune.figures.extra.studies import (
    contestants,
    one_scenario,
    over_epochs,
    rate_drops,
    rbl_numbers,
)
from ltat_tune.figures.save import save
from ltat_tune.figures.sources import Sources, read_sources
from ltat_tune.figures.style import look
from ltat_tune.storage.trained_run import Run
from tests.figures.srat_studies import trained_once
from tests.figures.tiny_studies import overlaps


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_once(tmp_path_factory)


@pytest.fixture(scope="module")
def methods(studies: Path) -> Sources:
    """The study of five methods; all 400 test images of the digits."""
    return read_sources([studies / "methods"], images=400)


def draw(key: str, sources: Sources) -> Figure:
    function = EXTRAS[key].draw
    assert function is not None
    with look():
        return function(sources).figure


def test_the_best_and_the_first_configuration_are_compared(methods: Sources) -> None:
    (name, best), (first_name, first) = contestants(methods, 2)
    scores = [recipe.score for recipe in methods.recipes]
    assert best.score == max(scores)
    assert first.config.method.name == "pgd_at" and first.config.loss.name == "cross_entropy"
    assert name != first_name


def test_of_several_scenarios_it_is_said_which_one_is_drawn(studies: Path) -> None:
    both = read_sources([studies / "methods", studies / "weights"])
    (_, best), *_ = contestants(both, 2)
    (note,) = one_scenario(both, best.first)
    assert note.startswith(f"drawn for {best.first.study}/") and "one of 2 scenarios" in note
    (_, alone), *_ = contestants(read_sources([studies / "methods"]), 2)
    assert one_scenario(read_sources([studies / "methods"]), alone.first) == ()


def test_learning_curves_are_the_mean_and_range_of_the_histories(methods: Sources) -> None:
    fig = draw("learning_curves", methods)
    (_, recipe), *_ = contestants(methods, 4)
    expected = []
    for run in recipe.runs:
        state = torch.load(run.checkpoint, weights_only=True)
        expected.append([100 * m["val/pgd2_balanced_acc"] for _, m, _ in state["history"]])
    line, band = fig.axes[1].lines[0], fig.axes[1].collections[0]
    assert np.asarray(line.get_ydata()).tolist() == pytest.approx(np.mean(expected, 0).tolist())
    heights = np.asarray(band.get_paths()[0].vertices)[:, 1]
    assert heights.min() == pytest.approx(np.min(expected))
    assert heights.max() == pytest.approx(np.max(expected))
    assert all(tick == int(tick) for axes in fig.axes for tick in axes.get_xticks())


def test_epochs_that_a_seed_lacks_are_left_out(methods: Sources) -> None:
    epochs, values = over_epochs(methods.recipes[0], "val/clean_acc")
    assert epochs == [1, 2] and values.shape == (2, 2)
    with pytest.raises(MissingData, match="val/aa_acc over epochs"):
        over_epochs(methods.recipes[0], "val/aa_acc")


def test_the_learning_rate_is_shown_to_drop_where_it_falls_at_once() -> None:
    class Fake:
        config = TrialConfig.from_flat({"optim.epochs": 80})

    assert rate_drops(Fake()) == [60, 75]  # type: ignore[arg-type]
    Fake.config = Fake.config.replace({"optim.lr_schedule": "cosine"})
    assert rate_drops(Fake()) == []  # type: ignore[arg-type]


def test_rbl_numbers_are_those_of_the_epoch_before() -> None:
    run = Run.__new__(Run)
    object.__setattr__(run, "samples_per_class", [4, 2])
    object.__setattr__(run, "predicted", [[6, 0], [3, 3]])
    effective, weights = rbl_numbers(run)
    # epoch 1: n = N = (4, 2); epoch 2: n = (6, 0), the second epoch's own are too late
    expected = [[4 * (1 - 0.75**4), 2 * (1 - 0.5**2)], [4 * (1 - 0.75**6), 0.0]]
    assert effective == pytest.approx(np.array(expected))
    inverse = [1 / (value + 1e-5) for value in expected[0]]
    by_hand = [2 * value / sum(inverse) for value in inverse]
    assert weights[0] == pytest.approx(by_hand, rel=1e-6)
    assert weights[1] == pytest.approx([0.0, 2.0], abs=1e-4)


def test_rbl_lines_are_those_numbers_of_the_reat_model(methods: Sources) -> None:
    fig = draw("rbl_weights", methods)
    run = next(r.first for r in methods.recipes if r.config.method.name == "reat")
    effective, weights = rbl_numbers(run)
    # step imbalance: the classes are drawn in their order
    for c in range(10):
        assert np.asarray(fig.axes[0].lines[c].get_ydata()).tolist() == effective[:, c].tolist()
        assert np.asarray(fig.axes[1].lines[c].get_ydata()).tolist() == weights[:, c].tolist()
    assert all(tick == int(tick) for axes in fig.axes for tick in axes.get_xticks())


def test_without_a_radius_the_curve_starts_at_the_tested_clean_accuracy(methods: Sources) -> None:
    fig = draw("accuracy_over_eps", methods)
    container = fig.axes[0].containers[0]
    x, y = (np.asarray(v).tolist() for v in container[0].get_data())
    (_, best), *_ = contestants(methods, 3)
    tested = [run.metrics["test/clean_balanced_acc"] for run in best.runs]
    assert y[0] == pytest.approx(100 * np.mean(tested))
    eps = 255 * best.config.attack.eps
    assert x == pytest.approx([0, eps / 2, eps, 1.5 * eps, 2 * eps])
    tail = best.first.groups.members["tail"]
    of_tail = [np.mean([run.recall("clean", "test")[c] for c in tail]) for run in best.runs]
    container = fig.axes[1].containers[0]
    assert np.asarray(container[0].get_data())[1, 0] == pytest.approx(100 * np.mean(of_tail))


def test_the_calibration_error_is_that_of_the_answers(methods: Sources) -> None:
    fig = draw("calibration", methods)
    (_, best), *_ = contestants(methods, 3)
    for axes, times in zip(fig.axes, (0.0, 1.0), strict=True):
        found = answers(best.first, methods, times_eps=times)
        confidence, right = found.confidence.numpy(), found.correct.numpy()
        error = 0.0
        for low in range(15):
            inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
            if inside.any():
                error += inside.sum() * abs(right[inside].mean() - confidence[inside].mean())
        shown = float(axes.get_xlabel().partition("error: ")[2].split(",")[0])
        assert shown == pytest.approx(100 * error / len(right), abs=0.05 + 1e-9)


def test_adversarial_answers_are_of_all_images(methods: Sources) -> None:
    run = methods.recipes[0].first
    clean, attacked = (answers(run, methods, times_eps=times) for times in (0.0, 1.0))
    assert len(clean.targets) == len(attacked.targets) == 400
    assert not torch.equal(clean.confidence, attacked.confidence)


def test_newcombes_interval_against_his_formula_by_hand() -> None:
    # 36 both right, 12 only the first, 2 only the second, 0 neither: p = 0.96, q = 0.76
    first = np.array([True] * 48 + [False] * 2)
    second = np.array([True] * 36 + [False] * 12 + [True] * 2)
    z = 1.959963984540054

    def wilson(p: float, n: int) -> tuple[float, float]:
        centre, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        return (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)

    (low_p, high_p), (low_q, high_q) = wilson(0.96, 50), wilson(0.76, 50)
    phi = (36 * 0 - 12 * 2) / math.sqrt(48 * 2 * 38 * 12)  # negative: no correction
    below = math.sqrt((0.96 - low_p) ** 2 - 2 * phi * (0.96 - low_p) * (high_q - 0.76)
                      + (high_q - 0.76) ** 2)  # fmt: skip
    above = math.sqrt((high_p - 0.96) ** 2 - 2 * phi * (high_p - 0.96) * (0.76 - low_q)
                      + (0.76 - low_q) ** 2)  # fmt: skip
    found = paired_difference(first, second)
    assert found.mean == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.2 - below, 0.2 + above))


def test_newcombes_interval_has_a_width_where_both_are_always_right() -> None:
    found = paired_difference(np.ones(40, dtype=bool), np.ones(40, dtype=bool))
    # Wilson's lower end at 40 of 40 is 1 / (1 + z^2 / 40); phi is 0 without variation
    width = 1 - 1 / (1 + 1.959963984540054**2 / 40)
    assert (found.mean, found.low, found.high) == pytest.approx((0.0, -width, width))


def test_a_difference_and_its_reverse_are_mirror_images() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(60) < 0.7, rng.random(60) < 0.4
    one, other = paired_difference(first, second), paired_difference(second, first)
    assert (one.mean, one.low, one.high) == pytest.approx((-other.mean, -other.high, -other.low))


def test_newcombes_interval_holds_what_it_promises() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        shared = rng.random(40) < 0.5  # answers to the same image go together
        first = np.where(shared, rng.random(40) < 0.9, rng.random(40) < 0.5)
        second = np.where(shared, rng.random(40) < 0.8, rng.random(40) < 0.2)
        found = paired_difference(first, second)
        held += found.low <= 0.2 <= found.high  # 0.7 - 0.5
    assert 275 <= held <= 297


def test_drawn_differences_are_of_the_recalls_on_the_test_images(methods: Sources) -> None:
    fig = draw("class_difference", methods)
    (_, best), (_, first) = contestants(methods, 2)
    drawn = [float(np.asarray(c[0].get_ydata())[0]) for c in fig.axes[0].containers]
    by_seed = []
    for a, b in zip(best.runs, first.runs, strict=True):
        pairs = zip(a.per_class["test/clean"], b.per_class["test/clean"], strict=True)
        by_seed.append([100 * ((x or 0) - (y or 0)) for x, y in pairs])
    assert drawn == pytest.approx(np.mean(by_seed, axis=0).tolist())


def test_models_without_a_common_seed_are_not_compared(methods: Sources) -> None:
    (_, best), (_, first) = contestants(methods, 2)
    one = type(best)(best.runs[:1])
    other = type(first)(first.runs[1:])
    with pytest.raises(MissingData, match="a seed that is in both"):
        class_differences(one, other, methods, times_eps=0.0)


@pytest.mark.parametrize("key", list(EXTRAS))
def test_every_figure_is_saved_and_nothing_overlaps(
    key: str, methods: Sources, tmp_path: Path
) -> None:
    fig = draw(key, methods)
    assert overlaps(fig) == []
    pdf, png = save(fig, tmp_path, key)
    assert pdf.read_bytes().startswith(b"%PDF") and png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("key", list(EXTRAS))
def test_without_trainings_every_figure_says_what_is_missing(key: str) -> None:
    with pytest.raises(MissingData):
        draw(key, Sources(()))
