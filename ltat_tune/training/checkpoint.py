"""Checkpoint files. They are written completely or not at all, and reading one runs no code."""

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

CHECKPOINT_FORMAT = 1


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state, so that a reader finds the old one or the new one.

    The previous state is kept as `earlier(path)`, because a power cut may tear a renamed file that
    has not reached the disk. `mend_checkpoint` then restores the previous state.

    Raises:
        OSError: the disk is full, or the folder is not writable. The old checkpoint remains.
    """
    try:
        with replacing(path, sync=False) as temporary:
            with open(temporary, "wb") as file:  # else torch writes the path into the file
                torch.save({"format": CHECKPOINT_FORMAT, **state}, file)
            if path.exists():
                _keep(path)
    except RuntimeError as error:  # torch reports a full disk this way
        raise OSError(f"cannot write {path}: {error}") from error


def load_checkpoint(path: Path, *, identity: str) -> dict[str, Any]:
    """Read a checkpoint. It holds tensors and plain values only, so no code can run.

    Raises:
        CheckpointError: the file is torn, has another format, or belongs to a configuration with
            another identity.
        OSError: the file cannot be read.
    """
    state = _read(path)
    if state.get("identity") != identity:
        raise CheckpointError(
            f"{path} must belong to configuration {identity}, got {state.get('identity')}; "
            "use another folder"
        )
    return state


def earlier(path: Path) -> Path:
    """Return the path of the state before the newest one. It exists while the trial trains."""
    return path.with_name(f"{path.stem}-earlier{path.suffix}")


def _keep(path: Path) -> None:
    earlier(path).unlink(missing_ok=True)
    try:
        os.link(path, earlier(path))  # so that `path` exists at every moment
    except OSError:  # without hard links, only the earlier file exists for a moment
        os.replace(path, earlier(path))


def mend_checkpoint(path: Path, *, identity: str) -> None:
    """Leave the newest complete state at `path`, or no file if there is none.

    A state of another configuration counts as torn: training again only costs time, but a wrong
    start would falsify the result.

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
    """Copy one configuration's early state as the start of another: a branch from a stem.

    The caller must ensure that the two configurations agree in everything that has acted so far.

    Raises:
        CheckpointError: the source is torn or has another format.
        OSError: the source cannot be read, or the target cannot be written.
    """
    save_checkpoint(target, {**_read(source), "identity": identity})


def read_history(path: Path) -> list[Any]:
    """Return [epoch, metrics, seconds] of every epoch in a checkpoint, without reading weights.

    Raises:
        CheckpointError: the file is torn or has another format.
        OSError: the file cannot be read.
    """
    with open(path, "rb"):  # a missing file raises OSError here; `_load` would call it torn
        pass
    history: list[Any] = _load(path, path, mmap=True)["history"]
    return history


def history_if_readable(path: Path) -> list[Any]:
    """Return what `read_history` does; empty if there is no checkpoint, or a damaged one."""
    if not path.exists():
        return []
    try:
        return read_history(path)
    except CheckpointError:  # torn by a power cut, or being written
        return []


def _read(path: Path) -> dict[str, Any]:
    return _load(path, io.BytesIO(path.read_bytes()))


def _load(path: Path, content: Path | io.BytesIO, *, mmap: bool = False) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(
            content, map_location="cpu", weights_only=True, mmap=mmap
        )
    except Exception as error:  # torn bytes raise many errors, even OSError and IndexError
        raise CheckpointError(f"{path} is not a whole checkpoint: {error}") from error
    if not isinstance(state, dict) or state.get("format") != CHECKPOINT_FORMAT:
        raise CheckpointError(
            f"{path} must have checkpoint format {CHECKPOINT_FORMAT}; train it again"
        )
    return state


def weights_hash(state: dict[str, Tensor]) -> str:
    """Return 16 hex digits that hash all weights and buffers, down to the last bit."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
