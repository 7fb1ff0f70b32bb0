"""Space files: what is refused in which words, what `--set` does, and that shipped ones load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import ConfigError, SpaceError
from ltat_tune.preflight.load import load_space
from ltat_tune.space.space import Space

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "search_spaces").rglob("*.yaml"))
NEEDS_FILE = ("distillation",)  # without its teacher, what it tunes has no effect
SMALL = """\
name: small
objective: {metric: val/pgd20_balanced_acc, mode: max}
fixed:
  optim.epochs: 12
  optim.lr_schedule: cosine
scenarios:
  data.imbalance_ratio: [10, 50]
tuned:
  method.name: {type: categorical, choices: [pgd_at, srat]}
  optim.lr: {type: float, low: 0.01, high: 0.3, log: true}
  method.temperature: {type: float, low: 0.05, high: 1, when: {method.name: srat}}
  reweight.name: {type: categorical, choices: [none, class_balanced], when: {method.name: srat}}
  reweight.beta: {type: categorical, choices: [0.9, 0.99], when: {reweight.name: class_balanced}}
start_from:
  - {method.name: pgd_at, optim.lr: 0.1}
  - {method.name: srat, optim.lr: 0.1, method.temperature: 0.07}
searcher: {trials: 12}
"""


def _refusals() -> list[Any]:
    """(title, text, messages) of bad_spaces.txt."""
    cases = []
    for block in (Path(__file__).parent / "bad_spaces.txt").read_text().split("\n== ")[1:]:
        title, _, rest = block.partition("\n")
        text, _, messages = rest.partition("-- refused\n")
        cases.append(pytest.param(text, messages.split("\n"), id=title))
    return cases


def _file(folder: Path, text: str = SMALL, name: str = "small.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def _load(folder: Path, text: str = SMALL, *overrides: str, allow_inert: bool = False) -> Space:
    return load_space(
        _file(folder, text), overrides=overrides, check_machine=False, allow_inert=allow_inert
    )


def _problems(path: Path, *overrides: str, check_machine: bool = False) -> list[str]:
    with pytest.raises(SpaceError) as caught:
        load_space(path, overrides=overrides, check_machine=check_machine)
    return [problem.replace(f"{path}:", "") for problem in caught.value.problems]


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 CPUs, no GPU."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.usefixtures("small_machine")
@pytest.mark.parametrize(("text", "messages"), _refusals())
def test_a_bad_space_file_is_refused_with_line_rule_value_and_remedy(
    text: str, messages: list[str], tmp_path: Path
) -> None:
    assert _problems(_file(tmp_path, text), check_machine=True) == [m for m in messages if m]


def test_every_problem_begins_with_the_file_as_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _file(tmp_path, "tuned: {}\nnmae: x\n", "bad.yaml")
    with pytest.raises(SpaceError) as caught:
        load_space("bad.yaml", check_machine=False)
    assert [p.partition(" ")[0] for p in caught.value.problems] == ["bad.yaml:1:", "bad.yaml:2:"]


def test_problems_of_all_parts_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
resources: {cpus_per_trial: 0}
tuned:
  optim.lr: {type: float, low: 0.3, high: 0.01}
  optim.momentun: {type: float, low: 0, high: 0.9}
fixed:
  attack.eps: 800
objective: {metric: test/aa_acc}
nmae: x
"""
    assert _problems(_file(tmp_path, text)) == [
        "1: resources.cpus_per_trial must be >= 1, got 0",
        "3: optim.lr: low < high must hold, got low 0.3 and high 0.01",
        "4: unknown parameter optim.momentun; did you mean optim.momentum?",
        "6: attack.eps must be <= 100, got 800",
        "7: objective.metric must be a validation metric, because the test images are looked at "
        "once, at the end; got test/aa_acc, write val/aa_acc",
        "8: unknown key nmae; did you mean name?",
    ]


