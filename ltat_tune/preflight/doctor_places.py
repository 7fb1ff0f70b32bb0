"""The doctor's checks of what lies on disk: free space, MLflow stores and data sets."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from ltat_tune.config.sections import DataConfig
from ltat_tune.errors import LtatError, StudyError
from ltat_tune.files import beside
from ltat_tune.preflight.finding import Finding
from ltat_tune.storage.folder import StudyFolder, list_studies

_LEAST_FREE, _LITTLE_FREE = 64 << 20, 1 << 30
_WRITTEN = 8 << 20  # bytes of the test write
_SLOW = 10e6  # bytes a second
_NETWORK = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "fuse.s3",
            "fuse.gcs", "9p", "afs")  # fmt: skip


def check_disk(out: Path) -> Iterator[Finding]:
    """Check the free space, the speed and the kind of the file system that holds the studies."""
    place = next(p for p in (out.resolve(), *out.resolve().parents) if p.is_dir())
    free = shutil.disk_usage(place).free
    text = f"{free / 2**30:.1f} GiB free in {place}"
    if free < _LEAST_FREE:
        yield Finding("disk", "fail", text, "make room, or choose another place with --out")
    elif free < _LITTLE_FREE:
        yield Finding("disk", "warn", text, "ltat-tune gc frees space; ltat-tune plan shows how "
                      "much a study takes")  # fmt: skip
    else:
        yield Finding("disk", "ok", text)
    if not os.access(place, os.W_OK):
        yield Finding("disk", "fail", f"{place} is not writable", "choose another with --out")
        return
    speed = _write_speed(place)
    text = f"{speed / 1e6:.0f} MB/s written to disk"
    if speed < _SLOW:
        yield Finding("disk speed", "warn", text, "every epoch writes a checkpoint; use --out on "
                      "a local disk")  # fmt: skip
    else:
        yield Finding("disk speed", "ok", text)
    kind = file_system(place)
    if kind.startswith(_NETWORK):
        remedy = "use --out on a local disk, or an MLflow server with --tracking-uri"
        text = f"{place} is on {kind}, where SQLite's locks fail"
        yield Finding("file system", "warn", text, remedy)
    else:
        yield Finding("file system", "ok", f"{kind or 'of unknown kind'}, local")


def _write_speed(place: Path) -> float:
    """Return how many bytes a second reach the disk."""
    path = beside(place / "ltat-doctor")
    block = os.urandom(1 << 20)
    began = time.perf_counter()
    try:
        with open(path, "wb") as file:
            for _ in range(_WRITTEN >> 20):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        return _WRITTEN / (time.perf_counter() - began)
    finally:
        path.unlink(missing_ok=True)


def file_system(place: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Return the kind of file system that a folder lies on, such as ext4 or nfs4; empty if
    unknown.
    """
    best, kind = "", ""
    with contextlib.suppress(OSError):
        for line in mounts.read_text().splitlines():
            _, point, fs_type, *_ = line.split()
            point = point.replace("\\040", " ")
            inside = str(place) == point or str(place).startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, fs_type
    return kind


def check_mlflow(uri: str | None, out: Path) -> Iterator[Finding]:
    """Check the MLflow store at `uri`; without one, check the database file of every study."""
    from ltat_tune.tracking.db_schema import revisions
    from ltat_tune.tracking.store import public_uri, tracking_uri

    if not revisions()[1]:
        yield Finding("mlflow", "fail", "is not installed, or lacks its table definitions",
                      "pip install --upgrade 'mlflow>=3.17,<4'")  # fmt: skip
        return
    if uri is not None:
        yield _store(uri, public_uri(uri))
        return
    broken, count = [], 0
    for name in list_studies(out):
        folder = StudyFolder(out / name)
        if (folder.root / "mlflow.db").exists():
            count += 1
            finding = _store(tracking_uri(None, folder.root), name)
            broken += [] if finding.level == "ok" else [finding]
    yield from broken
    if not broken:
        note = f"; those of {count} studies open" if count else ""
        yield Finding("mlflow", "ok", f"a SQLite file for each study, tables of revision "
                      f"{revisions()[1]}{note}")  # fmt: skip


def _store(uri: str, name: str) -> Finding:
    from ltat_tune.tracking.db_schema import revisions, schema_of

    known_revisions, latest = revisions()
    try:
        revision = schema_of(uri)
    except StudyError as error:
        return Finding("mlflow", "fail", f"does not answer: {error}",
                       "start it, or correct --tracking-uri or MLFLOW_TRACKING_URI")  # fmt: skip
    if revision == "server":
        return Finding("mlflow", "ok", f"{name} answers")
    if not revision:
        return Finding("mlflow", "ok", f"{name} is empty; the first study creates its tables")
    if revision == latest:
        return Finding("mlflow", "ok", f"{name} has the tables of this MLflow ({latest})")
    if revision in known_revisions:
        return Finding("mlflow", "warn", f"{name} has older tables ({revision}, now {latest})",
                       f"mlflow db upgrade {name if '://' in name else uri}")  # fmt: skip
    return Finding("mlflow", "fail", f"{name} has tables of another MLflow version ({revision})",
                   "use the MLflow that created it: pip install --upgrade mlflow")  # fmt: skip


def check_data() -> Iterator[Finding]:
    """Report which data sets are on this machine. Only looks for their files by name."""
    from ltat_tune.data.sources import is_available

    yield Finding("data", "ok", "digits come with scikit-learn")
    for name in ("cifar10", "cifar100", "svhn", "tiny_imagenet", "mnist", "fashion_mnist"):
        config = DataConfig.model_validate({"name": name})
        try:
            there = is_available(config)
        except LtatError as error:
            yield Finding("data", "warn", f"{name}: {str(error).splitlines()[0]}",
                          f"ltat-tune prepare {name}")  # fmt: skip
            continue
        if there:
            yield Finding("data", "ok", f"{name} is on this machine",
                          f"check it: ltat-tune prepare {name}")  # fmt: skip
        else:
            yield Finding("data", "ok", f"{name} is not on this machine",
                          f"if you need it: ltat-tune prepare {name}")  # fmt: skip
