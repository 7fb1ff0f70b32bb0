"""The JSON schema: every shipped space file is right by it, and files that are wrong are not."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.plugin_loader import forget, load_plugins
from ltat_tune.space.domains import why_not_tunable
from ltat_tune.space.json_schema import space_schema
from ltat_tune.space.reader import read_document
from ltat_tune.space.reference import SPACE_KEYS
from tests.drive import MINI

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "search_spaces").rglob("*.yaml"))
SCHEMA = space_schema()
CHECK = jsonschema.Draft7Validator(SCHEMA)


def _problems(document: Any) -> list[str]:
    return [
        f"{'/'.join(map(str, error.path))}: {error.message}"
        for error in CHECK.iter_errors(document)
    ]


def test_it_is_a_json_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert "# yaml-language-server: $schema=" in SCHEMA["$comment"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_file_is_right(path: Path) -> None:
    assert _problems(read_document(path)[0]) == []


def test_the_mini_study_is_right_with_every_section() -> None:
    more = {
        "plugins": ["my_method", {"name": "other", "file": "other.py", "sha256": "0" * 16}],
        "warm_start": {"study": "studies/srat", "best": 2, "narrow": True},
        "budget": "90min",
        "scheduler": {"rungs": "copy", "fidelity": {"attack.steps": [1, 2]}},
        "resources": {"gpus_per_trial": "auto"},
        "objective": {"metric": "val/pgd3_acc", "at_least": {"val/clean_acc": "3/4"}},
    }
    assert _problems({**MINI, **more}) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("nmae",), "x"),
        (("name",), "no spaces"),
        (("objective", "metric"), "test/aa_acc"),
        (("objective", "at_least"), {"val/clean_acc": 75}),
        (("fixed", "method.lamda"), 2),
        (("fixed", "attack.eps"), "8/255 pixels"),
        (("fixed", "attack.eps"), 101),
        (("fixed", "optim.lr"), "1e-3"),
        (("fixed", "optim.lr"), 0),
        (("fixed", "optim.nesterov"), 1),
        (("fixed", "model.width"), 0),
        (("fixed", "method.name"), "trade"),
        (("scenarios", "data.imbalance_ratio"), 50),
        (("scenarios", "data.imbalance_ratio"), [0.02]),
        (("scenarios", "seeds.seed"), [0, 1]),
        (("tuned",), {}),
        (("tuned", "optim.lr"), 0.1),
        (("tuned", "optim.lr"), {"low": 0.1, "high": 1}),
        (("tuned", "optim.lr"), {"type": "float", "low": 0.1}),
        (("tuned", "optim.lr"), {"type": "float", "low": -1, "high": 1}),
        (("tuned", "optim.lr"), {"type": "float", "low": 0.1, "high": 1, "choices": [1, 2]}),
        (("tuned", "optim.batch_size"), {"type": "float", "low": 8, "high": 64}),
        (("tuned", "model.width"), {"type": "int", "low": None, "high": 64}),
        (("tuned", "method.name"), {"type": "categorical", "choices": ["srat"]}),
        (("tuned", "evaluation.eps"), {"type": "float", "low": 0.1, "high": 1}),
        (("tuned", "loss.tau"), {"type": "float", "low": 0, "high": 1, "when": {"loss": "ldam"}}),
        (("tuned", "loss.tau"), {"type": "float", "low": 0, "high": 1, "when": {"loss.name": 3}}),
        (("start_from",), {"optim.lr": 0.1}),
        (("start_from",), [{"optim.lr": "fast"}]),
        (("warm_start",), {"best": 3}),
        (("searcher", "name"), "bohb"),
        (("searcher", "trials"), 2.5),
        (("scheduler", "fidelity"), {"optim.lr": [1]}),
        (("confirm", "attacks"), ["pgd"]),
        (("confirm", "seeds"), []),
        (("resources", "gpus_per_trial"), "all"),
        (("budget",), "6 days"),
    ],
)
def test_a_wrong_file_is_refused(place: tuple[str, ...], value: Any) -> None:
    document = copy.deepcopy(MINI)
    inside = document
    for key in place[:-1]:
        inside = inside.setdefault(key, {})
    inside[place[-1]] = value
    assert _problems(document)


def test_it_describes_every_key_and_every_parameter() -> None:
    schema = space_schema()  # with what plugins of earlier tests have registered
    for path, parameter in PARAMETERS.items():
        assert schema["$defs"][path]["description"].startswith(parameter.meaning)
        assert schema["properties"]["fixed"]["properties"][path] == {"$ref": f"#/$defs/{path}"}
        assert (path in schema["properties"]["tuned"]["properties"]) != bool(why_not_tunable(path))
    for path, key in SPACE_KEYS.items():
        if "." not in path:
            assert schema["properties"][path]["description"] == key.meaning
    searcher = schema["$defs"]["SearcherSpec"]["properties"]
    assert searcher["trials"] == {
        "default": 20, "description": SPACE_KEYS["searcher.trials"].meaning, "maximum": 100000,
        "minimum": 1, "type": "integer",
    }  # fmt: skip


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "halved.py").write_text(
        "from torch import nn\n"
        "from ltat_tune.plugins import param, register_loss\n"
        "class Halved(nn.Module):\n"
        "    def __init__(self, samples_per_class, *, share):\n"
        "        super().__init__()\n"
        "    def forward(self, logits, targets, class_weights=None):\n"
        "        return logits.mean()\n"
        "register_loss('halved', Halved, parameters={'share': param(0.5, 'the share', ge=0)})\n"
    )
    (loaded,) = load_plugins(["halved"], beside=tmp_path)
    yield
    forget(loaded)


def test_a_plugin_that_is_loaded_adds_its_names(plugin: None) -> None:
    domain = {"type": "float", "low": 0, "high": 1}
    document = {"tuned": {"loss.share": domain}, "fixed": {"loss.name": "halved"}}
    assert _problems(document)
    assert jsonschema.Draft7Validator(space_schema()).is_valid(document)