def test_a_missing_file_names_those_that_are_there(tmp_path: Path) -> None:
    _file(tmp_path, SMALL, "one.yaml")
    _file(tmp_path, SMALL, "two.yaml")
    with pytest.raises(SpaceError) as caught:
        load_space(tmp_path / "three.yaml")
    there = f"{tmp_path}/one.yaml, {tmp_path}/two.yaml"
    assert str(caught.value) == f"{tmp_path}/three.yaml: no such file; there are: {there}"


def test_a_missing_folder_is_told_as_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"nowhere/space.yaml: no such file$"):
        load_space(tmp_path / "nowhere" / "space.yaml")


def test_a_folder_is_no_space_file(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="must be a file, got a folder; name one of its .yaml"):
        load_space(tmp_path)


def test_a_path_through_a_file_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="small.yaml/x: cannot be read: Not a directory"):
        load_space(_file(tmp_path) / "x")


def test_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: x\n# Größe\n".encode("latin-1"))
    assert _problems(path) == ["2: must be UTF-8 text: invalid start byte"]


def test_a_control_character_is_refused_with_its_line(tmp_path: Path) -> None:
    path = _file(tmp_path, "name: x\ntuned: \x07\n")
    assert _problems(path) == ["2: must be valid YAML text: special characters are not allowed"]


