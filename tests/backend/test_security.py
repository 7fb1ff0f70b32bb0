"""Nobody else reaches a study's Ray, and passwords stay in one file of their owner."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

from ltat_tune.engine.study import StudyRun
from ltat_tune.preflight.load import load_space
from tests.drive import LOOPBACK, listening, write_space

# what it prints is the address of its Ray; it ends when stdin does
OWNER = """
import sys
from ltat_tune.backend.ray_session import ray_session
with ray_session(1):
    import ray
    @ray.remote
    def work():
        return 1
    assert ray.get(work.remote()) == 1
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
"""
VISITOR = """
import sys
from ray._raylet import GcsClient
print(len(GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10)))
"""


def test_a_studys_ray_listens_on_loopback_and_to_its_token_alone() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        address = owner.stdout.readline().strip()
        assert address.startswith("127.0.0.1:")
        assert set() < listening(owner.pid) <= LOOPBACK
        visits = [
            subprocess.run(
                [sys.executable, "-c", VISITOR, address], env={**os.environ, **token},
                capture_output=True, text=True, check=False, timeout=60,
            )
            for token in (
                {"RAY_AUTH_MODE": "token"},
                {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64},
                {"RAY_AUTH_MODE": "disabled"},
            )
        ]  # fmt: skip
    finally:
        owner.communicate("")
    known, *strangers = visits
    assert known.stdout == "1\n", known.stderr
    for refused in strangers:
        assert refused.returncode != 0 and refused.stdout == ""
        assert "Unauthenticated" in refused.stderr


def test_a_password_lies_in_one_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    study = StudyRun.create(
        load_space(write_space(tmp_path)), tmp_path / "studies", source="mini.yaml",
        tracking_uri="postgresql://me:s3cret@db.example/mlflow?password=s3cret",
    )  # fmt: skip
    holding = [p for p in tmp_path.rglob("*") if p.is_file() and b"s3cret" in p.read_bytes()]
    secrets = study.folder.root / "secrets.json"
    assert holding == [secrets]
    for _ in range(2):
        assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
        assert stat.S_IMODE(study.folder.facts.stat().st_mode) & 0o004  # for everybody's `ls`
        study.folder.write_facts({**study.folder.read_facts(), "more": 1})
    assert "s3cret" in study.folder.read_facts()["tracking_uri"]
