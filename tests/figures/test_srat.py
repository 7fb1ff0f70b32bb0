"""SRAT's figures on real tiny trainings: what is drawn is what the studies' files say."""

from __future__ import annotations

import json
import statistics
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io  # type: ignore[import-untyped,unused-ignore]
import yaml
from click.testing import CliRunner
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from ltat_tune.cli import main
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import MissingData
from ltat_tune.figures import panels, style
from ltat_tune.figures.save import save
from ltat_tune.figures.sources import Sources, read_sources
from ltat_tune.figures.srat import counts
from ltat_tune.figures.srat.specs import SRAT_FIGURES
from ltat_tune.figures.style import look
from ltat_tune.presentation.names import row_name
from tests.figures.srat_studies import trained_once
from tests.figures.tiny_studies import bar_heights, overlaps


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_once(tmp_path_factory)


@cache
def read(*folders: Path) -> Sources:
    return read_sources(folders, images=100)


@cache
def draw(key: str, *folders: Path) -> Figure:
    function = SRAT_FIGURES[key].draw
    assert function is not None
    with look():
        return function(read(*folders)).figure


def on_test_images(study: Path, name: str, **values: Any) -> list[float]:
    """A test metric in % of every confirmation with these values, by seed, from the files."""
    found = {}
    for path in study.glob("confirmations/*/*"):
        config = yaml.safe_load((path / "config.yaml").read_text())["config"]
        wanted = {tuple(k.split("__")): v for k, v in values.items()}
        if all(config[section][field] == v for (section, field), v in wanted.items()):
            metrics = json.loads((path / "test.json").read_text())["metrics"]
            found[config["seeds"]["seed"]] = 100 * metrics[name]
    return [found[seed] for seed in sorted(found)]


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Label -> x and y of every line with error bars."""
    found = {}
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer):
            line = container[0]
            assert line is not None
            x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
            found[str(container.get_label())] = (x.tolist(), y.tolist())
    return found


def recalls(study: Path, attack: str, method: str) -> list[list[float]]:
    """Recalls by class in %, one row for each seed, of the unweighted cross-entropy model."""
    found = []
    for path in sorted(study.glob("confirmations/*/*")):
        config = yaml.safe_load((path / "config.yaml").read_text())["config"]
        plain = config["loss"]["name"] == "cross_entropy" and config["reweight"]["name"] == "none"
        if config["method"]["name"] == method and plain:
            per_class = json.loads((path / "test.json").read_text())["per_class"]
            found.append([100 * r for r in per_class[f"test/{attack}"]])
    return found


def test_bars_by_class_are_the_means_of_the_seeds(studies: Path) -> None:
    fig = draw("srat_01", studies / "methods")
    shown = (("natural", "clean"), ("pgd_at", "clean"), ("pgd_at", "pgd2"))
    for axes, (method, attack) in zip(fig.axes, shown, strict=True):
        of_seeds = recalls(studies / "methods", attack, method)
        assert len(of_seeds) == 2
        heights = bar_heights(axes)
        assert heights == pytest.approx(np.mean(of_seeds, axis=0).tolist())
        well, under = np.mean(of_seeds, axis=0)[:5].mean(), np.mean(of_seeds, axis=0)[5:].mean()
        levels = [float(np.asarray(line.get_ydata())[0]) for line in axes.lines
                  if len(np.asarray(line.get_xdata())) == 2
                  and list(np.asarray(line.get_xdata())) == [0, 1]]  # fmt: skip
        assert levels == pytest.approx([(well + under) / 2, well, under])


def test_a_pair_is_drawn_over_the_weight_of_its_rare_class(studies: Path) -> None:
    fig = draw("srat_11", studies / "pair")
    for axes, method, attack in zip(
        fig.axes, ("natural", "pgd_at", "pgd_at"), ("clean", "clean", "pgd2"), strict=True
    ):
        drawn = lines(axes)
        assert list(drawn) == ["3 (20 training images)", "8 (5 training images)"]
        for (x, y), group in zip(drawn.values(), ("well", "under"), strict=True):
            assert x == [1, 10]
            expected = [
                on_test_images(studies / "pair", f"test/{attack}_{group}_acc",
                       method__name=method, reweight__under_weight=weight)[0]
                for weight in (1, 10)
            ]  # fmt: skip
            assert y == pytest.approx(expected)


def test_srat_over_the_weight_has_mean_and_spread_of_the_seeds(studies: Path) -> None:
    fig = draw("srat_05", studies / "weights")
    for axes, attack in zip(fig.axes, ("clean", "pgd2"), strict=True):
        drawn = lines(axes)
        assert list(drawn) == ["SRAT-CE", "SRAT-LDAM"]
        for (x, y), loss in zip(drawn.values(), ("cross_entropy", "ldam"), strict=True):
            assert x == [10, 100]
            by_weight = [
                on_test_images(studies / "weights", f"test/{attack}_acc", loss__name=loss,
                       reweight__under_weight=weight)
                for weight in (10, 100)
            ]  # fmt: skip
            assert [len(values) for values in by_weight] == [2, 2]
            assert y == pytest.approx([statistics.fmean(values) for values in by_weight])


def test_bars_of_spread_are_one_standard_deviation_and_end_at_100_percent() -> None:
    below, above = panels.within([50.0, 99.0], [3.0, 4.0]) or ([], [])
    assert below == [3.0, 4.0]
    assert above == [3.0, 1.0]
    assert panels.within([50.0], [0.0]) is None


def test_figure_15_splits_ldam_by_halves_of_the_classes(studies: Path) -> None:
    fig = draw("srat_15", studies / "weights")
    drawn = lines(fig.axes[1])
    for (_, y), name in zip(drawn.values(), ("acc", "well_acc", "under_acc"), strict=True):
        expected = [
            statistics.fmean(on_test_images(
                studies / "weights", f"test/pgd2_{name}", loss__name="ldam",
                reweight__under_weight=weight,
            ))
            for weight in (10, 100)
        ]  # fmt: skip
        assert y == pytest.approx(expected)


def test_lambda_has_a_row_for_step_and_one_for_exp(studies: Path) -> None:
    fig = draw("srat_06", studies / "lambda")
    titles = [axes.get_title() for axes in fig.axes]
    assert titles == [
        "(a) clean, digits Step-4", "(b) robust, digits Step-4",
        "(c) clean, digits Exp-4", "(d) robust, digits Exp-4",
    ]  # fmt: skip
    for row, profile in ((0, "step"), (2, "exp")):
        x, y = lines(fig.axes[row + 1])["SRAT-CE"]
        assert x == [0.5, 2]
        expected = [
            on_test_images(studies / "lambda", "test/pgd2_acc", data__profile=profile,
                   method__separation_weight=value)[0]
            for value in (0.5, 2.0)
        ]  # fmt: skip
        assert y == pytest.approx(expected)


def test_the_legend_names_the_lines_of_every_row() -> None:
    """Once each, also where the first panel has not all of them."""
    with look():
        fig, axes = style.paper_figure(2, rows=2, cols=1, height_in=4.0)
        axes[0, 0].plot([0, 1], label="SRAT-CE")
        for name in ("SRAT-CE", "SRAT-LDAM"):
            axes[1, 0].plot([0, 1], label=name)
        panels.legend_above(fig, *axes[:, 0])
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == ["SRAT-CE", "SRAT-LDAM"]


def test_figure_16_compares_drcb_and_srat_over_k(studies: Path) -> None:
    drawn = lines(draw("srat_16", studies / "ratios").axes[0])
    for name, method in (("DRCB-Focal", "pgd_at"), ("SRAT-Focal", "srat")):
        x, y = drawn[name]
        assert x == [2, 4]
        expected = [
            on_test_images(studies / "ratios", "test/clean_acc", method__name=method,
                   data__imbalance_ratio=ratio)[0]
            for ratio in (2.0, 4.0)
        ]  # fmt: skip
        assert y == pytest.approx(expected)


def test_figure_13_counts_without_any_training() -> None:
    fig = draw("srat_13")
    heights = [bar_heights(axes) for axes in fig.axes]
    assert heights[0] == [5000] * 5 + [500] * 5  # Step-10
    assert heights[1] == [5000] * 5 + [50] * 5  # Step-100
    # 5000 * 100^(-i/9), cut off
    assert heights[3] == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert not overlaps(fig)


def test_figure_14_counts_the_labels_of_the_official_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Netzer2011Reading: how often each digit comes in train_32x32.mat, whose zeros are called 10
    published = {1: 13861, 2: 10585, 3: 8497, 4: 7458, 5: 6882,
                 6: 5727, 7: 5595, 8: 5045, 9: 4659, 10: 4948}  # fmt: skip
    labels = np.repeat(list(published), list(published.values())).astype(np.uint8)
    pixels = np.zeros((32, 32, 3, 20), np.uint8)  # counting reads no pixel
    (tmp_path / "ltat-tune").mkdir()
    for split in ("train", "test"):
        path = tmp_path / "ltat-tune" / f"{split}_32x32.mat"
        scipy.io.savemat(path, {"X": pixels, "y": labels[:, None]}, do_compression=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    arguments = ["figures", "--only", "srat_14", "--to", str(tmp_path / "to")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1 and "ltat-tune prepare svhn" in done.output
    assert CliRunner().invoke(main, [*arguments, "--root", str(path.parent)]).exit_code == 0
    assert (tmp_path / "to" / "srat_14.png").exists()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with look():
        fig = counts.draw_training_counts("svhn")(Sources(())).figure
    assert overlaps(fig) == []
    first = [4948, 13861, 10585, 8497, 7458]  # each class starts from its own count
    heights = [bar_heights(axes) for axes in fig.axes]
    assert heights[0] == [*first, 688, 572, 559, 504, 465]  # Step-10
    assert heights[1] == [*first, 68, 57, 55, 50, 46]  # Step-100
    # Exp-10: n 10^(-i/9), cut off
    own = [4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659]
    assert heights[2] == [int(n * 10 ** (-i / 9) + 1e-9) for i, n in enumerate(own)]


def test_the_tsne_of_a_pair_is_of_no_other_problem(studies: Path) -> None:
    with pytest.raises(MissingData, match="natural and adversarial training of a pair"):
        draw("srat_03", studies / "methods")


def test_lines_with_bars_stand_beside_each_other_and_their_data_stay(studies: Path) -> None:
    axes = draw("srat_05", studies / "weights").axes[0]
    places = []
    for container in axes.containers:
        line = container[0]
        assert np.asarray(line.get_xdata()).tolist() == [10, 100]
        places.append(float(line.get_transform().transform((10, 50))[0]))
    assert abs(places[1] - places[0]) == pytest.approx(2.4 / 72 * axes.figure.dpi)
    assert axes.get_ylim()[0] >= 0 and axes.get_ylim()[1] <= 100


def test_the_tsne_of_a_pair_has_its_training_images(studies: Path) -> None:
    fig = draw("srat_03", studies / "pair")
    for axes in fig.axes:
        points = [len(np.asarray(found.get_offsets())) for found in axes.collections]
        assert points == [20, 5]


def test_the_tsne_of_methods_has_the_papers_three_in_its_order(studies: Path) -> None:
    fig = draw("srat_04", studies / "methods")
    names = [axes.get_title().partition(";")[0] for axes in fig.axes]
    assert names == ["(a) CE", "(b) DRCB-LDAM", "(c) SRAT-LDAM"]
    for axes in fig.axes:
        if axes.collections:  # no points where a model has the same features for all images
            assert [len(np.asarray(c.get_offsets())) for c in axes.collections] == [10] * 10


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"method.name": "pgd_at", "loss.name": "cross_entropy"}, "CE"),
        ({"method.name": "pgd_at", "loss.name": "ldam"}, "LDAM"),
        ({"loss.name": "cross_entropy", "reweight.name": "class_balanced",
          "reweight.schedule": "immediate"}, "CB-Reweight"),
        ({"loss.name": "focal", "reweight.name": "class_balanced",
          "reweight.schedule": "immediate"}, "CB-Focal"),
        ({"loss.name": "ldam", "reweight.name": "class_balanced",
          "reweight.schedule": "deferred"}, "DRCB-LDAM"),
        ({"method.name": "srat", "loss.name": "focal"}, "SRAT-Focal"),
    ],
)  # fmt: skip
def test_configurations_have_the_names_of_srats_tables(values: dict[str, Any], name: str) -> None:
    config = TrialConfig.from_flat({"method.name": "pgd_at", **values})
    assert row_name(config) == name


@pytest.mark.parametrize("key", [key for key in SRAT_FIGURES if key not in ("srat_02", "srat_14")])
def test_every_figure_is_saved_and_nothing_overlaps(
    key: str, studies: Path, tmp_path: Path
) -> None:
    fig = draw(key, *(study for study in sorted(studies.iterdir())))
    assert overlaps(fig) == []
    pdf, png = save(fig, tmp_path, key)
    assert pdf.read_bytes().startswith(b"%PDF") and png.read_bytes().startswith(b"\x89PNG")
    small = " ".join(text.get_text() for text in fig.texts)
    assert "seed" in small or key == "srat_13"
    assert "not the paper's CIFAR-10" in small or key == "srat_13"


def test_a_pair_without_adversarial_training_leaves_its_panels_empty(
    studies: Path, tmp_path: Path
) -> None:
    whole = read(studies / "pair")
    natural = tuple(run for run in whole.runs if run.config.method.name == "natural")
    function = SRAT_FIGURES["srat_02"].draw
    assert function is not None
    with look():
        fig = function(Sources(natural)).figure
    assert [len(lines(axes)) for axes in fig.axes] == [2, 0, 0]
    assert fig.axes[1].texts[0].get_text() == "not trained here"
    assert overlaps(fig) == []


def test_where_one_value_alone_was_confirmed_the_trials_are_drawn(studies: Path) -> None:
    whole = read(studies / "weights")
    one = next(run for run in whole.runs if run.kind == "confirmation")
    few = tuple(run for run in whole.runs if run.kind == "trial" or run is one)
    function = SRAT_FIGURES["srat_05"].draw
    assert function is not None
    with look():
        fig = function(Sources(few)).figure
    x, y = lines(fig.axes[0])["SRAT-CE"]
    expected = {
        run.config.reweight.under_weight: 100 * run.metrics["val/clean_acc"]
        for run in few
        if run.kind == "trial" and run.config.loss.name == "cross_entropy"
    }
    assert dict(zip(x, y, strict=True)) == pytest.approx(expected)
    assert "validation images" in fig.texts[0].get_text()


def test_what_is_missing_is_said(studies: Path) -> None:
    with pytest.raises(MissingData, match="a trained SRAT with several weights"):
        draw("srat_05", studies / "pair")
    with pytest.raises(MissingData, match="natural and adversarial training"):
        draw("srat_01", studies / "ratios")