def test_a_tag_runs_nothing(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    text = f"name: !!python/object/apply:os.system ['touch {proof}']\n{SMALL}"
    assert "YAML tags are not allowed" in _problems(_file(tmp_path, text))[0]
    assert not proof.exists()


def test_hundreds_of_brackets_are_refused(tmp_path: Path) -> None:
    text = "tuned: " + "[" * 500 + "]" * 500
    assert _problems(_file(tmp_path, text)) == ["1: must be valid YAML: it is nested too deeply"]


def test_a_file_name_that_is_no_study_name_asks_for_a_name(tmp_path: Path) -> None:
    path = _file(tmp_path, SMALL.replace("name: small\n", ""), "my space.yaml")
    assert _problems(path) == [
        "1: name must be 1 to 100 letters, digits, '_', '-' or '.' and begin with a letter or "
        "digit, got 'my space', the file's own name; give it a name:"
    ]


ODD = [
    "null", "[]", "{}", "[null]", "[1, [2]]", "{a: {b: 1}}", "0", "-1", "1.5", "1" + "0" * 400,
    ".inf", ".nan", "true", "''", "1e-3", "8/255", f"'{'9' * 400}/3'", "2026-01-01", "🙂",
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_odd_values_in_any_place_are_accepted_or_refused_but_never_crash(
    odd: str, tmp_path: Path
) -> None:
    lines = SMALL.splitlines()
    for i, line in enumerate(lines):
        key, _, value = line.partition(": ")
        inner, colon, _ = value.partition("type: ")
        changed = [f"{key}: {odd}"] + ([f"{key}: {inner}{colon}{odd}}}"] if colon else [])
        for text in changed:
            path = _file(tmp_path, "\n".join([*lines[:i], text, *lines[i + 1 :]]))
            try:
                load_space(path, check_machine=False)
            except SpaceError as error:
                assert all(p.startswith(f"{path}:") for p in error.problems), error.problems


# -- what is true of this machine only ----------------------------------------------------------


@pytest.mark.usefixtures("small_machine")
def test_data_and_resources_are_checked_only_when_the_machine_is(tmp_path: Path) -> None:
    text = SMALL.replace("[10, 50]", "[10, 1000]") + "resources: {cpus_per_trial: 100}\n"
    path = _file(tmp_path, text)
    load_space(path, check_machine=False)
    assert [p.partition(" ")[0] for p in _problems(path, check_machine=True)] == ["7:", "18:"]


@pytest.mark.parametrize(
    ("per_trial", "problem"),
    [
        (
            "2",
            "must be at most 1, got 2: a training uses one GPU, and the others would stand idle; "
            "write 1, and more trials run at once",
        ),
        (
            "0.5 of 0",
            "must be 0 or auto, because this machine has no GPU, got 0.5; "
            "--set resources.gpus_per_trial=0 trains on the CPU, --smoke only tries the file out",
        ),
        ("0.25", None),
        ("1", None),
    ],
)
def test_a_training_takes_a_share_of_one_gpu(
    per_trial: str, problem: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    per_trial, _, gpus = per_trial.partition(" of ")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(gpus or 2))
    text = SMALL.replace("optim.epochs: 12", "data.val_per_class: 30")
    path = _file(tmp_path, f"{text}resources: {{gpus_per_trial: {per_trial}}}\n")
    if problem is None:
        assert load_space(path).resources.gpus_per_trial == float(per_trial)
    else:
        assert _problems(path, check_machine=True) == [f"18: resources.gpus_per_trial {problem}"]


# -- parameters without effect ------------------------------------------------------------------


def test_a_parameter_without_effect_is_a_note_where_that_is_allowed(tmp_path: Path) -> None:
    text = SMALL.replace(", when: {method.name: srat}", "", 1)
    assert _problems(_file(tmp_path, text)) == [
        "11: method.temperature (τ) has no effect in some trials: method.name is pgd_at, and "
        "only srat reads it; give it `when: {method.name: srat}`"
    ]
    space = _load(tmp_path, text, allow_inert=True)
    assert space.notes[0] == (
        "method.temperature (τ) has no effect in some trials: method.name is pgd_at, and only "
        "srat reads it; give it `when: {method.name: srat}` (the study runs anyway)"
    )


def test_a_parameter_without_effect_in_one_scenario_is_a_note(tmp_path: Path) -> None:
    text = """\
fixed: {loss.name: balanced_softmax, optim.lr_schedule: cosine}
scenarios: {data.imbalance_ratio: [1, 50]}
tuned: {loss.tau: {type: float, low: 0.5, high: 2}}
scheduler: {name: none}
"""
    assert _load(tmp_path, text).notes == (
        "loss.tau (τ_b) has no effect in the scenario data.imbalance_ratio = 1: "
        "data.imbalance_ratio is 1, so all classes weigh the same",
    )


def test_a_condition_may_name_a_value_as_people_write_it(tmp_path: Path) -> None:
    text = """\
fixed: {evaluation.eps: 8/255}
tuned:
  attack.eps: {type: categorical, choices: [8/255, 16/255]}
  attack.steps: {type: int, low: 5, high: 20, when: {attack.eps: 16/255}}
"""
    assert _load(tmp_path, text).tuned["attack.steps"].when == {"attack.eps": (16 / 255,)}


def test_the_radius_may_be_tuned_where_every_scenario_measures_with_one_of_its_own(
    tmp_path: Path,
) -> None:
    text = """\
scenarios: {evaluation.eps: [4/255, 8/255]}
tuned: {attack.eps: {type: float, low: 1/255, high: 8/255}}
"""
    assert len(_load(tmp_path, text).scenarios) == 2


def test_the_papers_protocol_and_a_study_without_confirmation_are_noted(tmp_path: Path) -> None:
    text = SMALL.replace("optim.lr_schedule: cosine", "data.val_source: test")
    notes = _load(tmp_path, f"{text}confirm: {{top: 0}}\nscheduler: {{name: none}}\n").notes
    assert notes == (
        "data.val_source is test (the papers' protocol): every result is marked selected_on_test",
        "confirm.top is 0: the study retrains no winner and does not use the test images",
    )


# -- --set --------------------------------------------------------------------------------------


def test_set_fixes_a_parameter_that_the_file_does_not_name(tmp_path: Path) -> None:
    assert _load(tmp_path, SMALL, "attack.eps=4/255").fixed["attack.eps"] == 4 / 255


def test_set_replaces_what_is_fixed(tmp_path: Path) -> None:
    space = _load(tmp_path, SMALL, "optim.epochs=30", "name=longer")
    assert (space.max_epochs, space.name) == (30, "longer")


def test_set_replaces_a_scenario_axis_by_one_value_or_by_several(tmp_path: Path) -> None:
    one = _load(tmp_path, SMALL, "data.imbalance_ratio=20")
    assert [s.values for s in one.scenarios] == [{"data.imbalance_ratio": 20.0}]
    more = _load(tmp_path, SMALL, "data.imbalance_ratio=[1, 2, 3]")
    assert len(more.scenarios) == 3


def test_set_takes_a_tuned_parameter_out_of_the_search(tmp_path: Path) -> None:
    space = _load(tmp_path, SMALL, "optim.lr=0.05")
    assert space.fixed["optim.lr"] == 0.05
    assert "optim.lr" not in space.tuned
    assert space.start_from == (
        {"method.name": "pgd_at"},
        {"method.name": "srat", "method.temperature": 0.07},
    )


def test_set_to_the_value_of_a_condition_keeps_what_depends_on_it(tmp_path: Path) -> None:
    space = _load(tmp_path, SMALL, "method.name=srat")
    assert list(space.tuned) == [
        "optim.lr",
        "method.temperature",
        "reweight.name",
        "reweight.beta",
    ]
    assert not space.tuned["method.temperature"].when
    assert space.tuned["reweight.beta"].when == {"reweight.name": ("class_balanced",)}


def test_set_to_another_value_drops_all_that_depends_on_it(tmp_path: Path) -> None:
    space = _load(tmp_path, SMALL, "method.name=pgd_at")
    assert list(space.tuned) == ["optim.lr"]
    assert space.start_from == ({"optim.lr": 0.1}, {"optim.lr": 0.1})


def test_set_reaches_the_other_parts_even_where_the_file_has_none(tmp_path: Path) -> None:
    space = _load(tmp_path, SMALL, "searcher.trials=3", "scheduler.name=none", "confirm.seeds=[7]")
    assert (space.searcher.trials, space.scheduler.name, space.confirm.seeds) == (3, "none", (7,))


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        ("optim.lr", "must be path=value, got 'optim.lr'"),
        ("=3", "must be path=value, got '=3'"),
        ("optim.lrr=1", "optim.lrr: unknown parameter optim.lrr; did you mean optim.lr (η)?"),
        (
            "fixed.optim.lr=1",
            "fixed.optim.lr: unknown parameter fixed.optim.lr; did you mean optim.lr (η)?",
        ),
        (
            "searcher.trial=1",
            "searcher.trial: unknown key searcher.trial; did you mean searcher.trials?",
        ),
        (
            "scheduler=none",
            "scheduler: unknown key scheduler; scheduler has name, rungs, max_epochs, "
            "grace_epochs, reduction_factor, probe_epochs, fidelity",
        ),
        (
            "optim.lr=fast",
            "optim.lr: must be a number or a fraction such as 8/255, got 'fast'",
        ),
        (
            "optim.lr=1e-3",
            "optim.lr: must be a number, but YAML 1.1 reads 1e-3 as text; write 1.0e-3",
        ),
        (
            "data.imbalance_ratio=0.1",
            "data.imbalance_ratio: is n_max / n_min and must be >= 1, got 0.1; did you mean 10?",
        ),
        ("searcher.trials=0", "searcher.trials: must be >= 1, got 0"),
        (
            "name=a/b",
            "name: must be 1 to 100 letters, digits, '_', '-' or '.' and begin with a letter or "
            "digit, got 'a/b'",
        ),
        (
            "optim.warmup_epochs=99",
            "optim.warmup_epochs: must be below optim.epochs (12), got 99",
        ),
    ],
)
def test_a_bad_assignment_is_told_as_such(assignment: str, problem: str, tmp_path: Path) -> None:
    assert _problems(_file(tmp_path), assignment) == [f"--set {problem}"]


