"""`TrialConfig`: strict, frozen, and named by what acts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from ltat_tune.config.effects import why_inert
from ltat_tune.config.parameters import PARAMETERS, Parameter
from ltat_tune.config.sections import OptimConfig
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import ConfigError

# Together they let every parameter act; data.root is given everywhere, so that each may become
# an image folder.
ROOT = {"data.root": "images"}
CONTEXTS: list[dict[str, Any]] = [
    ROOT,
    {**ROOT, "compute.precision": "bf16", "compute.float32": "tf32"},
    {**ROOT, "data.name": "image_folder", "data.augmentation": "crop"},
    {**ROOT, "data.name": "npz", "data.indices": {"train": "a.npy"}},
    {
        **ROOT,
        "optim.ema_epochs": 2.0,
        "optim.ema_keep": "better",
        "optim.ema_statistics": "adversarial",
        "attack.start_radius": 2,
        "attack.projection": False,
    },
    {**ROOT, "script.definition": {"command": "run", "checkpoint": "a.pt", "metrics": "(?P<a>.)"}},
    {**ROOT, "method.name": "natural", "model.name": "resnet18"},
    {**ROOT, "method.name": "srat", "reweight.name": "class_balanced", "evaluation.eps": 0.1},
    {**ROOT, "method.name": "srat", "method.separation_weight": 0.0},
    {**ROOT, "model.name": "torchvision/resnet50", "model.features": "fc"},
    {**ROOT, "model.init": "other.pt@fedcba9876543210"},
    {**ROOT, "loss.name": "focal", "reweight.name": "under_represented"},
    {**ROOT, "loss.name": "ldam", "reweight.name": "inverse", "reweight.schedule": "immediate"},
    {**ROOT, "loss.name": "balanced_softmax", "data.imbalance_ratio": 1.0},
    {**ROOT, "loss.name": "balanced_softmax", "data.profile": "full"},
    {**ROOT, "data.profile": "balanced", "data.val_source": "test", "attack.steps": 0},
    {**ROOT, "optim.lr_schedule": "cosine", "optim.momentum": 0.0},
    {**ROOT, "optim.lr_schedule": "piecewise", "data.profile": "given", "data.counts": [5, 3]},
    {**ROOT, "optim.lr_schedule": "step", "data.policy": "randaugment"},
    {**ROOT, "method.name": "reat", "attack.bn_mode": "batch", "method.awp_gamma": 0.01},
    {**ROOT, "method.name": "reat", "method.tail_variant": "released"},
    {**ROOT, "method.name": "robal"},
    {**ROOT, "method.name": "trades", "loss.name": "effective_number"},
    {**ROOT, "method.name": "taet", "optim.epochs": 100},
    {**ROOT, "method.name": "taet", "method.clean_fraction": 1.0},
    {**ROOT, "method.name": "dafa"},
    {**ROOT, "method.name": "faal"},
    {**ROOT, "method.name": "cfa", "method.fawa_span": 0.1},
    {**ROOT, "method.name": "wat"},
    {**ROOT, "method.teacher": "other.pt@fedcba9876543210"},
    {**ROOT, "attack.reweight": "class_balanced", "attack.bn_mode": "train"},
]
SCRIPT = {"command": "run --lr {optim.lr}", "checkpoint": "a.pt", "metrics": "acc (?P<acc>.+)"}
# numbers that some method of CONTEXTS refuses
REFUSED = {
    "attack.class_budget",
    "attack.class_budget_warmup",
    "optim.ema_decay",
    "optim.ema_epochs",
}
OTHER_TEXT = {
    "model.features": "layer4",
    "model.init": "start.pt@0123456789abcdef",
    "method.teacher": "start.pt@0123456789abcdef",
    "data.counts": [9, 4],
    "data.indices": {"train": "b.npy"},
    "script.definition": SCRIPT,
    "optim.lr_factors": [0.5, 0.25],
    "data.root": "other",
    "data.classes": ["0", "1"],
    "optim.milestones": [0.5, 0.6],
    "evaluation.val_attack": "clean",
}


def _changed(config: TrialConfig, parameter: Parameter) -> TrialConfig | None:
    """The configuration with another value of this parameter; None if none is allowed beside the
    others."""
    value = config.get(parameter.path)
    others: list[Any] = [c for c in reversed(parameter.choices) if c != value]
    for other in others if parameter.kind == "choice" else [_another(parameter, value)]:
        try:
            return config.replace({parameter.path: other})
        except ConfigError:
            assert parameter.kind == "choice" or parameter.path in REFUSED
    return None


def _another(parameter: Parameter, value: Any) -> Any:
    """A value of this parameter that differs from `value`."""
    if parameter.kind == "bool":
        return not value
    if parameter.kind in ("text", "list", "mapping"):
        return OTHER_TEXT[parameter.path]
    candidates: list[Any] = [parameter.low, parameter.high, value, 0.5, 4]
    steps = [0, 1, 2, 0.25, -0.25] if parameter.kind == "float" else [0, 1, 2]
    for candidate in [c + s for c in candidates if c is not None for s in steps]:
        held, broken = parameter.check(candidate)
        if broken is None and held != value:
            return held
    raise AssertionError(f"no other value for {parameter.path}")


# -- checks -------------------------------------------------------------------------------------


def test_defaults_are_valid_and_equal_what_the_parameters_say() -> None:
    flat = TrialConfig().flat()
    assert list(flat) == list(PARAMETERS)
    for path, parameter in PARAMETERS.items():
        held, broken = parameter.check(parameter.default)
        assert broken is None
        assert held == TrialConfig().get(path)


def test_a_configuration_is_frozen() -> None:
    config = TrialConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.optim.lr = 1.0  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        config.optim = OptimConfig()  # type: ignore[misc]


def test_flat_and_from_flat_are_inverse() -> None:
    config = TrialConfig.from_flat({"method.name": "srat", "attack.eps": "8/255"})
    assert config.attack.eps == 8 / 255
    assert TrialConfig.from_flat(config.flat()) == config
    assert config.get("method.name") == "srat"


def test_replace_leaves_the_original_and_checks_the_copy() -> None:
    config = TrialConfig()
    assert config.replace({"optim.lr": 0.3}).optim.lr == 0.3
    assert config.optim.lr == 0.1
    with pytest.raises(ConfigError, match="^optim.lr must be > 0, got 0$"):
        config.replace({"optim.lr": 0})


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        TrialConfig.from_flat(
            {
                "data.imbalance_ratio": 0.02,
                "method.name": "trade",
                "method.lamda": 2,
                "loss.gamma": "1e-3",
                "reweight.beta": 1,
                "optim.lr": True,
                "optim.nesterov": "yes",
                "optim.epochs": 2.5,
                "zebra.stripes": 3,
            }
        )
    assert caught.value.problems == [
        "data.imbalance_ratio is n_max / n_min and must be >= 1, got 0.02; did you mean 50?",
        "method.name must be one of natural, pgd_at, srat, reat, robal, trades, mart, taet, dafa, "
        "faal, cfa, wat, got 'trade'; did you mean trades?",
        "unknown parameter method.lamda; did you mean method.separation_weight (λ)?",
        "loss.gamma must be a number, but YAML 1.1 reads 1e-3 as text; write 1.0e-3",
        "reweight.beta must be < 1, got 1",
        "optim.epochs must be a whole number, got 2.5",
        "optim.lr must be a number, got true",
        "optim.nesterov must be true or false, got 'yes'",
        "unknown parameter zebra; `ltat-tune params` lists all of them",
    ]


def test_problems_between_parameters_are_told_at_once_too() -> None:
    with pytest.raises(ConfigError) as caught:
        TrialConfig.from_flat(
            {
                "data.name": "image_folder",
                "data.classes": ["cat", "cat"],
                "optim.epochs": 3,
                "optim.warmup_epochs": 3,
            }
        )
    assert caught.value.problems == [
        "data.root must name the folder when data.name is image_folder",
        "data.classes must be two or more different names, got ['cat', 'cat']",
        "optim.warmup_epochs must be below optim.epochs (3), got 3",
    ]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (3, "must be a mapping of its parameters, got 3"),
        (None, "must be a mapping of its parameters, got null"),
        ({"loss": [1]}, "loss must be a mapping of its parameters, got [1]"),
    ],
)
def test_sections_must_be_mappings(values: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrialConfig.from_nested(values)
    assert caught.value.problems == [problem]


@pytest.mark.parametrize("milestones", [[0.9, 0.5], [0.5, 0.5], [0, 0.5], [0.5, 1]])
def test_milestones_must_rise_inside_the_run(milestones: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"^optim.milestones must rise strictly inside \(0, 1\)"):
        TrialConfig.from_flat({"optim.milestones": milestones})


@pytest.mark.parametrize("attack", ["aa", "pgd", "pgd0", "pgd-1", "PGD20", "cw0", "clean "])
def test_only_clean_pgd_and_cw_validate(attack: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrialConfig.from_flat({"evaluation.val_attack": attack})
    problem = f"evaluation.val_attack must be clean, pgd<steps> or cw<steps>, got {attack!r}"
    assert caught.value.problems == [problem]


@pytest.mark.parametrize("path", PARAMETERS)
@pytest.mark.parametrize("value", [float("nan"), object(), {"a": 1}, 10**400], ids=range(4))
def test_no_parameter_takes_what_it_cannot_hold(path: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        TrialConfig.from_flat({path: value})
    assert all(problem.startswith(f"{path} must be ") for problem in caught.value.problems)


@pytest.mark.parametrize("path", [p for p, q in PARAMETERS.items() if q.kind != "bool"])
def test_true_is_no_number_and_no_name(path: str) -> None:
    with pytest.raises(ConfigError, match=f"^{path} must be .*, got true$"):
        TrialConfig.from_flat({path: True})


# -- defaults of a method -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"method.name": "reat"}, {"loss.name": "balanced_softmax", "attack.reweight": "rbl"}),
        (
            {"method.name": "robal"},
            {"loss.name": "robal", "model.head": "cosine", "model.head_scale": 1.0,
             "loss.scale": 10.0, "loss.tau": 1.5},
        ),
        ({"method.name": "trades"}, {"attack.objective": "kl", "attack.start": "gaussian"}),
        ({"method.name": "mart"}, {"method.beta": 5.0, "attack.start": "gaussian"}),
        (
            {"method.name": "srat"},
            {"reweight.name": "class_balanced", "attack.start": "uniform_clipped"},
        ),
        ({"attack.norm": "l2"}, {"attack.eps": 1.0, "attack.step_size": 0.2}),
        ({"method.name": "pgd_at"}, {"loss.name": "cross_entropy", "attack.reweight": "none"}),
        ({"method.name": "reat", "loss.name": "focal"}, {"loss.name": "focal"}),
        ({"loss.name": "robal", "model.head": "cosine"}, {"loss.scale": 10.0}),
        ({"data.name": "cifar100"}, {"data.val_per_class": 20}),
        ({"data.name": "tiny_imagenet"}, {"data.val_per_class": 10}),
        ({"data.name": "svhn"}, {"data.val_per_class": 100}),
        ({"data.name": "cifar100", "data.val_per_class": 100}, {"data.val_per_class": 100}),
    ],
)  # fmt: skip
def test_what_is_left_out_takes_the_methods_default(
    values: dict[str, Any], expected: dict[str, Any]
) -> None:
    config = TrialConfig.from_flat(values)
    assert {path: config.get(path) for path in expected} == expected
    built = TrialConfig(method=config.method, loss=config.loss, model=config.model)
    assert built.loss == config.loss


def test_every_other_default_names_a_parameter_and_values_that_exist() -> None:
    for parameter in PARAMETERS.values():
        for path, values, default in parameter.instead:
            assert set(values) <= set(PARAMETERS[path].choices)
            assert parameter.check(default) == (default, None)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"loss.name": "robal", "model.head": "linear"}, ("loss.name", "model.head")),
        ({"method.name": "robal", "model.head": "linear"}, ("method.name", "model.head")),
        ({"loss.name": "effective_number", "reweight.name": "inverse"},
         ("loss.name", "reweight.name")),
        ({"method.name": "taet", "loss.name": "focal"}, ("method.name", "loss.name")),
        ({"method.name": "taet", "reweight.name": "inverse"}, ("method.name", "reweight.name")),
        ({"method.name": "dafa", "method.base": "mart"}, ("method.name", "method.base")),
        ({"method.name": "cfa", "method.base": "mart"}, ("method.name", "method.base")),
        ({"method.name": "srat", "method.base": "trades"}, ("method.name", "method.base")),
        ({"method.name": "wat", "method.base": "trades"}, ("method.name", "method.base")),
        ({"method.name": "faal", "reweight.name": "inverse"}, ("method.name", "reweight.name")),
        ({"method.name": "faal", "loss.name": "effective_number"}, ("method.name", "loss.name")),
        ({"method.name": "dafa", "attack.class_budget": 0.3},
         ("method.name", "attack.class_budget")),
        ({"method.name": "cfa", "attack.class_budget_warmup": 0.3},
         ("method.name", "attack.class_budget_warmup")),
        ({"method.name": "cfa", "method.fawa_span": 0.1, "optim.ema_decay": 0.9},
         ("method.fawa_span", "optim.ema_decay")),
        ({"attack.reweight": "balanced_softmax", "attack.objective": "kl"},
         ("attack.reweight", "attack.objective")),
        ({"attack.eps": 8}, ("attack.eps", "linf")),
        ({"evaluation.norm": "l2"}, ("evaluation.norm", "evaluation.eps")),
        ({"evaluation.step_size": 2}, ("evaluation.step_size", "linf")),
        ({"evaluation.every_epochs": None, "evaluation.select_epoch": "best"},
         ("evaluation.every_epochs", "evaluation.select_epoch best")),
        ({"evaluation.every_epochs": None, "evaluation.select_epoch": "best_late"},
         ("evaluation.every_epochs", "evaluation.select_epoch best_late")),
        ({"data.profile": "given"}, ("data.counts", "data.profile")),
        ({"data.val_source": "folder"}, ("data.val_source", "data.name")),
        ({"optim.lr_schedule": "piecewise", "optim.lr_factors": [0.1]},
         ("optim.lr_factors", "optim.milestones")),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_with_both_names(
    values: dict[str, Any], named: tuple[str, str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        TrialConfig.from_flat(values)
    assert any(all(name in problem for name in named) for problem in caught.value.problems)


# -- identity -----------------------------------------------------------------------------------


def test_radius_and_norm_of_the_evaluation_come_before_those_of_the_training() -> None:
    config = TrialConfig.from_flat({"attack.eps": 0.1})
    assert (config.measured_eps, config.measured_norm) == (0.1, "linf")
    config = config.replace({"evaluation.eps": 0.5, "evaluation.norm": "l2"})
    assert (config.measured_eps, config.measured_norm) == (0.5, "l2")
    assert config.replace({"evaluation.eps": 0.0}).measured_eps == 0.0


def test_the_identity_is_8_hex_digits_and_repeatable() -> None:
    config = TrialConfig()
    assert re.fullmatch("[0-9a-f]{8}", config.identity)
    assert config.identity == TrialConfig.from_flat(config.flat()).identity
    assert re.fullmatch("[0-9a-f]{8}", config.recipe)


@pytest.mark.parametrize("context", CONTEXTS, ids=range(len(CONTEXTS)))
def test_the_identity_changes_with_all_that_acts_and_with_nothing_else(
    context: dict[str, Any],
) -> None:
    config = TrialConfig.from_flat(context)
    for path, parameter in PARAMETERS.items():
        changed = _changed(config, parameter)
        if changed is None:
            continue
        assert changed.flat()[path] != config.flat()[path]
        acts = why_inert(config, path) is None or why_inert(changed, path) is None
        assert (changed.identity != config.identity) == acts, path


def test_every_parameter_acts_in_some_context() -> None:
    configs = [TrialConfig.from_flat(context) for context in CONTEXTS]
    idle = [p for p in PARAMETERS if all(why_inert(c, p) is not None for c in configs)]
    # the same kernels, launched otherwise; the same sums, in another order
    assert idle == ["compute.graphs", "compute.deterministic"]


def test_the_recipe_ignores_the_seed_but_not_the_subset() -> None:
    config = TrialConfig()
    seeded, cut = config.replace({"seeds.seed": 1}), config.replace({"seeds.subset_seed": 1})
    assert config.identity != seeded.identity
    assert config.recipe == seeded.recipe
    assert config.recipe != cut.recipe


def test_written_in_another_way_it_is_the_same_configuration() -> None:
    one = TrialConfig.from_flat({"attack.eps": "8/255", "optim.epochs": 80.0, "optim.lr": 1})
    other = TrialConfig.from_flat({"attack.eps": 8 / 255, "optim.epochs": 80, "optim.lr": 1.0})
    assert one.identity == other.identity
