"""The small print: what it says of data, attack, images and seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.figures.captions import below, images_text, small_print
from ltat_tune.figures.sources import Recipe, common_split
from ltat_tune.figures.style import look, paper_figure
from ltat_tune.storage.trained_run import Run

_PAPERS: dict[str, Any] = {
    "data.name": "cifar10", "data.profile": "step", "data.imbalance_ratio": 100,
    "model.name": "resnet18",
}  # fmt: skip


def made(measured: list[str], **values: Any) -> Recipe:
    """One seed, measured as `test/clean` says."""
    flat = {**_PAPERS, **{path.replace("__", "."): value for path, value in values.items()}}
    run = Run(
        Path("x"), "trial", "study", "s", TrialConfig.from_flat(flat), None, 1, {},
        {name: [] for name in measured}, [500, 5], [], [],
    )  # fmt: skip
    return Recipe((run,))


def caption(recipes: list[Recipe], **options: Any) -> tuple[str, tuple[str, ...]]:
    with look():
        fig, _ = paper_figure(2)
        notes = small_print(fig, recipes, **options)
    text = fig.get_supxlabel()
    return " ".join(text.replace("\N{NO-BREAK SPACE}", " ").split()), notes


TESTED = ["val/clean", "val/pgd20", "test/clean", "test/pgd20"]


def test_as_in_the_paper_there_is_nothing_to_note() -> None:
    text, notes = caption([made(TESTED)], paper="CIFAR-10 Step-100")
    assert text == ("CIFAR-10 Step-100; ResNet-18; PGD-20, L∞, ε = 8/255; test images; one seed")
    assert notes == ()


def test_a_ratio_that_the_counts_miss_is_said_and_is_no_other_problem() -> None:
    recipe = made(TESTED)
    object.__setattr__(recipe.first, "samples_per_class", [480, 4])
    text, notes = caption([recipe], paper="CIFAR-10 Step-100")
    assert text.startswith("CIFAR-10 Step-100 (120 reached); ResNet-18; ")
    assert notes == ()
    _, other = caption([recipe], paper="CIFAR-10 Step-10")
    assert other == ("CIFAR-10 Step-100 (120 reached), not the paper's CIFAR-10 Step-10",)


def test_what_is_not_as_in_the_paper_is_below_the_figure_and_in_the_notes() -> None:
    recipe = made(["val/clean", "val/pgd10"], data__name="digits", model__name="small_cnn",
                  evaluation__val_attack="pgd10", evaluation__eps=0.1)  # fmt: skip
    text, notes = caption([recipe], paper="CIFAR-10 Step-100")
    assert notes == (
        "digits Step-100, not the paper's CIFAR-10 Step-100",
        "small CNN, not the paper's ResNet-18",
        "PGD-10, L∞, ε = 0.1, not the paper's PGD-20, ε = 8/255",
        "validation images, not the paper's test images",
    )
    assert text == "; ".join((*notes, "one seed"))


def test_of_many_attacks_and_of_training_attacks_only_the_difference_is_told() -> None:
    options = {"paper": "CIFAR-10 Step-100", "images": "", "seeds": "seed 0"}
    recipes = [made(TESTED)]
    assert caption(recipes, attack="L∞, ε = 8/255", **options)[1] == ()
    (note,) = caption(recipes, attack="L2, ε = 1", **options)[1]
    assert note == "L2, ε = 1, not the paper's L∞, ε = 8/255"
    (note,) = caption(recipes, attack="training attack PGD-3, L∞, ε = 8/255", **options)[1]
    assert note == "training attack PGD-3, L∞, ε = 8/255, not the paper's PGD-10"


def test_a_figure_of_no_paper_has_nothing_to_be_compared_with() -> None:
    text, notes = caption([made(["val/clean", "val/pgd20"], data__name="digits")])
    assert text == "digits Step-100; PGD-20, L∞, ε = 8/255; validation images; one seed"
    assert notes == ()


def test_the_papers_protocol_is_named_and_is_no_difference() -> None:
    text, notes = caption([made(TESTED, data__val_source="test")], paper="CIFAR-10 Step-100")
    assert "; test images (also used for validation); " in text
    assert notes == ()


def test_models_are_compared_on_the_images_that_all_of_them_saw() -> None:
    tested, not_tested = made(TESTED), made(TESTED[:2])
    assert common_split([tested], "pgd20") == "test"
    assert common_split([tested, not_tested], "pgd20") == "val"
    assert images_text([tested, not_tested], ("clean", "pgd20")) == "validation images"


def test_an_attack_that_was_not_tested_is_on_other_images_and_that_is_said() -> None:
    recipe = made(["val/clean", "val/pgd20", "test/clean", "test/aa"])
    assert images_text([recipe], ("clean", "pgd20")) == (
        "clean: test images, PGD-20: validation images"
    )


def test_the_number_of_seeds_is_said() -> None:
    run = made(TESTED).first
    other = replace(run, config=run.config.replace({"seeds.seed": 1}))
    text, _ = caption([Recipe((run, other))])
    assert text.endswith("; mean ± standard deviation of 2 seeds")


@pytest.mark.parametrize("words", [12, 30, 31, 32, 33, 34, 60])
def test_no_line_is_a_single_word_and_none_is_wider_than_the_paper(words: int) -> None:
    with look():
        fig, _ = paper_figure(2)
        below(fig, ["word"] * words)
        lines = fig.get_supxlabel().splitlines()
        assert " ".join(lines).count("word") == words
        assert all(len(line) > 10 for line in lines)
        fig.canvas.draw()
        (label,) = (text for text in fig.texts if text.get_text() == fig.get_supxlabel())
        box = label.get_window_extent()
    assert box.width < fig.get_figwidth() * fig.dpi