def test_bad_assignments_are_told_with_what_else_is_wrong(tmp_path: Path) -> None:
    path = _file(tmp_path, SMALL.replace("optim.epochs: 12", "optim.epochs: 0"))
    assert _problems(path, "optim.lrr=1", "optim.lr=fast") == [
        "--set optim.lrr: unknown parameter optim.lrr; did you mean optim.lr (η)?",
        "--set optim.lr: must be a number or a fraction such as 8/255, got 'fast'",
        "4: optim.epochs must be >= 1, got 0",
    ]


@pytest.mark.parametrize("value", ["2026-13-45", "{", "!!python/name:os.system", "*x", "[[1]: 2]"])
def test_a_value_that_is_no_yaml_is_text(value: str, tmp_path: Path) -> None:
    assert _load(tmp_path, SMALL, f"data.root={value}").fixed["data.root"] == value


def test_set_reaches_a_file_with_broken_parts_without_a_crash(tmp_path: Path) -> None:
    path = _file(
        tmp_path, "fixed: 3\nscenarios: 4\ntuned: {optim.lr: 5}\nstart_from: 6\nsearcher:\n"
    )
    assert _problems(path, "optim.lr=0.1", "searcher.trials=4") == [
        "1: fixed must be a mapping of dotted paths to values, got 3",
        "2: scenarios must be a mapping of dotted paths to lists, got 4",
        "3: tuned must name at least one parameter, such as optim.lr: {type: float, low: 0.01, "
        "high: 0.3, log: true}; got {}",
        "5: searcher must be a mapping of name, trials, seed, startup, startup_trials, "
        "max_failures_in_a_row, branches, at_least, seeds_per_trial, stop, got null",
    ]


