"""Every space file: it loads, says how it is run, proposes valid trainings, and is the paper's."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import pytest

from ltat_tune.config.effects import why_inert
from ltat_tune.config.timeline import deferral_epoch, drop_epochs
from ltat_tune.preflight.load import load_space
from ltat_tune.space.space import Space

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "search_spaces").rglob("*.yaml"))
PAPERS = [path for path in FILES if path.parent.name == "papers"]
REAT = [path for path in PAPERS if path.stem.startswith("reat_")]
SRAT = [path for path in PAPERS if path.stem.startswith("srat_")]

# Every table and figure of the two papers, by the file whose trainings it needs.
TRAINED = {
    "reat_figure_01": ["Figure 1", "Figure 2", "Figure 7", "Figure 10"],
    "reat_table_01": ["Table 1"],
    "reat_table_02": ["Table 2", "Figure 3"],
    "reat_table_03": ["Table 3", "Table 12", "Table 14", "Figure 4", "Figure 5", "Figure 6"],
    "reat_table_04": ["Table 4", "Table 14", "Figure 8", "Figure 9", "Figure 11"],
    "reat_table_05": ["Table 5"],
    "reat_table_06": ["Table 6"],
    "reat_table_07": ["Table 7"],
    "reat_table_08": ["Table 8", "Table 12", "Table 14"],
    "reat_table_09": ["Table 9", "Table 14"],
    "reat_table_10": ["Table 10"],
    "reat_table_11": ["Table 11"],
    "reat_table_13": ["Table 13"],
    "srat_figure_01": ["Figure 1", "Figure 7", "Figure 8", "Figure 9"],
    "srat_figure_02": ["Figure 2", "Figure 3", "Figure 10", "Figure 11", "Figure 12"],
    "srat_figure_05": ["Figure 5", "Figure 15"],
    "srat_figure_06": ["Figure 6"],
    "srat_figure_16": ["Figure 16"],
    "srat_table_02": ["Table 2", "Figure 4"],
    **{f"srat_table_{n:02d}": [f"Table {n}"] for n in (1, 3, 4, 5, 6, 7, 8, 9, 10)},
}
NOT_TRAINED = {
    ("srat", "Figure 13"): "class counts of the CIFAR-10 subsets",
    ("srat", "Figure 14"): "class counts of the SVHN subsets",
}
IN_THE_PAPERS = {
    "reat": [f"Table {n}" for n in range(1, 15)] + [f"Figure {n}" for n in range(1, 12)],
    "srat": [f"Table {n}" for n in range(1, 11)] + [f"Figure {n}" for n in range(1, 17)],
}
ROWS = {  # trainings of one seed in one scenario: the table's own rows, less those of other files
    "reat_figure_01": 1,
    "reat_table_01": 8,
    "reat_table_02": 9,  # seven rows, TAIL in two readings more
    "reat_table_03": 3,  # RoBal, RoBal under the adaptive attack, REAT
    "reat_table_04": 3,
    "reat_table_05": 3,
    "reat_table_06": 2,
    "reat_table_07": 5,
    "reat_table_08": 1,
    "reat_table_09": 1,
    "reat_table_10": 1,
    "reat_table_11": 1,
    "reat_table_13": 3,
    "srat_figure_01": 2,
    "srat_figure_02": 12,
    "srat_figure_05": 18,
    "srat_figure_06": 15,
    "srat_figure_16": 2,
    **{f"srat_table_{n:02d}": 11 for n in range(1, 9)},
    "srat_table_09": 9,
    "srat_table_10": 9,
}


# what the command in the head of a file names with --set
NAMED_FILES = {"distillation": ("method.teacher=teacher.pt@0123456789abcdef",)}


@cache
def _space(path: Path) -> Space:
    return load_space(path, check_machine=False, overrides=NAMED_FILES.get(path.stem, ()))


def _named(name: str) -> Space:
    (path,) = [p for p in FILES if p.stem == name]
    return _space(path)


def _comments(path: Path) -> list[str]:
    """The comment lines that a file opens with, without their #."""
    lines = path.read_text().splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return [line[1:].strip() for line in lines[:end]]


