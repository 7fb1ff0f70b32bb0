"""The type of `model.init`: a file of weights, and the digits of its content.

A space file names the file. Wherever a configuration is recorded, `@` and 16 hex digits of the
content follow, so that the identity depends on the weights and not on their place.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from ltat_tune.errors import ConfigError

_DIGITS = re.compile(r"(.*)@([0-9a-f]{16})")


def start_file(text: str) -> tuple[Path, str]:
    """Return the file that `model.init` names, and its digits; empty if none are recorded."""
    match = _DIGITS.fullmatch(text)
    return (Path(match[1]), match[2]) if match else (Path(text), "")


def content_digits(path: Path) -> str:
    """Return 16 hex digits of a file's content. A file that has not changed is read once.

    `keys` of the description beside it are part of the content: they decide what is taken.

    Raises:
        OSError: the file cannot be read.
        ConfigError: the description has wrong fields.
    """
    from ltat_tune.config.foreign.description import keys_beside

    state = path.stat()
    digits = _digits(path, state.st_mtime_ns, state.st_size)
    keys = keys_beside(path)
    return (
        hashlib.sha256(f"{digits}{sorted(keys.items())}".encode()).hexdigest()[:16]
        if (keys)
        else digits
    )


@lru_cache(maxsize=64)
def _digits(path: Path, changed_ns: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _with_digits(text: str) -> str:
    path, digits = start_file(text)
    if digits:
        return text
    path = path.expanduser().absolute()
    try:
        return f"{path}@{content_digits(path)}"
    except ConfigError as error:
        raise ValueError("; ".join(error.problems)) from None
    except OSError as error:
        raise ValueError(
            f"must name a file of weights, got {text}: {error.strerror or error}"
        ) from None


Start = Annotated[str, AfterValidator(_with_digits)]