def test_the_document_of_a_space_loads_again_to_the_same_space(tmp_path: Path) -> None:
    import yaml

    text = SMALL.replace("name: small\n", "")
    first = load_space(
        _file(tmp_path, text, "unnamed.yaml"),
        overrides=("method.name=srat", "attack.eps=8/255"),
        check_machine=False,
    )
    again = _load(tmp_path, yaml.safe_dump(dict(first.document), sort_keys=False))
    assert vars(again) == vars(first)
    assert again.name == "unnamed"


# -- the files that are shipped -----------------------------------------------------------------


def test_there_are_search_spaces() -> None:
    assert "quickstart.yaml" in [path.name for path in SHIPPED]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.name))
def test_a_shipped_search_space_gives_100_valid_configurations(path: Path) -> None:
    space = load_space(path, check_machine=False, allow_inert=path.stem in NEEDS_FILE)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for point in space.enumerated:  # a list runs these and no other
        study.enqueue_trial(dict(point))
    for number in range(min(100, len(space.enumerated) or 100)):
        params = space.suggest(study.ask())
        config = space.config(space.scenarios[number % len(space.scenarios)], params)
        assert isinstance(config, TrialConfig)
        assert TrialConfig.from_flat(config.flat()) == config


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.name))
def test_a_shipped_search_space_begins_with_the_command_that_runs_it(path: Path) -> None:
    head = path.read_text().partition("\nname:")[0].splitlines()
    assert all(line.startswith("#") for line in head)
    command = f"#   ltat-tune run {path.relative_to(ROOT)}"
    assert any(line == command or line.startswith(f"{command} ") for line in head)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.name))
def test_a_shipped_search_space_has_the_name_of_its_file(path: Path) -> None:
    space = load_space(path, check_machine=False, allow_inert=path.stem in NEEDS_FILE)
    assert space.name == path.stem