def _mentioned(text: str) -> set[str]:
    """`Tables 3 and 12, Figure 10b` -> Table 3, Table 12, Figure 10."""
    found = set()
    for kind, numbers in re.findall(r"(Table|Figure)s? ((?:\d+[a-d]?(?:, | and )?)+)", text):
        found |= {f"{kind} {number}" for number in re.findall(r"\d+", numbers)}
    return found


def _stem(path: Path) -> str:
    return path.stem


# -- every file ---------------------------------------------------------------------------------


def test_there_are_space_files() -> None:
    assert len(FILES) >= 20
    assert len(PAPERS) == len(ROWS) == len(TRAINED)


@pytest.mark.parametrize("path", FILES, ids=_stem)
def test_a_file_is_named_as_it_says(path: Path) -> None:
    assert _space(path).name == path.stem


@pytest.mark.parametrize("path", FILES, ids=_stem)
def test_a_file_opens_with_what_it_asks_and_the_command_that_runs_it(path: Path) -> None:
    question, *rest = _comments(path)
    assert question.endswith(("?", ".")) and len(question) > 40
    command = f"ltat-tune run {path.relative_to(ROOT)}"
    assert [line for line in rest if line == command or line.startswith(f"{command} --set ")]


@pytest.mark.parametrize("path", FILES, ids=_stem)
def test_what_is_proposed_makes_valid_configurations_without_idle_parameters(path: Path) -> None:
    """A list runs its entries alone: what else its choices could make is of no consequence."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = _space(path)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    proposed: list[Any] = [space.suggest(study.ask()) for _ in range(100)]
    for i, params in enumerate(proposed):
        space.config(space.scenarios[i % len(space.scenarios)], params)
    for scenario in space.scenarios:
        for params in space.enumerated or proposed[:25]:
            config = space.config(scenario, params)
            assert {p: why for p in params if (why := why_inert(config, p)) is not None} == {}


@pytest.mark.parametrize("path", FILES, ids=_stem)
def test_start_from_leaves_nothing_open(path: Path) -> None:
    space = _space(path)
    for entry in space.start_from:
        given = {p for p, domain in space.tuned.items() if domain.active(entry)}
        left = given - set(entry)
        # quickstart and image_folder let the searcher choose what their baselines do not set
        assert not left or path.stem in ("quickstart", "image_folder"), left


COST = re.compile(
    r"Cost: (?:about|up to) (\d+) GPU hours on one A100-class GPU(?: for [\d,]+ images)? "
    r"\(estimate: (\d+) epochs x (\d+) trainings x (\d+) s(?: \+ (\d+) x ([\d.]+) h AutoAttack)?; "
    r"\d+ s per 100,000 attack steps\)\."
)


@pytest.mark.parametrize("path", FILES, ids=_stem)
def test_the_estimated_cost_is_that_of_the_trainings(path: Path) -> None:
    space = _space(path)
    found = [match for line in _comments(path) if (match := COST.fullmatch(line))]
    if path.stem in ("quickstart", "image_folder", "methods", "fashion_mnist", "medmnist"):
        assert not found  # minutes on a CPU
        return
    ((hours, epochs, trainings, seconds, attacked, attack_hours),) = [m.groups() for m in found]
    again = len([s for s in space.confirm_seeds if s not in space.search_seeds])
    baseline = 0 if path in PAPERS else bool(space.start_from)
    per_scenario = space.searcher.trials + (space.confirm.top + baseline) * again
    assert int(epochs) == space.max_epochs
    assert int(trainings) == len(space.scenarios) * per_scenario
    total = int(epochs) * int(trainings) * int(seconds) / 3600
    if attacked:
        assert attacked == trainings
        total += int(attacked) * float(attack_hours)
    assert int(hours) == max(1, round(total))


# -- the authors' values ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (
            "srat",
            {
                "method.separation_weight": 2.0,
                "method.temperature": 0.07,
                "reweight.name": "class_balanced",
                "reweight.beta": 0.9999,
            },
        ),
        (
            "reat",
            {
                "method.tail_weight": 1.0,
                "method.tail_variant": "released",
                "method.tail_set": "released",
                "attack.bn_mode": "eval",
            },
        ),
        (
            "robal",
            {
                "loss.tau": 1.5,
                "loss.base_margin": 0.1,
                "loss.margin_tau": 0.3,
                "method.beta": 6.0,
                "model.posthoc_tau": 0.0,
            },
        ),
        (
            "robal_cifar100",
            {
                "loss.tau": 0.0,
                "loss.base_margin": 0.3,
                "loss.margin_tau": 0.0,
                "method.beta": 6.0,
                "model.head_gamma": 1 / 16,
                "model.posthoc_tau": 1.7,
            },
        ),
        (
            "trades",
            {
                "method.beta": 6.0,
                "optim.lr": 0.1,
                "optim.weight_decay": 2e-4,
                "loss.name": "cross_entropy",
            },
        ),
        ("mart", {"method.beta": 5.0, "optim.lr": 0.01, "optim.weight_decay": 3.5e-3}),
        (
            "awp",
            {
                "method.name": "pgd_at",
                "method.awp_gamma": 0.01,
                "method.awp_start_fraction": 0.0,
                "loss.name": "cross_entropy",
            },
        ),
        (
            "at_bsl",
            {
                "data.policy": "randaugment",
                "data.policy_ops": 2,
                "data.policy_magnitude": 8,
                "loss.tau": 1.0,
            },
        ),
        (
            "robustlt",
            {
                "method.name": "pgd_at",
                "loss.name": "cross_entropy",
                "attack.class_budget": 0.3,
                "attack.class_budget_warmup": 0.8,
            },
        ),
        (
            "taet",
            {
                "method.clean_fraction": 0.4,
                "method.bcl_weight": 0.1,
                "method.hdl_weight": 0.1,
                "method.rcel_weight": 0.1,
            },
        ),
        (
            "dafa",
            {
                "method.base": "trades",
                "method.dafa_strength": 1.0,
                "method.start_fraction": 0.64,
                "method.beta": 6.0,
                "loss.name": "cross_entropy",
            },
        ),
        (
            "faal",
            {
                "method.base": "pgd_at",
                "method.faal_radius": 0.5,
                "method.faal_coefficients": "released",
                "optim.lr": 0.01,
                "loss.name": "cross_entropy",
            },
        ),
        (
            "cfa",
            {
                "method.base": "trades",
                "method.cfa_larger_radius": "easy",
                "method.cfa_radius_base": 0.5,
                "method.cfa_smoothing": 0.0,
                "method.fawa_span": 0.039,
                "method.beta": 6.0,
                "loss.name": "cross_entropy",
            },
        ),
        (
            "wat",
            {
                "method.wat_rate": 0.1,
                "method.wat_weight_max": 10.0,
                "method.beta": 6.0,
                "loss.name": "cross_entropy",
            },
        ),
        (
            "etf",
            {"loss.etf_weight": 1.0, "loss.name": "cross_entropy", "model.head": "linear"},
        ),
    ],
)
def test_a_method_is_first_tried_with_its_authors_values(
    name: str, values: dict[str, Any]
) -> None:
    assert _named(name).start_from[0] == values


@pytest.mark.parametrize(
    ("name", "epochs"),
    [
        ("srat", [160, 180]),
        ("reat", [60, 75]),
        ("robal", [60, 75]),
        ("trades", [60, 75]),
        ("mart", [75, 90, 100]),
        ("awp", [100, 150]),
        ("at_bsl", [74, 89, 99]),  # 75, 90, 100 counted from 1
        ("robustlt", [75, 90]),
        ("taet", [75, 90]),
        ("dafa", [100, 105]),
        ("faal", [4]),
        ("cfa", [100, 150]),
        ("wat", [75, 90]),
        ("reat_table_01", [60, 75]),
        ("srat_table_02", [160, 180]),
    ],
)
def test_the_learning_rate_falls_where_the_authors_let_it(name: str, epochs: list[int]) -> None:
    space = _named(name)
    assert drop_epochs(space.config(space.scenarios[0], {}).optim) == epochs


def test_srat_is_trained_as_its_release_does() -> None:
    space = _named("srat")
    for scenario in space.scenarios:
        config = space.config(scenario, space.start_from[0])
        assert (config.attack.bn_mode, config.attack.start) == ("train", "uniform_clipped")
        assert (config.optim.lr, config.optim.batch_size, config.optim.warmup_epochs) == (
            0.1,
            128,
            5,
        )
        assert config.optim.lr_factors == (0.01, 1e-4)
        assert deferral_epoch(config) == 160
    assert [s.values for s in space.scenarios] == [
        {"data.imbalance_ratio": 10.0},
        {"data.imbalance_ratio": 100.0},
    ]


def test_methods_compares_every_method_there_is() -> None:
    space = _named("methods")
    methods = space.tuned["method.name"].choices
    assert set(methods) == {
        "natural", "pgd_at", "srat", "reat", "robal", "trades", "mart", "taet", "dafa",
        "faal", "cfa", "wat",
    }  # fmt: skip
    assert {entry["method.name"] for entry in space.start_from} == set(methods)
    fixed = {"srat", "reat", "robal", "taet", "natural"}  # their own loss, or no robustness
    balanced = [e for e in space.start_from if e.get("loss.name") == "balanced_softmax"]
    assert {entry["method.name"] for entry in balanced} >= set(methods) - fixed
    assert space.max_epochs <= 16 and space.searcher.trials <= 36


# -- the papers' files --------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAPERS, ids=_stem)
def test_a_papers_file_follows_its_protocol_and_says_so(path: Path) -> None:
    space = _space(path)
    assert space.selected_on_test
    assert space.confirm_seeds == space.fresh_seeds == (0, 1, 2)  # nothing was chosen
    assert space.searcher.name in ("grid", "list") and space.scheduler.name == "none"
    text = " ".join(_comments(path))
    assert "selected_on_test" in text and "3 seeds" in text
    assert "Open:" in text  # what the paper does not say


@pytest.mark.parametrize("path", PAPERS, ids=_stem)
def test_every_row_of_a_papers_file_is_trained_once_and_confirmed(path: Path) -> None:
    space = _space(path)
    assert space.searcher.trials == space.confirm.top == ROWS[path.stem]
    for scenario in space.scenarios:
        recipes = [space.config(scenario, params).recipe for params in space.enumerated]
        assert len(set(recipes)) == len(recipes)


@pytest.mark.parametrize("path", PAPERS, ids=_stem)
def test_the_papers_class_counts_are_not_cut_by_a_hold_out(path: Path) -> None:
    space = _space(path)
    for scenario in space.scenarios:
        data = space.config(scenario, space.enumerated[0]).data
        assert (data.val_source, data.max_per_class, data.rounding) == ("test", None, "floor")


@pytest.mark.parametrize("path", REAT, ids=_stem)
def test_reat_chooses_the_epoch_on_the_test_set_and_keeps_one_subset(path: Path) -> None:
    space = _space(path)
    for scenario in space.scenarios:
        config = space.config(scenario, space.enumerated[0])
        assert config.evaluation.select_epoch == "best_late"  # its release keeps the later of ties
        assert config.evaluation.every_epochs == 1
        assert config.seeds.subset_seed == 0
        assert (config.optim.epochs, config.attack.steps) == (80, 10)


@pytest.mark.parametrize("path", SRAT, ids=_stem)
def test_srat_keeps_the_last_epoch_and_gives_each_seed_its_own_subset(path: Path) -> None:
    space = _space(path)
    for scenario in space.scenarios:
        config = space.config(scenario, space.enumerated[0])
        assert config.evaluation.select_epoch == "last"
        assert config.seeds.subset_seed is None
        step = 1 / 255 if config.data.name == "svhn" else 2 / 255
        assert config.attack.step_size == pytest.approx(step)
        assert (config.optim.epochs, config.attack.bn_mode) == (200, "train")


@pytest.mark.parametrize("path", PAPERS, ids=_stem)
def test_a_file_names_the_tables_and_figures_that_it_trains(path: Path) -> None:
    assert set(TRAINED[path.stem]) <= _mentioned(" ".join(_comments(path)))


@pytest.mark.parametrize("paper", ["reat", "srat"])
def test_every_table_and_figure_of_a_paper_is_trained_or_known_not_to_train(paper: str) -> None:
    trained = {item for name, items in TRAINED.items() if name.startswith(paper) for item in items}
    left_out = {item for where, item in NOT_TRAINED if where == paper}
    assert not trained & left_out
    assert trained | left_out == set(IN_THE_PAPERS[paper])


def test_no_two_files_train_the_same_matrix() -> None:
    seen: dict[str, str] = {}
    for path in PAPERS:
        space = _space(path)
        recipes = [
            space.config(scenario, params).recipe
            for scenario in space.scenarios
            for params in space.enumerated
        ]
        matrix = json.dumps(sorted(recipes))
        assert matrix not in seen, f"{path.stem} and {seen[matrix]}"
        seen[matrix] = path.stem


@pytest.mark.parametrize(
    ("table", "row", "values"),
    [
        # Table 1: losses under PGD-AT and REAT; the attack of REAT is weighted by RBL
        ("reat_table_01", 0, {"loss.name": "focal", "method.name": "pgd_at"}),
        (
            "reat_table_01",
            7,
            {"loss.name": "balanced_softmax", "method.name": "reat", "attack.reweight": "rbl"},
        ),
        # Table 2: ENR goes by the clean counts, with the paper's own beta
        ("reat_table_02", 3, {"attack.reweight": "class_balanced", "reweight.beta": None}),
        # Table 3: RoBal's R setting, cosine head
        (
            "reat_table_03",
            0,
            {
                "method.name": "robal",
                "model.head": "cosine",
                "loss.tau": 1.5,
                "loss.base_margin": 0.1,
                "loss.margin_tau": 0.3,
                "loss.scale": 10.0,
                "method.beta": 6.0,
                "model.inference_scale": 1.0,
            },
        ),
        # Table 4: RoBal's R setting for CIFAR-100; REAT keeps plain balanced softmax
        (
            "reat_table_04",
            1,
            {
                "method.name": "robal",
                "loss.tau": 0.0,
                "loss.base_margin": 0.3,
                "model.head_gamma": 1 / 16,
                "model.inference_scale": 10.0,
                "model.posthoc_tau": 1.7,
            },
        ),
        (
            "reat_table_04",
            2,
            {"method.name": "reat", "loss.name": "balanced_softmax", "loss.tau": 1.0},
        ),
        # Table 7: each method with its own attack
        ("reat_table_07", 1, {"method.name": "trades", "attack.objective": "kl"}),
        (
            "reat_table_07",
            4,
            {"method.name": "mart", "method.beta": 5.0, "attack.start": "gaussian"},
        ),
        # SRAT's tables: CB-Reweight, DRCB-LDAM, SRAT-LDAM
        (
            "srat_table_02",
            3,
            {
                "method.name": "pgd_at",
                "loss.name": "cross_entropy",
                "reweight.name": "class_balanced",
                "reweight.schedule": "immediate",
            },
        ),
        (
            "srat_table_02",
            7,
            {"method.name": "pgd_at", "loss.name": "ldam", "reweight.schedule": "deferred"},
        ),
        (
            "srat_table_02",
            10,
            {
                "method.name": "srat",
                "loss.name": "ldam",
                "method.separation_weight": 2.0,
                "method.temperature": 0.07,
                "reweight.beta": 0.9999,
            },
        ),
    ],
)
def test_a_row_of_a_table_is_what_the_paper_trains(
    table: str, row: int, values: dict[str, Any]
) -> None:
    space = _named(table)
    config = space.config(space.scenarios[0], space.enumerated[row])
    assert {path: config.get(path) for path in values} == values
