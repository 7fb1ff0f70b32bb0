"""`ltat-tune doctor STUDY`: what is damaged is found, set aside, and made again by a resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.damage import flip
from tests.drive import call, mlflow_runs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def study(small_study: Path, tmp_path: Path) -> Path:
    """A copy of the small study, moved to where this test is."""
    copied = Path(shutil.copytree(small_study, tmp_path / "studies" / "mini"))
    facts = json.loads((copied / "study.json").read_text())
    (copied / "study.json").write_text(json.dumps({**facts, "place": str(copied.resolve())}))
    return copied


def _scenarios(study: Path) -> object:
    return json.loads((study / "results.json").read_text())["scenarios"]


def _doctor(study: Path, *words: str) -> tuple[int, str]:
    done = call("doctor", "mini", *words, cwd=study.parents[1])
    return done.returncode, done.stdout


def test_a_whole_study_has_no_findings_and_every_damage_has_one_that_mends_it(
    study: Path,
) -> None:
    assert _doctor(study) == (0, "ok    study          studies/mini: everything in it fits "
                                 "together\n\nno problems\n")  # fmt: skip
    before = _scenarios(study)
    confirmations = sorted(study.glob("confirmations/*/*"))
    flip(confirmations[0] / "checkpoint.pt", 5000)
    (confirmations[1] / "test.json").write_bytes(b"")
    trial = study / "trials" / "imbalance_ratio_2" / "t0000"
    kept = (trial / "result.json").read_text()
    (trial / "result.json").write_text(kept[:100])
    (study / "results.json").write_text("{")
    (best,) = (study / "best").glob("*_2.safetensors")
    flip(best, 3000)
    flip(next(study.glob("data/*train*/images.npy")), 9000)
    status, said = _doctor(study)
    assert status == 1
    for what in (
        f"{confirmations[0].relative_to(study)}/checkpoint.pt: ",
        f"{confirmations[1].relative_to(study)}/test.json is damaged",
        "trials/imbalance_ratio_2/t0000/result.json is damaged",
        "results.json is damaged",
        f"best/{best.name} is damaged",
        "decoded images data/",
    ):
        assert what in said
    assert said.splitlines()[-1].startswith("6 to fix")
    status, said = _doctor(study, "--mend")
    assert status == 0, said
    assert (trial / "result.json").read_text() == kept
    done = call("resume", "mini", "--in-process", cwd=study.parents[1])
    assert done.returncode == 0, done.stderr
    assert _scenarios(study) == before
    status, said = _doctor(study)
    assert (status, said.splitlines()[-1]) == (0, "no problems"), said


def test_a_result_that_is_made_again_has_its_second_opinion(study: Path) -> None:
    space = yaml.safe_load((study / "space.yaml").read_text())
    space["objective"] = {**space["objective"], "second_opinion": True}
    (study / "space.yaml").write_text(yaml.safe_dump(space))
    result = next(study.glob("confirmations/*/*/result.json"))
    assert json.loads(result.read_text())["second_opinion"] is None
    result.write_text("{")
    _doctor(study, "--mend")
    assert json.loads(result.read_text())["second_opinion"]["images"] > 0


def test_a_damaged_ledger_is_refused_in_words_by_all_that_read_it(study: Path) -> None:
    """What then makes it again: test_lost_files.py."""
    root, ledger = study.parents[1], study / "ledger.journal"
    lines = ledger.read_bytes().split(b"\n")
    ledger.write_bytes(b"\n".join([*lines[:5], b"\0garbage", *lines[5:]]))
    for words in (["resume", "mini", "--trials", "3", "--in-process"], ["compare", "mini"]):
        done = call(*words, cwd=root)
        assert done.returncode in (1, 2)
        assert "doctor" in done.stderr and "from the trials' own files" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_damaged_mlflow_store_is_made_again_from_the_study_s_own_files(study: Path) -> None:
    runs = {run.data.tags["ltat.key"] for run in mlflow_runs(study)}
    moved = study.rename(study.with_name("other"))  # MLflow keeps engines by address
    (moved / "mlflow.db").write_bytes(b"\0" * 100_000)
    done = call("resume", "other", "--in-process", cwd=study.parents[1])
    assert done.returncode == 2
    assert "file is not a database" in done.stderr
    assert "--mend` lets a resume write it anew" in done.stderr
    done = call("doctor", "other", "--mend", cwd=study.parents[1])
    assert done.returncode == 0 and "mlflow.db.damaged" in done.stdout
    moved = moved.rename(study.with_name("third"))
    done = call("resume", "third", "--in-process", cwd=study.parents[1])
    assert done.returncode == 0, done.stderr
    from ltat_tune.storage.folder import StudyFolder
    from ltat_tune.storage.identity import store_of
    from ltat_tune.tracking.store import run_states

    store = store_of(StudyFolder(moved))
    states = run_states(store.uri, store.experiment, store.uid)
    assert states.keys() == runs
    assert {state for state, _ in states.values()} == {"FINISHED"}
