"""A first space file: valid for every data set and methods, with their own parameters."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from PIL import Image

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.sections.data import OWN_FILES
from ltat_tune.preflight.load import load_space
from ltat_tune.space.protocols import METHOD_STARTS
from ltat_tune.space.space import Space
from ltat_tune.space.template import (
    DATASETS,
    FirstQuestion,
    file_for,
    read_budget,
    read_data,
    read_methods,
    read_ratios,
    usual_answers,
    write_template,
)

SETS = [
    *itertools.combinations(METHOD_STARTS, 1),
    *itertools.combinations(METHOD_STARTS, 2),
    tuple(METHOD_STARTS),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, name in itertools.product(("train", "test"), ("cat", "dog", "owl")):
        (tmp_path / "my images" / split / name).mkdir(parents=True)
        for number in range(20 if name != "owl" else 10):
            file = tmp_path / "my images" / split / name / f"{number}.png"
            Image.new("RGB", (8, 8)).save(file)
    return tmp_path / "my images"


def _load(folder: Path, question: FirstQuestion) -> Space:
    file = folder / "first.yaml"
    file.write_text(write_template(question, file))
    return load_space(file, check_machine=False)


def test_it_knows_every_data_set_and_method_of_the_package() -> None:
    assert {*DATASETS, *OWN_FILES} == set(PARAMETERS["data.name"].choices)
    assert set(METHOD_STARTS) == set(PARAMETERS["method.name"].choices)


@pytest.mark.parametrize("data", DATASETS)
def test_every_file_is_valid(data: str, tmp_path: Path) -> None:
    for methods in SETS:
        space = _load(
            tmp_path, FirstQuestion(data, methods, read_ratios(usual_answers(data)["ratios"]))
        )
        chosen = space.tuned["method.name"].choices if len(methods) > 1 else ()
        assert chosen == methods or space.fixed["method.name"] == methods[0]
        assert [s.get("method.name", methods[0]) for s in space.start_from] == list(methods)
        assert "optim.lr" in space.tuned


def test_a_file_for_a_folder_is_valid(folder: Path, tmp_path: Path) -> None:
    space = _load(tmp_path, FirstQuestion(read_data(str(folder)), ("pgd_at", "srat"), (2.0,)))
    assert space.fixed["data.name"] == "image_folder"
    assert space.fixed["data.root"] == str(folder)
    assert space.fixed["data.val_per_class"] == 2  # a fifth of the smallest class
    assert space.fixed["evaluation.aa_images"] == 30
    assert file_for(str(folder)) == Path("my-images.yaml")
    assert load_space(tmp_path / "first.yaml").scenarios  # there is enough of every class here


def test_each_method_tunes_its_own(tmp_path: Path) -> None:
    space = _load(tmp_path, FirstQuestion("digits", ("pgd_at", "robal", "trades"), (10.0, 50.0)))
    assert space.objective.metric == "val/cw20_balanced_acc"  # RoBal's cosines flatter PGD
    assert space.tuned["loss.name"].when == {"method.name": ("pgd_at",)}
    assert space.tuned["method.beta"].when == {"method.name": ("robal", "trades")}
    assert [s.values["data.imbalance_ratio"] for s in space.scenarios] == [10, 50]
    alone = _load(tmp_path, FirstQuestion("cifar10", ("trades",), (50.0,), "40gpuh"))
    assert alone.objective.metric == "val/pgd20_balanced_acc"
    assert set(alone.tuned) == {"optim.lr", "loss.name", "method.beta"}
    assert not any(domain.when for domain in alone.tuned.values())
    assert str(alone.budget) == "40gpuh"


def test_the_file_says_what_it_asks_and_how_to_run_it() -> None:
    text = write_template(
        FirstQuestion("digits", ("pgd_at", "srat"), (10.0, 50.0)), Path("a/b.yaml")
    )
    first, second, *rest = text.splitlines()
    assert (
        first
        == "# Which of PGD-AT and SRAT is most robust on digits, at imbalance ratios 10 and 50?"
    )
    assert second == "#   ltat-tune run a/b.yaml"
    assert rest[-1] == "# Run it: ltat-tune run a/b.yaml"
    assert "# yaml-language-server: $schema=space.schema.json" in text


def test_the_usual_baseline_comes_first() -> None:
    assert read_methods("srat, pgd_at,reat") == ("pgd_at", "srat", "reat")


@pytest.mark.parametrize(
    ("read", "text", "problem"),
    [
        (read_data, "cifar", "must be one of digits, .*, got 'cifar'; did you mean cifar10?"),
        (read_data, ".", "data.root must hold train/ and test/"),
        (read_methods, "trade", "got 'trade'; did you mean trades?"),
        (read_methods, "srat,srat", "must be different methods out of natural"),
        (read_methods, "", "must be different methods out of natural"),
        (read_ratios, "10,0.02", "must be >= 1, got 0.02; did you mean 50?"),
        (read_ratios, "10,10", "must be different imbalance ratios such as 10,50"),
        (read_ratios, "a", "must be a number"),
        (read_budget, "6 days", "must be an amount above 0 and its unit"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(
    read: object, text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert callable(read)
    with pytest.raises(ValueError, match=problem.replace("?", r"\?")):
        read(text)
