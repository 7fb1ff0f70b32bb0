"""Checkpoints: written whole or not at all, read without running code."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ltat_tune.errors import CheckpointError
from ltat_tune.files import replacing

FORMAT = 1


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state, so that a reader finds the old one or the new one.

    The state before stays as `earlier(path)`: a power cut may tear what was renamed but is not
    on the disk yet. `mend_checkpoint` goes back to it.

    Raises:
        OSError: the disk is full or the folder not writable; the old checkpoint stays.
    """
    try:
        with replacing(path, sync=False) as temporary:
            with open(temporary, "wb") as file:  # else torch writes the path into the file
                torch.save({"format": FORMAT, **state}, file)
            if path.exists():
                _keep(path)
    except RuntimeError as error:  # torch reports a full disk so
        raise OSError(f"cannot write {path}: {error}") from error


def load_checkpoint(path: Path, *, identity: str) -> dict[str, Any]:
    """Reads tensors and plain values only; nothing in the file can run.

    Raises:
        CheckpointError: torn, of another format, or of a configuration with another identity.
        OSError: the file cannot be read.
    """
    state = _read(path)
    if state.get("identity") != identity:
        raise CheckpointError(
            f"{path} must be of configuration {identity}, got {state.get('identity')}; "
            "use another folder"
        )
    return state


def earlier(path: Path) -> Path:
    """Where the state before a checkpoint's newest lies while it trains."""
    return path.with_name(f"{path.stem}-earlier{path.suffix}")


def _keep(path: Path) -> None:
    earlier(path).unlink(missing_ok=True)
    try:
        os.link(path, earlier(path))  # so `path` is there at every moment
    except OSError:  # a file system without hard links: for a moment only the earlier one is
        os.replace(path, earlier(path))


def mend_checkpoint(path: Path, *, identity: str) -> None:
    """Leaves the newest whole state at `path`, or nothing if there is none.

    Of another configuration counts as torn: training again costs time, a wrong start the result.

    Raises:
        OSError: a file cannot be read or moved.
    """
    for place in (path, earlier(path)):
        try:
            load_checkpoint(place, identity=identity)
        except FileNotFoundError:
            continue
        except CheckpointError:
            place.unlink()
            continue
        if place != path:
            os.replace(place, path)
        return


def adopt_checkpoint(source: Path, target: Path, *, identity: str) -> None:
    """Makes one configuration's early state the beginning of another's: a branch from a stem.

    That the two agree in everything that acts so far is the caller's business.

    Raises:
        CheckpointError: the source is torn, or of another format.
        OSError: it cannot be read, or the target not be written.
    """
    save_checkpoint(target, {**_read(source), "identity": identity})


def read_history(path: Path) -> list[Any]:
    """[epoch, metrics, seconds] of every epoch that a checkpoint knows; weights are not read.

    Raises:
        CheckpointError: torn, or of another format.
        OSError: the file cannot be read.
    """
    with open(path, "rb"):  # what torch makes of a missing file is told from a torn one
        pass
    history: list[Any] = _load(path, path, mmap=True)["history"]
    return history


def _read(path: Path) -> dict[str, Any]:
    return _load(path, io.BytesIO(path.read_bytes()))


def _load(path: Path, content: Path | io.BytesIO, *, mmap: bool = False) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(
            content, map_location="cpu", weights_only=True, mmap=mmap
        )
    except Exception as error:  # torn bytes raise anything, OSError, KeyError, IndexError included
        raise CheckpointError(f"{path} is not a whole checkpoint: {error}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} must have checkpoint format {FORMAT}; train it again")
    return state


def weights_hash(state: dict[str, Tensor]) -> str:
    """16 hex digits of every weight and buffer: equal means equal to the last bit."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
