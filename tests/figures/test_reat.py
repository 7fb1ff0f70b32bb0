"""REAT's figures on real tiny trainings: what is drawn is what the study's files say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
import yaml
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from numpy.typing import NDArray

from ltat_tune.errors import MissingData
from ltat_tune.figures.reat.specs import REAT_FIGURES
from ltat_tune.figures.save import save
from ltat_tune.figures.sources import Sources, read_sources
from ltat_tune.figures.spec import Drawing
from ltat_tune.figures.style import look
from tests.figures.reat_studies import trained_once
from tests.figures.tiny_studies import overlaps


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_once(tmp_path_factory)


@pytest.fixture(scope="module")
def sources(study: Path) -> Iterator[Sources]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield read_sources([study], images=60)
    torch.set_num_threads(threads)


def draw(key: str, sources: Sources) -> Drawing:
    function = REAT_FIGURES[key].draw
    assert function is not None
    with look():
        return function(sources)


def result(study: Path, seed: int = 0, **values: str) -> dict[str, Any]:
    """result.json of the confirmation with these values, and its test.json under `test`."""
    for path in sorted(study.glob(f"confirmations/*/*-seed{seed}")):
        config = yaml.safe_load((path / "config.yaml").read_text())["config"]
        wanted = {tuple(name.split("__")): value for name, value in values.items()}
        if all(config[section][name] == value for (section, name), value in wanted.items()):
            found: dict[str, Any] = json.loads((path / "result.json").read_text())
            return {**found, "test": json.loads((path / "test.json").read_text())}
    raise AssertionError(values)


def heights(axes: Axes) -> list[list[float]]:
    """Heights of the bars, one list for each series."""
    return [
        [bar.get_height() for bar in series.patches]
        for series in axes.containers
        if isinstance(series, BarContainer)
    ]


def shares(counts: list[int]) -> NDArray[np.float64]:
    return 100 * np.array(counts) / sum(counts)


@pytest.mark.parametrize("key", REAT_FIGURES)
def test_every_figure_is_drawn_saved_and_nothing_overlaps(
    key: str, sources: Sources, tmp_path: Path
) -> None:
    before = dict(matplotlib.rcParams)
    drawing = draw(key, sources)
    pdf, png = save(drawing.figure, tmp_path, key)
    assert dict(matplotlib.rcParams) == before
    assert b"/Type3" not in pdf.read_bytes()
    assert matplotlib.image.imread(png)[..., :3].std() > 0.02
    assert overlaps(drawing.figure) == []
    small = " ".join(drawing.figure.get_supxlabel().split())
    assert "small CNN, not the paper's ResNet-18" in small
    assert "digits-LT (UR=4), not the paper's CIFAR-10" in small or key == "reat_table_14"
    assert "ε = 8/255" in small and "seed" in small


@pytest.mark.parametrize(
    ("key", "panels"),
    [
        ("reat_01", [("pgd_at", "balanced"), ("pgd_at", "exp")]),
        ("reat_05", [("robal", "exp"), ("reat", "exp")]),
        ("reat_11", [("robal", "exp"), ("reat", "exp")]),
    ],
)
def test_predictions_of_every_epoch_over_the_labels(
    key: str, panels: list[tuple[str, str]], study: Path, sources: Sources
) -> None:
    axes = draw(key, sources).figure.axes
    for panel, (method, profile) in zip(axes, panels, strict=False):
        kept = result(study, method__name=method, data__profile=profile)
        assert heights(panel)[0] == pytest.approx(shares(kept["samples_per_class"]))
        *epochs, mean = [np.asarray(line.get_ydata()) for line in panel.lines]
        assert len(epochs) == len(kept["predicted"]) == 3
        for drawn, counts in zip(epochs, kept["predicted"], strict=True):
            np.testing.assert_allclose(drawn, shares(counts))
        expected = np.mean([shares(counts) for counts in kept["predicted"]], axis=0)
        np.testing.assert_allclose(mean, expected)


def test_epochs_of_figure_6_lie_as_far_into_the_training_as_10_30_and_60_of_80(
    study: Path, sources: Sources
) -> None:
    axes = draw("reat_06", sources).figure.axes
    # 3 epochs: 3/8 -> the first, 9/8 -> the first again, 18/8 -> the second
    assert [panel.get_title() for panel in axes] == ["(a) epoch 1", "(b) epoch 2"]
    robal, reat = (result(study, method__name=name) for name in ("robal", "reat"))
    labels, first, second = heights(axes[1])
    assert labels == pytest.approx(shares(reat["samples_per_class"]))
    assert first == pytest.approx(shares(robal["predicted"][1]))
    assert second == pytest.approx(shares(reat["predicted"][1]))


def test_distances_are_means_over_the_classes_of_a_group(study: Path, sources: Sources) -> None:
    axes = draw("reat_03", sources).figure.axes
    kept = result(study, method__name="reat")["ae_distances"]
    # counts fall with the index, 10 classes: head 0-2, body 3-5, tail 6-9 (ceil(20/3) = 7, from 1)
    for panel, members in zip(axes, (range(3), range(3, 6), range(6, 10)), strict=True):
        with_rbl = panel.lines[1]
        assert with_rbl.get_label() == "with RBL"
        assert np.asarray(with_rbl.get_xdata()).tolist() == [2, 3]
        expected = [np.mean([kept[epoch][c] for c in members]) for epoch in (1, 2)]
        np.testing.assert_allclose(np.asarray(with_rbl.get_ydata()), expected)


@pytest.mark.parametrize(("key", "index"), [("reat_04", 1), ("reat_09", 0)])
def test_bars_by_class_are_means_of_the_seeds(
    key: str, index: int, study: Path, sources: Sources
) -> None:
    drawn = iter(heights(draw(key, sources).figure.axes[index]))
    for method in ("robal", "reat"):
        tests = [result(study, seed, method__name=method)["test"] for seed in (0, 1)]
        for attack in ("clean", "pgd2"):
            rows = [found["per_class"][f"test/{attack}"] for found in tests]
            assert next(drawn) == pytest.approx(100 * np.mean(rows, axis=0))


def test_curve_over_steps_begins_at_the_clean_accuracy(study: Path) -> None:
    sources = read_sources([study], images=400)  # all of the test images
    line = draw("reat_08", sources).figure.axes[0].lines[1]
    curve = np.asarray(line.get_ydata())
    assert line.get_label() == "REAT"
    assert len(curve) == 101
    assert curve[-1] < curve[1]


def test_areas_of_figure_2_are_by_what_the_model_says(sources: Sources) -> None:
    for panel in draw("reat_02", sources).figure.axes:
        shown = [int(word) for word in panel.get_xlabel().split() if word.isdigit()]
        assert len(shown) == 3
        assert sum(shown) == pytest.approx(100, abs=2)  # rounded


@pytest.mark.parametrize(("key", "panels"), [("reat_07", 2), ("reat_10", 4)])
def test_points_are_the_test_images_of_every_class(
    key: str, panels: int, sources: Sources
) -> None:
    axes = draw(key, sources).figure.axes
    assert len(axes) == panels
    for panel in axes:
        points = [np.asarray(found.get_offsets()) for found in panel.collections]
        assert [len(part) for part in points] == [6] * 10  # 60 images of 10 classes
        assert panel.get_xlabel().startswith("accuracy under PGD-20: ")


def test_time_is_the_median_over_epochs_and_seeds_without_the_first_epoch(
    sources: Sources,
) -> None:
    from ltat_tune.training.checkpoint import read_history

    drawn = heights(draw("reat_table_14", sources).figure.axes[0])
    runs = [run for run in sources.runs if run.kind == "confirmation"]
    for series, method in zip(drawn[1:], ("robal", "reat"), strict=True):
        seconds = [
            past[2]
            for run in runs
            if run.config.method.name == method
            for past in read_history(run.path / "checkpoint.pt")[1:]
        ]
        assert series == pytest.approx([np.median(seconds)])


def test_a_lacking_rival_is_a_note_and_no_model_at_all_is_missing(sources: Sources) -> None:
    reat = Sources(tuple(r for r in sources.runs if r.config.method.name == "reat"))
    assert "without RoBal" in draw("reat_05", reat).notes
    none = Sources(tuple(r for r in sources.runs if r.config.method.name == "pgd_at"))
    with pytest.raises(MissingData, match=r"^a trained RoBal or REAT$"):
        draw("reat_05", none)


def test_a_lacking_record_is_named(sources: Sources) -> None:
    from dataclasses import replace

    without = Sources(tuple(replace(run, ae_distances=[]) for run in sources.runs))
    with pytest.raises(MissingData, match="distances by epoch .evaluation.ae_distance_images"):
        draw("reat_03", without)


def test_the_papers_own_data_win_and_others_are_said(sources: Sources) -> None:
    assert "digits-LT (UR=4), not the paper's CIFAR-100-LT (UR=10)" in (
        draw("reat_11", sources).notes
    )
