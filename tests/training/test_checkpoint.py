"""Checkpoints: whole or not at all, and nothing in them runs."""

from __future__ import annotations

import builtins
import math
import os
import pickle
import struct
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from ltat_tune.errors import CheckpointError
from ltat_tune.training import checkpoint as module
from ltat_tune.training.checkpoint import (
    earlier,
    load_checkpoint,
    mend_checkpoint,
    read_history,
    save_checkpoint,
    weights_hash,
)
from tests.damage import flipped


def _state(identity: str = "aaaa", value: float = 1.0) -> dict[str, Any]:
    return {
        "identity": identity,
        "model": {"weight": torch.full((40, 10), value)},
        "kept": {"score": -math.inf, "per_class": {"val/clean": [0.5, None]}},
        "history": [[1, {"train/loss": 0.1 + 0.2}, 0.5]],
    }


class _Trap:
    """Pickled, it makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_what_is_read_is_what_was_written_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "checkpoint.pt"
    save_checkpoint(path, _state())
    found = load_checkpoint(path, identity="aaaa")
    assert torch.equal(found["model"]["weight"], torch.full((40, 10), 1.0))
    assert found["kept"] == _state()["kept"]
    assert found["history"] == [[1, {"train/loss": 0.30000000000000004}, 0.5]]


def _value(path: Path) -> float:
    return float(load_checkpoint(path, identity="aaaa")["model"]["weight"][0, 0])


def test_only_the_checkpoint_and_the_one_before_are_left_in_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    for value in (1.0, 2.0, 3.0):
        save_checkpoint(path, _state(value=value))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-earlier.pt", "checkpoint.pt"]
    assert (_value(path), _value(earlier(path))) == (3.0, 2.0)


@pytest.mark.parametrize("links", [True, False])
def test_a_torn_checkpoint_gives_way_to_the_one_before(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:  # as exFAT or an object store's file system

        def refuse(*paths: Path) -> None:
            raise PermissionError

        monkeypatch.setattr("os.link", refuse)
    path = tmp_path / "checkpoint.pt"
    for value in (1.0, 2.0):
        save_checkpoint(path, _state(value=value))
    mend_checkpoint(path, identity="aaaa")
    assert _value(path) == 2.0  # whole, so left alone
    path.write_bytes(path.read_bytes()[:-100])
    mend_checkpoint(path, identity="aaaa")
    assert _value(path) == 1.0
    assert not earlier(path).exists()


def test_between_the_renames_the_one_before_is_found_and_without_any_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(earlier(path), _state(value=1.0))
    mend_checkpoint(path, identity="aaaa")
    assert _value(path) == 1.0
    mend_checkpoint(path, identity="bbbb")  # of another configuration: never a beginning
    assert list(tmp_path.iterdir()) == []
    mend_checkpoint(path, identity="aaaa")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_of_the_old_checkpoint_reads_it_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, _state(value=1.0))
    whole = path.read_bytes()
    with builtins.open(path, "rb") as reader:
        save_checkpoint(path, _state(value=2.0))
        assert reader.read() == whole
    assert path.read_bytes() != whole


@pytest.mark.parametrize(
    ("failure", "seen"),
    [
        (OSError(28, "No space left on device"), OSError),
        (RuntimeError("PytorchStreamWriter failed writing file"), OSError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_write_that_fails_half_way_leaves_the_old_checkpoint(
    failure: BaseException,
    seen: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, _state(value=1.0))
    whole = path.read_bytes()

    def half(state: object, file: IO[bytes]) -> None:
        file.write(b"PK\x03\x04 half a checkpoint")
        file.flush()
        raise failure

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(seen):
        save_checkpoint(path, _state(value=2.0))
    assert path.read_bytes() == whole
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("size", [1, 1000])
def test_a_full_disk_is_an_os_error_and_leaves_the_old_checkpoint(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, _state())
    whole = path.read_bytes()

    def full(opened: Path, mode: str) -> IO[bytes]:
        builtins.open(opened, mode).close()
        return builtins.open("/dev/full", "wb")

    monkeypatch.setattr(module, "open", full, raising=False)
    with pytest.raises(OSError, match="No space left on device"):
        save_checkpoint(path, {"identity": "aaaa", "model": {"weight": torch.zeros(size, size)}})
    assert path.read_bytes() == whole
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_object_is_refused_and_does_not_run(zipped: bool, tmp_path: Path) -> None:
    path, trap = tmp_path / "checkpoint.pt", tmp_path / "trap"
    state = {"format": 1, "identity": "aaaa", "model": _Trap(trap)}
    if zipped:
        torch.save(state, path)
    else:
        path.write_bytes(pickle.dumps(state))
    with pytest.raises(CheckpointError, match="is refused: .* might run code"):
        load_checkpoint(path, identity="aaaa")
    assert not trap.exists()


def test_a_checkpoint_cut_off_anywhere_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, _state())
    whole = path.read_bytes()
    for length in [*range(0, 200, 10), *range(200, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="is not a whole checkpoint"):
            load_checkpoint(path, identity="aaaa")


def test_one_flipped_bit_anywhere_is_a_torn_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, _state())
    whole = path.read_bytes()
    for place in range(0, len(whole), 13):
        path.write_bytes(flipped(whole, place))
        with pytest.raises(CheckpointError):
            load_checkpoint(path, identity="aaaa")


def test_a_flipped_bit_in_the_weights_gives_way_to_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    for value in (1.0, 2.0):
        save_checkpoint(path, _state(value=value))
    whole = path.read_bytes()
    place = whole.index(torch.full((4,), 2.0).numpy().tobytes())
    path.write_bytes(flipped(whole, place))
    with pytest.raises(CheckpointError, match="its bytes have changed since it was written"):
        load_checkpoint(path, identity="aaaa")
    assert read_history(path) == _state()["history"]  # they are whole, whatever the weights are
    mend_checkpoint(path, identity="aaaa")
    assert _value(path) == 1.0


def test_changed_epochs_are_found_without_reading_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, _state())
    whole = path.read_bytes()
    place = whole.index(struct.pack(">d", 0.1 + 0.2)) + 7
    path.write_bytes(flipped(whole, place))
    with pytest.raises(CheckpointError, match="its bytes have changed since it was written"):
        read_history(path)


def test_a_checkpoint_of_0_4_0_has_no_digest_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"format": 1, **_state()}, path)
    assert _value(path) == 1.0
    assert read_history(path) == _state()["history"]


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "checkpoint.pt")
    with pytest.raises(OSError, match="a pipe, a socket or a device"):
        load_checkpoint(tmp_path / "checkpoint.pt", identity="aaaa")


@pytest.mark.parametrize("content", [b"\x00" * 5000, b"not a checkpoint", b"N.", b"0", b"Q"])
def test_a_file_of_other_bytes_is_no_checkpoint(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"^{path} "):
        load_checkpoint(path, identity="aaaa")


def test_a_file_that_is_not_there_is_not_called_torn(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.pt", identity="aaaa")


def test_another_configurations_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, _state("aaaa"))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, identity="bbbb")
    assert str(caught.value) == (
        f"{path} must belong to configuration bbbb, got aaaa; use another folder"
    )


@pytest.mark.parametrize(
    "state",
    [{"identity": "aaaa"}, {"format": torch.ones(2)}, {"format": None}, [1], torch.ones(2)],
)
def test_another_format_is_refused(state: object, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="this file has another format"):
        load_checkpoint(path, identity="aaaa")


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 99}, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="format 2 or an earlier one, got 99; read it with"):
        load_checkpoint(tmp_path / "checkpoint.pt", identity="aaaa")


# --- weights_hash ---


def test_the_hash_is_that_of_names_and_bits_in_any_order() -> None:
    a, b = torch.rand(3, 4), torch.rand(4)
    found = weights_hash({"a": a, "b": b})
    assert weights_hash({"b": b, "a": a}) == found
    assert weights_hash({"a": a.t().contiguous().t(), "b": b}) == found
    assert len(found) == 16
    assert set(found) <= set("0123456789abcdef")


def test_the_last_bit_and_the_names_change_the_hash() -> None:
    value = torch.ones(3)
    nudged = value.clone()
    nudged[2] = torch.nextafter(value[2], torch.tensor(2.0))
    hashes = [weights_hash(s) for s in ({"a": value}, {"a": nudged}, {"b": value}, {"a": -value})]
    assert len(set(hashes)) == 4
