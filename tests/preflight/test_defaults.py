"""A study is not resumed under defaults that are not its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltat_tune.engine.study import StudyRun
from ltat_tune.errors import StudyError
from ltat_tune.files import write_json
from tests.spaces import space_of

SPACE = """name: kept
fixed: {data.val_per_class: 30, optim.momentum: 0.9}
tuned: {optim.lr: {type: float, low: 0.01, high: 0.1}}
"""


def _study(tmp_path: Path, changed: str) -> Path:
    study = StudyRun.create(space_of(tmp_path, SPACE), tmp_path / "studies", source="space.yaml")
    facts = study.folder.read_facts()
    facts["defaults"][changed] = "[0.123]"
    write_json(study.folder.facts, facts)
    return study.folder.root


def test_another_default_is_told_with_both_values_and_a_remedy(tmp_path: Path) -> None:
    root = _study(tmp_path, "optim.weight_decay")
    with pytest.raises(StudyError) as caught:
        StudyRun.open(root, check_machine=False)
    text = str(caught.value)
    assert "which had other defaults" in text and f"under fixed in {root}" in text
    assert "optim.weight_decay: [0.123] then, [0.0005] now" in text


def test_a_default_of_a_method_that_the_study_does_not_train_may_come_or_go(
    tmp_path: Path,
) -> None:
    study = StudyRun.create(space_of(tmp_path, SPACE), tmp_path / "studies", source="space.yaml")
    facts = study.folder.read_facts()
    # as before there were dafa, faal and cfa
    facts["defaults"]["method.beta"] = '[6.0, ["method.name", ["mart"], 5.0]]'
    del facts["defaults"]["method.base"]
    write_json(study.folder.facts, facts)
    assert StudyRun.open(study.folder.root, check_machine=False).space.name == "kept"
    # pgd_at is what it trains
    facts["defaults"]["attack.start"] = '["uniform", ["method.name", ["pgd_at"], "none"]]'
    write_json(study.folder.facts, facts)
    with pytest.raises(StudyError, match="attack.start: .* then"):
        StudyRun.open(study.folder.root, check_machine=False)


@pytest.mark.parametrize("said", ["optim.momentum", "optim.lr"])
def test_what_the_space_file_says_has_no_default(tmp_path: Path, said: str) -> None:
    assert StudyRun.open(_study(tmp_path, said), check_machine=False).space.name == "kept"
