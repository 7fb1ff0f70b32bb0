"""Configuration files: every digit comes back, and bad files name the line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from ltat_tune.config.config_file import dump_config, load_config
from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import ConfigError

ODD_FLOATS = [0.1 + 0.2, 1 / 3, 8 / 255, 1e-5, 5e-324, 1e-300, math.nextafter(1, 0), 2**-40, 0.0]


def _round_trip(folder: Path, config: TrialConfig, **more: Any) -> tuple[TrialConfig, Any]:
    path = folder / "config.yaml"
    dump_config(path, config, comment="a comment", **more)
    return load_config(path)


def _problems(folder: Path, text: str) -> list[str]:
    path = folder / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return [problem.replace(f"{path}:", "") for problem in caught.value.problems]


# -- there and back -----------------------------------------------------------------------------


def test_defaults_come_back_and_all_of_them_are_written(tmp_path: Path) -> None:
    loaded, recorded = _round_trip(tmp_path, TrialConfig())
    assert loaded == TrialConfig()
    assert recorded is None
    text = (tmp_path / "config.yaml").read_text()
    assert all(f"  {path.partition('.')[2]}:" in text for path in PARAMETERS)


@pytest.mark.parametrize("number", ODD_FLOATS)
def test_odd_floats_come_back_to_the_last_bit(number: float, tmp_path: Path) -> None:
    config = TrialConfig.from_flat({"optim.momentum": number, "attack.eps": number})
    loaded, _ = _round_trip(tmp_path, config)
    assert loaded.optim.momentum.hex() == number.hex()
    assert loaded.identity == config.identity


def test_large_floats_come_back(tmp_path: Path) -> None:
    config = TrialConfig.from_flat({"reweight.under_weight": 999999.9999999999})
    assert _round_trip(tmp_path, config)[0] == config


@pytest.mark.parametrize(
    "values",
    [
        {"data.classes": ["null", "10", "1e-3", "yes", "#x", "ß", ""], "optim.milestones": []},
        {"data.name": "image_folder", "data.root": "~/my images: new/'quoted'\n"},
        {"optim.nesterov": True, "optim.milestones": [1 / 3, 2 / 3], "seeds.seed": 2**31},
        {"evaluation.eps": 0, "model.width": 512, "data.image_size": 4},
    ],
    ids=["texts", "folder", "list", "numbers"],
)  # fmt: skip
def test_odd_values_come_back(values: dict[str, Any], tmp_path: Path) -> None:
    config = TrialConfig.from_flat(values)
    assert _round_trip(tmp_path, config)[0] == config


def test_recorded_digits_come_back(tmp_path: Path) -> None:
    recorded = {"weights": "0123", "val": {"val/clean_acc": 0.1 + 0.2}, "attacks": ["clean"]}
    assert _round_trip(tmp_path, TrialConfig(), recorded=recorded)[1] == recorded


def test_the_comment_comes_first_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    dump_config(path, TrialConfig(), comment="one\n  ltat-tune train config.yaml")
    assert path.read_text().startswith("# one\n#   ltat-tune train config.yaml\nconfig:\n")


def test_what_is_left_out_takes_its_default(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("config: {attack: {eps: 4/255}}\n")
    assert load_config(path)[0] == TrialConfig.from_flat({"attack.eps": "4/255"})


# -- bad files ----------------------------------------------------------------------------------


def test_every_problem_has_its_line(tmp_path: Path) -> None:
    text = """\
# a comment
config:
  data:
    imbalance_ratio: 0.02
    name: digit
  method: {lamda: 2}
  optim:
    lr: 1e-3
    epochs: 5
    warmup_epochs: 5
  zebra: 3
  loss: [focal]
"""
    assert _problems(tmp_path, text) == [
        "4: data.imbalance_ratio is n_max / n_min and must be >= 1, got 0.02; did you mean 50?",
        "5: data.name must be one of digits, cifar10, cifar100, svhn, tiny_imagenet, "
        "mnist, fashion_mnist, image_folder, npz, csv, got 'digit'; did you mean digits?",
        "6: unknown parameter method.lamda; did you mean method.separation_weight (λ)?",
        "8: optim.lr must be a number, but YAML 1.1 reads 1e-3 as text; write 1.0e-3",
        "11: unknown parameter zebra; `ltat-tune params` lists all of them",
        "12: loss must be a mapping of its parameters, got ['focal']",
    ]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["1: a configuration file has the key config; export one with `ltat-tune export`"]),
        (
            "- config\n",
            ["1: a configuration file has the key config; export one with `ltat-tune export`"],
        ),
        (
            "tuned: {optim.lr: 3}\n",
            ["1: a configuration file has the key config; it is a space file; run it with "
             "`ltat-tune run`"],
        ),
        (
            "config: {}\nrecord: 3\nrecorded: 4\n",
            [
                "2: unknown key record; a configuration file has config, plugins, recorded",
                "3: recorded must be a mapping, got 4; leave it out to train without comparing",
            ],
        ),
        ("config: 3\n", ["1: must be a mapping of its parameters, got 3"]),
        ("\nconfig:\n", ["2: must be a mapping of its parameters, got null"]),
        (
            "config:\n  optim:\n    epochs: 5\n    warmup_epochs: 7\n",
            ["4: optim.warmup_epochs must be below optim.epochs (5), got 7"],
        ),
        ("config:\n  data: {name: image_folder}\n",
         ["2: data.root must name the folder when data.name is image_folder"]),
        ("config: {\n", ["1: must be valid YAML: expected the node content, but found "
                         "'<stream end>'"]),
        ("config: !!python/name:os.system x\n",
         ["1: YAML tags are not allowed (nothing here runs code), got "
          "!!python/name:os.system; write a plain value"]),
        ("config: {}\nconfig: {}\n", ["2: config is written twice, first on line 1; keep one"]),
    ],
    ids=range(11),
)  # fmt: skip
def test_a_bad_file_is_refused(text: str, problems: list[str], tmp_path: Path) -> None:
    assert _problems(tmp_path, text) == problems


def test_what_is_no_readable_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none.yaml: cannot be read: No such file or directory"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
    path = tmp_path / "latin.yaml"
    path.write_bytes("config: {}\n# Größe\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="latin.yaml:2: must be UTF-8 text"):
        load_config(path)
