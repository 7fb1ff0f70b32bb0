"""What may be different when a study is resumed, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ltat_tune.engine.study import StudyRun
from ltat_tune.errors import StudyError
from ltat_tune.preflight.load import load_space
from ltat_tune.preflight.resume import space_differences
from ltat_tune.space.reader import read_space
from ltat_tune.storage.code_history import code_history, record_start
from tests.drive import MINI, write_space


def _study(folder: Path) -> StudyRun:
    space = load_space(write_space(folder))
    return StudyRun.create(space, folder / "studies", source="mini.yaml")


def _edit(study: StudyRun, **parts: dict[str, Any]) -> None:
    document = yaml.safe_load(study.folder.space.read_text())
    for key, values in parts.items():
        document.setdefault(key, {}).update(values)
    study.folder.space.write_text(yaml.safe_dump(document))


def test_what_is_only_written_differently_is_no_difference(tmp_path: Path) -> None:
    study = _study(tmp_path)
    _edit(
        study,
        fixed={"attack.eps": "1/10", "optim.momentum": 0.9},  # a default, in full
        searcher={"name": "tpe"},
        scheduler={"name": "asha"},
    )
    now = yaml.safe_load(study.folder.space.read_text())
    assert space_differences(study.folder.read_facts(), now) == {}
    assert StudyRun.open(study.folder.root).changes == []


def test_a_study_goes_on_with_the_searcher_that_it_began_with(tmp_path: Path) -> None:
    """A new study names its searcher in its own file; one that names none began with tpe."""
    path = write_space(tmp_path)
    document = yaml.safe_load(path.read_text())
    document["searcher"].pop("name")
    path.write_text(yaml.safe_dump(document))
    new = StudyRun.create(load_space(path), tmp_path / "studies", source="mini.yaml")
    assert new.space.searcher.name == "predict"
    assert yaml.safe_load(new.folder.space.read_text())["searcher"] == {
        "name": "predict", "trials": 4, "at_least": {},
    }  # fmt: skip
    # as an earlier version would have left it
    new.folder.space.write_text(yaml.safe_dump(document))
    new.folder.write_facts({**new.folder.read_facts(), "space": document})
    assert read_space(new.folder.space).searcher.name == "tpe"
    old = StudyRun.open(new.folder.root, trials=5)
    assert (old.space.searcher.name, old.space.searcher.trials) == ("tpe", 5)
    assert old.changes == ["searcher.trials: 4 then, 5 now"]
    _edit(old, searcher={"name": "predict"})
    with pytest.raises(StudyError, match="searcher.name: tpe then, predict now"):
        StudyRun.open(new.folder.root)


def test_more_trials_seeds_attacks_and_other_resources_are_allowed_and_told(
    tmp_path: Path,
) -> None:
    study = _study(tmp_path)
    _edit(
        study,
        searcher={"trials": 6},
        confirm={"top": 2, "seeds": [3, 2, 1], "attacks": ["pgd5", "clean", "pgd3"]},
        resources={"concurrency": 1, "hang_floor_s": 30},
    )
    assert sorted(StudyRun.open(study.folder.root).changes) == [
        "confirm.attacks: clean, pgd3 then, pgd5, clean, pgd3 now",
        "confirm.seeds: 1, 2 then, 3, 2, 1 now",
        "confirm.top: 1 then, 2 now",
        "resources.concurrency: null then, 1 now",
        "resources.hang_floor_s: 600 then, 30 now",
        "searcher.trials: 4 then, 6 now",
    ]


def test_every_other_change_is_refused_with_both_values(tmp_path: Path) -> None:
    study = _study(tmp_path)
    document = yaml.safe_load(study.folder.space.read_text())
    document["fixed"]["optim.epochs"] = 8
    document["scenarios"] = {"data.imbalance_ratio": [2]}
    document["tuned"]["optim.lr"]["high"] = 0.5
    document["start_from"].pop()
    document["searcher"] = {"trials": 3, "seed": 1}
    document["scheduler"] = {"name": "none"}
    document["confirm"]["seeds"] = [1]
    document["resources"] = {"concurrency": 1}  # allowed, so not told here
    study.folder.space.write_text(yaml.safe_dump(document))
    with pytest.raises(StudyError) as caught:
        StudyRun.open(study.folder.root)
    told = [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]]
    assert sorted(told) == [
        "confirm.seeds", "optim.epochs", "scenarios data.imbalance_ratio", "scheduler.name",
        "searcher.seed", "searcher.trials", "start_from", "tuned optim.lr",
    ]  # fmt: skip
    assert "optim.epochs: 6 then, 8 now" in str(caught.value)
    assert "confirm.seeds: 1, 2 then, 1 now" in str(caught.value)


def test_a_grid_has_no_more_trials(tmp_path: Path) -> None:
    space = load_space(write_space(tmp_path, searcher={"name": "list"}))
    study = StudyRun.create(space, tmp_path / "studies", source="mini.yaml")
    document = yaml.safe_load(study.folder.space.read_text())
    document["start_from"].append({"optim.lr": 0.3, "loss.name": "cross_entropy"})
    study.folder.space.write_text(yaml.safe_dump(document))
    with pytest.raises(StudyError, match="start_from"):
        StudyRun.open(study.folder.root)


def test_a_study_that_exists_says_how_the_file_differs(tmp_path: Path) -> None:
    _study(tmp_path)
    other = load_space(write_space(tmp_path, fixed={**MINI["fixed"], "optim.epochs": 8}))
    with pytest.raises(StudyError) as caught:
        StudyRun.create(other, tmp_path / "studies", source="mini.yaml")
    assert str(caught.value).splitlines()[1:] == ["  optim.epochs: 6 then, 8 now"]


def test_other_code_is_warned_of_once_and_recorded() -> None:
    facts: dict[str, Any] = {
        "created": "2026-01-01T00:00:00+00:00", "versions": {"ltat-tune": "0.1"}, "commit": "aaa",
    }  # fmt: skip
    assert code_history(facts) == "0.1 (aaa)"
    assert record_start(facts, versions={"ltat-tune": "0.1"}, commit="aaa", changes=()) == ""
    assert "history" not in facts
    warning = record_start(
        facts, versions={"ltat-tune": "0.2"}, commit="", changes=("a: 1 then, 2 now",)
    )
    assert "from ltat-tune 0.1 (aaa) to 0.2 (no commit)" in warning
    assert record_start(facts, versions={"ltat-tune": "0.2"}, commit="", changes=()) == ""
    assert code_history(facts) == "0.1 (aaa), then 0.2 (no commit)"
    first, second = facts["history"]
    assert first == {"at": "2026-01-01T00:00:00+00:00", "code": "0.1 (aaa)"}
    assert second["changes"] == ["a: 1 then, 2 now"]
