"""Checkpoint files. They are written completely or not at all, and reading one runs no code.

A file is what `torch.save` writes, and behind it a line with the SHA-256 of all bytes before.
Files of 0.4.0 (format 1) have no such line.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor

from ltat_tune.errors import CheckpointError
from ltat_tune.files import HashedFile, read_file, replacing

CHECKPOINT_FORMAT = 2
_ZIP = b"PK"  # the first bytes of what torch.save writes
_FORMATS = (1, CHECKPOINT_FORMAT)  # 1 has no digests
_DIGEST = "\nltat-tune sha256 {}\n"
_LAST = re.compile(_DIGEST.format("([0-9a-f]{64})").encode())
_LAST_BYTES = len(_DIGEST.format("")) + 64
_CHANGED = "its bytes have changed since it was written"


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
                hashing = HashedFile(file)
                extra = {"format": CHECKPOINT_FORMAT, "history_digest": _history_digest(state)}
                torch.save({**state, **extra}, cast(IO[bytes], hashing))
                file.write(_DIGEST.format(hashing.digest.hexdigest()).encode())
            if path.exists():
                _keep(path)
    except RuntimeError as error:  # torch reports a full disk this way
        raise OSError(f"cannot write {path}: {error}") from error


def _history_digest(state: dict[str, Any]) -> str:
    """Return the digest of the epochs, which are read alone, without the weights."""
    return hashlib.sha256(json.dumps(state.get("history")).encode()).hexdigest()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a file that may come from anybody. Only tensors and plain values are read from it.

    Raises:
        CheckpointError: the file is torn, its bytes have changed, or it has another format.
        OSError: the file cannot be read.
    """
    whole = read_file(path)
    last = _LAST.fullmatch(whole[-_LAST_BYTES:])
    if last and hashlib.sha256(memoryview(whole)[:-_LAST_BYTES]).hexdigest() != last[1].decode():
        raise _torn(path, _CHANGED)
    state = _load(path, io.BytesIO(whole), whole[:2])
    if state["format"] > 1 and not last:
        raise _torn(path, "its end is missing")
    return state


def load_checkpoint(path: Path, *, identity: str) -> dict[str, Any]:
    """Read the checkpoint of one configuration.

    Raises:
        CheckpointError: as `read_checkpoint`, or it belongs to a configuration with another
            identity.
        OSError: the file cannot be read.
    """
    state = read_checkpoint(path)
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
    save_checkpoint(target, {**read_checkpoint(source), "identity": identity})


def read_history(path: Path) -> list[Any]:
    """Return [epoch, metrics, seconds] of every epoch in a checkpoint, without reading weights.

    Raises:
        CheckpointError: the file is torn or has another format.
        OSError: the file cannot be read.
    """
    state = _load(path, path, read_file(path, 2), mmap=True)
    history = state.get("history")
    if state["format"] > 1 and state.get("history_digest") != _history_digest(state):
        raise _torn(path, _CHANGED)
    if not isinstance(history, list):
        raise CheckpointError(f"{path} must hold a list of epochs; train it again")
    return history


def history_if_readable(path: Path) -> list[Any]:
    """Return what `read_history` does; empty if there is no checkpoint, or a damaged one."""
    if not path.exists():
        return []
    try:
        return read_history(path)
    except CheckpointError:  # torn by a power cut, or being written
        return []


def _load(
    path: Path, content: Path | io.BytesIO, first: bytes, *, mmap: bool = False
) -> dict[str, Any]:
    """Return the state of a file whose first two bytes are `first`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about pickles that it then refuses
            state: Any = torch.load(content, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path} is refused: it is not a checkpoint of tensors and plain values, and reading "
            f"it might run code ({reason})"
        ) from None
    except Exception:  # torn bytes raise anything, KeyError and EOFError included
        if first and not first.startswith(_ZIP):
            raise CheckpointError(
                f"{path} must be a checkpoint of `ltat-tune train --checkpoint` or of a study; "
                "this file does not begin like one"
            ) from None
        raise _torn(path, "its end is missing or bytes have changed") from None
    number = state.get("format") if isinstance(state, dict) else None
    if type(number) is not int:
        raise CheckpointError(
            f"{path} must be a checkpoint of `ltat-tune train --checkpoint` or of a study; this "
            "file has another format, and what it was trained on is not in it"
        )
    if number not in _FORMATS:
        raise CheckpointError(
            f"{path} must have checkpoint format {CHECKPOINT_FORMAT} or an earlier one, got "
            f"{number}; read it with the ltat-tune that wrote it, or train it again"
        )
    checked: dict[str, Any] = state
    return checked


def _torn(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a whole checkpoint: {what}; copy it again, or train it again"
    )


def check_images(path: Path, state: dict[str, Any], subset_hash: str) -> None:
    """Raise CheckpointError if a state was trained on other images than those of `subset_hash`."""
    if state["subset_hash"] != subset_hash:
        raise CheckpointError(
            f"{path} must belong to the images {subset_hash}, got {state['subset_hash']}: the "
            "data set has changed; use another folder"
        )


@contextlib.contextmanager
def loading(path: Path) -> Iterator[None]:
    """Turn what a state of other parts or shapes raises into a CheckpointError."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} must hold what a training of this configuration keeps: "
            f"{type(error).__name__}: {error}; train it again"
        ) from error


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """Return 16 hex digits that hash all weights and buffers, down to the last bit."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
