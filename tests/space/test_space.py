"""Spaces: scenarios and their names, contexts, and what Optuna is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.space.domains import Domain
from ltat_tune.space.space import Scenario, name_scenarios, text_of
from tests.spaces import space_of

TREE = """\
fixed: {optim.epochs: 30, attack.eps: 4/255}
scenarios:
  data.profile: [exp, step]
  data.imbalance_ratio: [10, 50]
tuned:
  reweight.beta: {type: categorical, choices: [0.9, 0.99], when: {reweight.name: class_balanced}}
  reweight.name: {type: categorical, choices: [none, class_balanced], when: {method.name: srat}}
  method.name: {type: categorical, choices: [pgd_at, srat]}
  optim.warmup_epochs: {type: int, low: 0, high: 5}
"""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (50.0, "50"),
        (8 / 255, "0.0313725"),
        (True, "true"),
        (None, "null"),
        (("cat", "dog"), "cat, dog"),
        ("step", "step"),
    ],
)
def test_values_are_shown_as_people_write_them(value: Any, text: str) -> None:
    assert text_of(value) == text


# -- scenarios ----------------------------------------------------------------------------------


def test_without_axes_there_is_one_scenario() -> None:
    (scenario,) = name_scenarios({}, {})
    assert (scenario.name, scenario.title) == ("default", "the default scenario")


def test_axes_are_crossed_and_named_by_the_last_words_of_their_paths(tmp_path: Path) -> None:
    space = space_of(tmp_path, TREE)
    assert [s.name for s in space.scenarios] == [
        "profile_exp-imbalance_ratio_10",
        "profile_exp-imbalance_ratio_50",
        "profile_step-imbalance_ratio_10",
        "profile_step-imbalance_ratio_50",
    ]
    assert space.scenarios[1].title == "data.profile = exp, data.imbalance_ratio = 50"
    assert space.scenario("profile_step-imbalance_ratio_10") is space.scenarios[2]


def test_the_ratio_that_the_images_reach_stands_in_the_title_before_any_is_read(
    tmp_path: Path,
) -> None:
    """CIFAR-100 holds out 20 of 500 images: 480 / 50 = 9.6 keeps 9, and 480 / 9 = 53.33."""
    text = TREE.replace("attack.eps: 4/255", "attack.eps: 4/255, data.name: cifar100")
    space = space_of(tmp_path, text)
    assert [s.title for s in space.scenarios] == [
        "data.profile = exp, data.imbalance_ratio = 10",
        "data.profile = exp, data.imbalance_ratio = 50 (53.33 reached)",
        "data.profile = step, data.imbalance_ratio = 10",
        "data.profile = step, data.imbalance_ratio = 50 (53.33 reached)",
    ]
    assert space.scenarios[1].name == "profile_exp-imbalance_ratio_50"


def test_a_recorded_count_needs_no_images(tmp_path: Path) -> None:
    scenario = Scenario(
        "x", {"data.imbalance_ratio": 50},
        {"data.name": "image_folder", "data.root": str(tmp_path / "gone")},
    )  # fmt: skip
    assert scenario.title == "data.imbalance_ratio = 50"
    assert scenario.counted([480, 9]).title == "data.imbalance_ratio = 50 (53.33 reached)"
    assert scenario.counted([]).title == "data.imbalance_ratio = 50"


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("attack.eps", [0.1, 0.1 + 1e-9]),
        ("data.root", ["a b", "a_b", "a/b"]),
        ("data.root", ["x" * 300, "x" * 300 + "y"]),
    ],
    ids=["close", "alike", "long"],
)
def test_every_scenario_has_a_folder_name_of_its_own(path: str, values: list[Any]) -> None:
    names = [s.name for s in name_scenarios({path: values}, {})]
    assert len(set(names)) == len(values)
    assert all("/" not in name and " " not in name and len(name) < 120 for name in names)


# -- configurations -----------------------------------------------------------------------------


def test_a_configuration_is_defaults_then_fixed_scenario_and_proposal(tmp_path: Path) -> None:
    space = space_of(tmp_path, TREE)
    config = space.config(space.scenarios[3], {"method.name": "srat"}, **{"seeds.seed": 7})
    assert config == TrialConfig.from_flat(
        {
            "optim.epochs": 30,
            "attack.eps": 4 / 255,
            "data.profile": "step",
            "data.imbalance_ratio": 50,
            "method.name": "srat",
            "seeds.seed": 7,
        }
    )


def test_the_epochs_are_those_of_either_place(tmp_path: Path) -> None:
    assert space_of(tmp_path, TREE).max_epochs == 30
    text = TREE.replace("optim.epochs: 30, ", "") + "scheduler: {max_epochs: 40}\n"
    assert space_of(tmp_path, text).max_epochs == 40


def test_one_scenario_that_validates_on_test_images_marks_the_study(tmp_path: Path) -> None:
    assert not space_of(tmp_path, TREE).selected_on_test
    text = TREE.replace("data.profile: [exp, step]", "data.val_source: [train, test]")
    assert space_of(tmp_path, text).selected_on_test


def test_contexts_are_all_choices_that_can_meet_with_ranges_at_their_upper_end(
    tmp_path: Path,
) -> None:
    contexts = space_of(tmp_path, TREE).contexts()
    srat: dict[str, Any] = {"method.name": "srat", "optim.warmup_epochs": 5}
    assert contexts == [
        {"method.name": "pgd_at", "optim.warmup_epochs": 5},
        {**srat, "reweight.name": "none"},
        {**srat, "reweight.name": "class_balanced", "reweight.beta": 0.9},
        {**srat, "reweight.name": "class_balanced", "reweight.beta": 0.99},
    ]
    assert all(type(context["optim.warmup_epochs"]) is int for context in contexts)


def test_contexts_end_at_their_limit_with_every_choice_among_them(tmp_path: Path) -> None:
    binary = {p: Domain(p, "categorical", choices=(1, 2)) for p in "abcdefghijklmn"}
    space = replace(space_of(tmp_path, TREE), tuned=binary)  # 2 ** 14 contexts
    contexts = space.contexts(limit=64)
    assert len(contexts) == 64
    assert contexts == space.contexts(limit=64)
    assert all({context[p] for context in contexts} == {1, 2} for p in binary)


# -- proposals ----------------------------------------------------------------------------------


def test_parents_are_asked_first_wherever_they_stand_in_the_file(tmp_path: Path) -> None:
    space = space_of(tmp_path, TREE)
    fixed = {"method.name": "srat", "reweight.name": "class_balanced", "reweight.beta": 0.99}
    trial = optuna.trial.FixedTrial({**fixed, "optim.warmup_epochs": 2})
    assert list(space.suggest(trial)) == [  # type: ignore[arg-type]
        "method.name",
        "optim.warmup_epochs",
        "reweight.name",
        "reweight.beta",
    ]


def test_what_does_not_exist_is_not_asked(tmp_path: Path) -> None:
    trial = optuna.trial.FixedTrial({"method.name": "pgd_at", "optim.warmup_epochs": 2})
    params = space_of(tmp_path, TREE).suggest(trial)  # type: ignore[arg-type]
    assert params == {"method.name": "pgd_at", "optim.warmup_epochs": 2}


def test_random_proposals_meet_every_context(tmp_path: Path) -> None:
    space = space_of(tmp_path, TREE)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    proposed = [space.suggest(study.ask()) for _ in range(60)]
    categorical = {
        tuple((p, v) for p, v in params.items() if p != "optim.warmup_epochs")
        for params in proposed
    }
    assert len(categorical) == len(space.contexts())


def test_a_scenario_without_values_has_a_title() -> None:
    assert Scenario("x", {}).title == "the x scenario"
