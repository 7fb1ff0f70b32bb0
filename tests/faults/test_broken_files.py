"""One broken or foreign file breaks nothing but itself, and says which it is and what to do."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from ltat_tune.errors import StudyError
from ltat_tune.storage.training_files import (
    RESULT,
    SENTINEL,
    TEST,
    read_masking,
    read_test,
    read_training,
)
from tests.drive import call
from tests.made_studies import made_study

ROOT = os.geteuid() == 0


def _break(path: Path, how: str) -> None:
    if how == "empty":
        path.write_bytes(b"")
    elif how == "torn":
        path.write_bytes(path.read_bytes()[:20])
    elif how == "garbage":
        path.write_bytes(os.urandom(300))
    elif how == "list":
        path.write_text("[1, 2]")
    elif how == "nested":
        path.write_text("[" * 100_000)
    else:
        path.unlink()
        os.mkfifo(path)


@pytest.mark.parametrize("how", ["empty", "torn", "garbage", "list", "nested", "pipe"])
def test_a_broken_study_is_a_row_of_ls_left_alone_by_gc_and_can_be_removed(
    how: str, tmp_path: Path
) -> None:
    made_study(tmp_path / "studies", "good")
    broken = made_study(tmp_path / "studies", "broken").root
    _break(broken / "study.json", how)
    rows = json.loads(call("ls", "--format", "json", cwd=tmp_path).stdout)
    expected = ["good"] if how == "pipe" else ["broken", "good"]
    assert [row["study"] for row in rows] == expected
    if how == "pipe":
        return
    assert rows[0]["state"] == "unreadable study.json" and "study.json" in rows[0]["error"]
    done = call("gc", "--yes", cwd=tmp_path)
    assert done.returncode == 0 and "broken is left alone: " in done.stderr
    for words in ("show broken t0000", "resume broken", "report broken", "ui broken"):
        done = call(*words.split(), cwd=tmp_path)
        assert done.returncode == 2 and "study.json" in done.stderr
    done = call("rm", "broken", "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not broken.exists()


@pytest.mark.parametrize("how", ["empty", "torn", "garbage", "list", "nested", "pipe"])
def test_a_broken_file_of_a_training_is_named_with_the_remedy(how: str, tmp_path: Path) -> None:
    folder = made_study(tmp_path / "studies", "made")
    (place, *_) = sorted(folder.root.glob("confirmations/*/*"))
    (place / "sentinel.json").write_text("{}")
    for name, read in ((RESULT, read_training), (TEST, read_test), (SENTINEL, read_masking)):
        _break(place / name, how)
        with pytest.raises(StudyError, match=f"{name}.*(restore|a pipe)"):
            read(place)


@pytest.mark.skipif(not ROOT, reason="only root can be another user")
def test_a_study_of_another_user_is_read_and_what_only_its_owner_may_is_refused(
    tmp_path: Path,
) -> None:
    import subprocess
    import sys

    made_study(tmp_path / "studies", "made")
    secret = made_study(tmp_path / "studies", "secret").root
    (secret / "study.json").chmod(0o600)
    shutil.chown(tmp_path, 0)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder != Path("/tmp") and folder.is_relative_to("/tmp"):
            folder.chmod(0o755)
    code = """
import json, os, sys, pwd
from pathlib import Path
from ltat_tune.comparison.study_list import overview
from ltat_tune.errors import StudyError
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.trials import read_trials
pwd.getpwuid(0)
overview(Path("studies"))
os.setgid(65534)
os.setuid(65534)
states = [row["state"] for row in overview(Path("studies"))]
said = []
for call in (lambda: StudyFolder.open(Path("studies/secret")),
             lambda: StudyFolder(Path("studies/made")).locked().__enter__()):
    try:
        call()
    except StudyError as error:
        said.append(str(error))
trials = len(read_trials(StudyFolder.open(Path("studies/made"))))
print(json.dumps([states, said, trials]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True,
                          capture_output=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    states, said, trials = json.loads(done.stdout)
    assert states == ["finished", "unreadable study.json"] and trials == 7
    assert "it belongs to root, who can let others read it: chmod a+r" in said[0]
    assert "run it as its owner, or copy it" in said[1]
