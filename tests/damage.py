"""Damage to files, as disks, copies and people do it."""

from __future__ import annotations

from pathlib import Path


def flipped(content: bytes, place: int, bit: int = 0) -> bytes:
    """Return the content with one bit changed."""
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    return bytes(changed)


def flip(path: Path, place: int, bit: int = 0) -> None:
    """Change one bit of a file."""
    path.write_bytes(flipped(path.read_bytes(), place, bit))