def test_loading_a_space_imports_neither_torch_nor_ray_nor_optuna() -> None:
    code = (
        "import sys\n"
        "from ltat_tune.preflight.load import load_space\n"
        f"load_space({str(ROOT / 'search_spaces' / 'quickstart.yaml')!r}, check_machine=False)\n"
        "print(*sorted({'torch', 'ray', 'optuna', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_space_error_is_a_config_error_with_all_problems_in_its_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_space(_file(tmp_path, "tuned: {}\nnmae: x\n"))
    assert str(caught.value).splitlines() == caught.value.problems
    assert len(caught.value.problems) == 2


def _space(tmp_path: Path, fixed: str, tuned: str, rest: str = "") -> Path:
    return _file(
        tmp_path,
        f"name: x\nobjective: {{metric: val/pgd20_balanced_acc}}\n"
        f"fixed: {{data.val_per_class: 30, {fixed}}}\ntuned: {{{tuned}}}\n{rest}",
    )


def test_rbl_that_does_nothing_is_noted(tmp_path: Path) -> None:
    lr = "optim.lr: {type: float, low: 0.01, high: 0.1}"
    idle = load_space(_space(tmp_path, "method.name: reat", lr), check_machine=False)
    assert any("attack.reweight rbl of reat changes nothing" in note for note in idle.notes)
    acting = _space(tmp_path, "method.name: reat, attack.bn_mode: batch", lr)
    assert not any("rbl" in note for note in load_space(acting, check_machine=False).notes)


def test_a_scale_that_would_win_by_hiding_gradients_is_not_searched(tmp_path: Path) -> None:
    tuned = "model.inference_scale: {type: float, low: 0.1, high: 1000, log: true}"
    path = _space(tmp_path, "method.name: robal", tuned)
    (problem,) = _problems(path, check_machine=False)
    assert "the scale that hides it best would win; judge by val/cw20_balanced_acc" in problem
    grid = "model.inference_scale: {type: categorical, choices: [1, 10]}"
    listed = _space(tmp_path, "method.name: robal", grid, "searcher: {name: grid}\n")
    assert load_space(listed, check_machine=False).enumerated


LR = "optim.lr: {type: float, low: 0.01, high: 0.1}"


@pytest.mark.parametrize(
    ("fixed", "confirm"),
    [
        ("attack.norm: l2", "attacks: [cwl2, cwl2_fixed]"),
        ("evaluation.norm: l2, evaluation.eps: 0.5", "attacks: [cwl2]"),
        ("data.name: cifar10", "attacks: [square]"),
        ("attack.norm: l2, data.name: cifar10", "attacks: [square, aa]"),
        ("attack.norm: linf", "attacks: [square, aa]"),
        (  # as large as its images are, which nobody has read
            "attack.norm: l2, data.name: image_folder, data.root: x", "attacks: [square]",
        ),
        ("attack.norm: linf", "top: 0, attacks: [cwl2]"),  # nothing is measured
    ],
)  # fmt: skip
def test_attacks_that_can_run_on_the_winners_are_taken(
    fixed: str, confirm: str, tmp_path: Path
) -> None:
    path = _space(tmp_path, fixed, LR, f"confirm: {{{confirm}}}\n")
    assert not any("Square" in note for note in load_space(path, check_machine=False).notes)


def test_square_on_an_image_folder_goes_by_the_side_that_is_given(tmp_path: Path) -> None:
    fixed = "attack.norm: l2, data.name: image_folder, data.root: x, data.image_size: 14"
    path = _space(tmp_path, fixed, LR, "confirm: {attacks: [square]}\n")
    assert _problems(path) == [
        "5: confirm.attacks names square, which in l2 needs images of at least 15 pixels a side, "
        "got 14 (image_folder); remove it"
    ]


def test_autoattack_without_its_square_is_noted(tmp_path: Path) -> None:
    path = _space(tmp_path, "attack.norm: l2", LR, "confirm: {attacks: [clean, aa]}\n")
    assert load_space(path, check_machine=False).notes[0] == (
        "aa runs AutoAttack without Square, which in l2 needs images of at least 15 pixels a "
        "side, got 8"
    )


def test_the_sentinel_is_on_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    assert _load(tmp_path).confirm.sentinel
    assert not _load(tmp_path, SMALL, "confirm.sentinel=false").confirm.sentinel
