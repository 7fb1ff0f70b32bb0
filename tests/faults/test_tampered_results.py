"""Results, results of trainings and facts with anything in any place: no command has a traceback.

Each variant goes through every command that reads such files. A command may refuse it in a
sentence, or need nothing of what was changed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.drive import MINI, call, write_space

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

Change = Callable[[Any], Any]
COMMANDS = (
    "ls",
    "show mini imbalance_ratio_2/t0000",
    "compare mini",
    "report mini",
    "export mini",
    "doctor mini",
    "resume mini --in-process",
)


def _without(*keys: str) -> Change:
    return lambda data: {name: value for name, value in data.items() if name not in keys}


def _with(**values: Any) -> Change:
    return lambda data: {**data, **values}


def _in_scenario(**values: Any) -> Change:
    """The first scenario of the results has these values."""

    def change(data: Any) -> Any:
        first, *others = data["scenarios"]
        return {**data, "scenarios": [{**first, **values}, *others]}

    return change


def _deep(data: Any) -> Any:
    for _ in range(400):
        data = [data]
    return data


HUGE = 10**400
NAN = float("nan")
# file -> name -> change
VARIANTS: dict[str, dict[str, Change]] = {
    "results.json": {
        "null": lambda data: None,
        "a list": lambda data: [data],
        "no scenarios": _without("scenarios"),
        "scenarios null": _with(scenarios=None),
        "scenarios text": _with(scenarios="text"),
        "scenarios of numbers": _with(scenarios=[1, 2]),
        "scenarios deep": lambda data: {**data, "scenarios": _deep(1)},
        "an unknown scenario": _in_scenario(name="\x1b[31m../../etc"),
        "a winner of text": _in_scenario(winner="text"),
        "a winner without values": _in_scenario(winner={}),
        "trials null": _in_scenario(trials=None),
        "trials huge": _in_scenario(trials={"complete": HUGE}),
        "no name of the study": _without("study", "name"),
        "version huge": _with(version=HUGE),
        "version text": _with(version="1"),
        "version NaN": _with(version=NAN),
    },
    "result.json": {
        "null": lambda data: None,
        "metrics null": _with(metrics=None),
        "metrics NaN": lambda data: {**data, "metrics": {k: NAN for k in data["metrics"]}},
        "metrics huge": lambda data: {**data, "metrics": {k: HUGE for k in data["metrics"]}},
        "metrics of text": lambda data: {**data, "metrics": {k: "a" for k in data["metrics"]}},
        "no metrics": _with(metrics={}),
        "epoch negative": _with(epoch=-3),
        "epoch huge": _with(epoch=HUGE),
        "weights a list": _with(weights=[1]),
        "no counts": _with(samples_per_class=[1]),
        "counts negative": lambda data: {
            **data, "samples_per_class": [-1] * len(data["samples_per_class"])
        },
        "counts zero": lambda data: {
            **data, "samples_per_class": [0] * len(data["samples_per_class"])
        },
        "recalls short": _with(per_class={"val/pgd3": [0.5]}),
        "recalls null": lambda data: {
            **data, "per_class": {k: [None] * len(v) for k, v in data["per_class"].items()}
        },
        "predicted ragged": _with(predicted=[[1], [1, 2], []]),
        "state unknown": _with(state="won"),
        "classes of numbers": _with(classes=[1, 2]),
        "one class": _with(classes=["\x1b]0;title\x07"]),
        "reason huge": lambda data: {"state": "failed", "reason": "x" * 100_000, "seconds": 1.0},
        "deep": _deep,
    },
    "study.json": {
        "null": lambda data: None,
        "empty": lambda data: {},
        "format text": _with(format="1"),
        "format huge": _with(format=HUGE),
        "uid null": _with(uid=None),
        "uid a list": _with(uid=[1]),
        "name a list": _with(name=["x"]),
        "name of escapes": _with(name="\x1b[2Jx"),
        "place a number": _with(place=7),
        "tracking_uri a list": _with(tracking_uri=[1]),
        "tracking_uri unknown": _with(tracking_uri="gopher://x"),
        "created a number": _with(created=HUGE),
        "created no date": _with(created="yesterday"),
        "space null": _with(space=None),
        "space text": _with(space="x"),
        "defaults null": _with(defaults=None),
        "defaults of no JSON": _with(defaults={"optim.lr": "["}),
        "versions a list": _with(versions=[1]),
        "versions null": _with(versions=None),
        "smoke a list": _with(smoke=[1]),
        "searched_on text": _with(searched_on="x"),
        "searched_on of others": _with(searched_on=[{"at": 1}]),
        "history of numbers": _with(history=[1]),
        "history without code": _with(history=[{}]),
        "precision unknown": _with(precision="fp3"),
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def smallest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with one scenario and one seed: it is copied for every variant."""
    folder = tmp_path_factory.mktemp("smallest")
    space = write_space(
        folder, scenarios={"data.imbalance_ratio": [2]}, searcher={"trials": 2},
        confirm={**MINI["confirm"], "seeds": [1]},
    )  # fmt: skip
    done = call("--space", space, "--in-process", "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "studies" / "mini"


@pytest.mark.parametrize(
    ("file", "name"), [(file, name) for file, names in VARIANTS.items() for name in names]
)
def test_tampered_files_are_refused_in_a_sentence_or_not_needed(
    file: str, name: str, smallest: Path, tmp_path: Path
) -> None:
    study = tmp_path / "studies" / "mini"
    shutil.copytree(smallest, study, ignore=shutil.ignore_patterns("mlflow-artifacts"))
    facts = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps({**facts, "place": str(study.resolve())}))
    paths = [study / file]
    if file == "result.json":
        paths = [study / "trials/imbalance_ratio_2/t0000" / file,
                 *study.glob("confirmations/imbalance_ratio_2/*/result.json")]  # fmt: skip
    for path in paths:
        path.write_text(json.dumps(VARIANTS[file][name](json.loads(path.read_text()))))
    for words in COMMANDS:
        if file == "results.json" and name != "null" and words.startswith(("resume", "doctor")):
            continue  # a resume writes these anew, whatever they hold, and takes seconds
        done = call(*words.split(), cwd=tmp_path)  # raises what would be a traceback
        assert done.returncode in (0, 1, 2), (words, done.stderr)
        printed = done.stdout + done.stderr
        assert "Traceback" not in printed, (words, printed)
        assert "\x1b" not in printed and "\x07" not in printed, (words, printed)
        assert len(printed) < 200_000, words
