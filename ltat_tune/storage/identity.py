"""What a study is, wherever its folder lies: its id, its experiment in MLflow and its place."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ltat_tune.errors import StudyError
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.tracking.relocation import follow
from ltat_tune.tracking.store import (
    check_uri,
    lasting_uri,
    public_uri,
    reason,
    sqlite_file,
    sqlite_uri,
    store_remedy,
    tracking_uri,
)


@dataclass(frozen=True)
class StudyStore:
    """Where MLflow has a study's runs.

    Attributes:
        uri: of the store.
        experiment: name of the experiment, which a renamed folder keeps.
        uid: id of the study, a tag of all its runs.
    """

    uri: str
    experiment: str
    uid: str

    @property
    def exists(self) -> bool:
        """Whether the store may have runs: a file that is not there has none."""
        file = sqlite_file(self.uri)
        return file is None or file.exists()


def store_of(folder: StudyFolder) -> StudyStore:
    """Return where MLflow has the runs of a study."""
    facts = folder.read_facts()
    uri = tracking_uri(facts.get("tracking_uri"), folder.root)
    return StudyStore(uri, str(facts.get("name") or _name(folder)), str(facts.get("uid", "")))


def own_name(folder: StudyFolder) -> str:
    """Return the name that a study was made with."""
    return str(folder.read_facts().get("name") or _name(folder))


def _name(folder: StudyFolder) -> str:
    """Return the name in the space file, for studies of 0.4.0; the folder's if it has none."""
    with contextlib.suppress(OSError, ValueError, yaml.YAMLError, AttributeError):
        name = yaml.safe_load(folder.space.read_text(encoding="utf-8")).get("name")
        return str(name or folder.root.name)
    return folder.root.name


def settled_store(folder: StudyFolder, *, writes: bool = True) -> StudyStore:
    """Return where MLflow has the runs, once the study is settled in its folder.

    Args:
        folder: the study.
        writes: whether runs will be written. Who only reads finds a copy's runs in the original.

    Raises:
        StudyError: the study was moved or copied and cannot be written where it is now.
    """
    with _locked_if_moved(folder) as is_free:
        if is_free and (writes or _original(folder.read_facts(), folder) is None):
            settle(folder)
    return store_of(folder)


def replace_store(folder: StudyFolder, uri: str) -> None:
    """Take another MLflow store. Raise StudyError if the present one has runs of trainings."""
    check_uri(uri)
    facts, given = folder.read_facts(), lasting_uri(uri, folder.root)
    if given == facts.get("tracking_uri"):
        return
    if any(folder.root.glob("trials/*/*/checkpoint.pt")):
        raise StudyError(
            f"{folder.root.name} has trained, and its runs are in "
            f"{public_uri(store_of(folder).uri)}; --tracking-uri is for a study that has not "
            "trained yet"
        )
    with folder.locked():
        folder.write_facts({**facts, "tracking_uri": given})


@contextlib.contextmanager
def _locked_if_moved(folder: StudyFolder) -> Iterator[bool]:
    """Yield whether the study is to be settled, and lock it if so."""
    if folder.read_facts().get("place") == _here(folder) or folder.is_running():
        yield False
        return
    try:
        lock = folder.locked()
        lock.__enter__()
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield True
    finally:
        lock.__exit__(None, None, None)


def settle(folder: StudyFolder) -> list[str]:
    """Let a study that was moved or copied live where it is now; the caller holds its lock.

    What it keeps by absolute address follows the folder. A copy gets an id of its own, because
    both would write to the same runs otherwise.

    Returns:
        Notes for the user.

    Raises:
        StudyError: the study was moved or copied and cannot be written.
    """
    from sqlalchemy.exc import SQLAlchemyError

    facts, here = folder.read_facts(), _here(folder)
    place = facts.get("place")
    if place == here:
        return []
    before = None if place is None else Path(str(place))
    original = _original(facts, folder)
    uid = uuid.uuid4().hex[:12] if original else str(facts.get("uid") or uuid.uuid4().hex[:12])
    given = facts.get("tracking_uri")
    file = None if given is None else sqlite_file(str(given))
    if file is not None and before is not None and file.is_relative_to(before):
        given = sqlite_uri(folder.root.resolve() / file.relative_to(before))
    uri = tracking_uri(given, folder.root)
    own = given is None or (sqlite_file(uri) or Path()).is_relative_to(folder.root.resolve())
    try:
        changed = False
        if own or not original:
            if own or before is not None:
                new_uid = uid if own and original else None
                changed = follow(uri, None if own else before, Path(here), uid=new_uid)
        folder.write_facts({**facts, "uid": uid, "tracking_uri": given, "place": here})
    except OSError as error:
        raise _unwritable(folder, error) from error
    except SQLAlchemyError as error:
        if "readonly" in str(error):
            raise _unwritable(folder, error) from None
        remedy = store_remedy(uri, folder.root)
        raise StudyError(f"{public_uri(uri)}: {reason(error, uri)}; {remedy}") from None
    if original:
        return [f"this study is a copy of {original}; it has an identity of its own from now on"]
    if before is not None or changed:
        return [f"this study was moved{f' from {before}' if before else ''}; its records follow"]
    return []


def _here(folder: StudyFolder) -> str:
    return str(folder.root.resolve())


def _original(facts: dict[str, Any], folder: StudyFolder) -> Path | None:
    """Return the folder that this study was copied from, if the original is still there."""
    if facts.get("place") is None:
        return None
    before = Path(str(facts["place"]))
    other = StudyFolder(before)
    try:
        if not other.facts.exists() or before.samefile(folder.root):
            return None
        same = other.read_facts().get("uid") == facts.get("uid")
    except (OSError, StudyError):  # somebody's, and not to be read
        return before
    return before if same else None


def _unwritable(folder: StudyFolder, error: Exception) -> StudyError:
    text = str(error.strerror if isinstance(error, OSError) else error).splitlines()[0]
    return StudyError(
        f"{folder.root} was moved or copied, and its records cannot follow ({text}); make it "
        "writable, or copy it to a place that is"
    )
