"""The parameters as data: documented, found by other names, and with readable ranges."""

from __future__ import annotations

import pytest

from ltat_tune.config.parameters import PARAMETERS, nearest_parameter, unknown_parameter
from ltat_tune.config.trial_config import TrialConfig


@pytest.mark.parametrize("path", PARAMETERS)
def test_every_parameter_has_a_meaning_that_fits_into_a_sentence(path: str) -> None:
    meaning = PARAMETERS[path].meaning
    assert len(meaning) >= 5
    assert not meaning.endswith(".")


@pytest.mark.parametrize(
    "path",
    [p for p in PARAMETERS if p.partition(".")[0] in ("method", "loss", "reweight")
     and p != "method.tail_kl_max"]  # ours: the papers' formula has no bound
    + ["data.profile", "data.imbalance_ratio", "attack.eps", "attack.step_size", "attack.start",
       "attack.bn_mode", "optim.milestones", "seeds.subset_seed"],
)  # fmt: skip
def test_what_comes_from_a_paper_or_a_release_says_from_which(path: str) -> None:
    assert PARAMETERS[path].source


def test_no_two_parameters_of_a_section_share_a_symbol_or_another_name() -> None:
    for section in TrialConfig.model_fields:
        names = [
            name
            for p in PARAMETERS.values()
            if p.path.startswith(f"{section}.")
            for name in {*p.also, p.path.partition(".")[2], *p.symbol.split(", ")} - {""}
        ]
        assert len(names) == len(set(names)), section


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("reweight.beta", "[0, 1)"),
        ("optim.lr", "(0, 100]"),
        ("optim.warmup_epochs", "[0, inf)"),
        ("data.imbalance_ratio", "[1, 1000000]"),
        ("seeds.seed", "[0, 2147483648]"),
        ("optim.nesterov", "true | false"),
        (
            "method.name",
            "natural | pgd_at | srat | reat | robal | trades | mart | taet | dafa | faal | cfa | "
            "wat",
        ),
        ("data.root", "text"),
        ("optim.milestones", "list"),
        ("model.width", "[1, 512]"),
    ],
)
def test_ranges_are_written_for_people(path: str, text: str) -> None:
    assert PARAMETERS[path].range == text


def test_a_label_has_the_symbol_where_there_is_one() -> None:
    assert PARAMETERS["method.temperature"].label == "method.temperature (τ)"
    assert PARAMETERS["optim.epochs"].label == "optim.epochs"


def test_values_are_checked_one_by_one() -> None:
    assert PARAMETERS["attack.eps"].check("8/255") == (8 / 255, None)
    assert PARAMETERS["model.width"].check(None) == (None, None)
    assert PARAMETERS["model.width"].check(0) == (0, "must be >= 1, got 0")
    assert PARAMETERS["optim.lr"].check(None)[1] is not None
    assert PARAMETERS["optim.milestones"].check([0.5]) == ((0.5,), None)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("method.lamda", "method.separation_weight (λ)"),
        ("λ", "method.separation_weight (λ)"),
        ("UR", "data.imbalance_ratio (UR, K)"),
        ("data.imb_factor", "data.imbalance_ratio (UR, K)"),
        ("tau", "method.temperature (τ)"),
        ("beta", "method.beta (β)"),
        ("reweight.betta", "reweight.beta (β)"),
        ("learning_rate", "optim.lr (η)"),
        ("optim.LR", "optim.lr (η)"),
        ("train.epochs", "optim.epochs"),
        ("attack.num_steps", "attack.steps"),
        ("attack.alpha", "attack.step_size (α)"),
        ("rand_number", "seeds.subset_seed"),
        ("zebra.stripes", None),
        ("", None),
    ],
)
def test_the_parameter_that_was_meant_is_found(written: str, meant: str | None) -> None:
    assert nearest_parameter(written) == meant


@pytest.mark.parametrize("path", PARAMETERS)
def test_a_slip_of_the_finger_still_finds_the_parameter(path: str) -> None:
    assert nearest_parameter(f"{path}e") == PARAMETERS[path].label


def test_what_does_not_exist_is_told_with_a_remedy() -> None:
    assert (
        unknown_parameter("optim.lrr") == "unknown parameter optim.lrr; did you mean optim.lr (η)?"
    )
    assert (
        unknown_parameter("zebra")
        == "unknown parameter zebra; `ltat-tune params` lists all of them"
    )
    assert unknown_parameter("seeds") == (
        "seeds is a section, not a parameter; write a dotted path, one of: seeds.seed, "
        "seeds.subset_seed"
    )
