"""Image files to one array, with every problem of all of them in one error."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltat_tune.errors import DataError

_SHOWN = 20


@dataclass
class Decoded:
    """What came of the files: an array where nothing is wrong, else the problems."""

    images: NDArray[np.uint8] | None = None  # (N, 3, H, W)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # images by width, height

    def require(self) -> NDArray[np.uint8]:
        """The array. Raises: DataError, with all problems."""
        if self.problems or self.images is None:
            raise DataError("\n".join(self.problems))
        return self.images


def decode(paths: Sequence[Path], size: int | None, *, keep: bool = True) -> Decoded:
    """Reads files as RGB, one byte a channel, into an array (N, 3, H, W) made once.

    As torchvision's ImageFolder, `convert("RGB")`: grey is repeated, palettes are looked up, an
    alpha channel is dropped and not blended (the colour below it stays), of an animation the first
    image counts, and a rotation noted in EXIF is not applied. More than 8 bits a channel are
    refused, because Pillow would clip them to white.

    Args:
        size: side to which images are resized, bilinear; None keeps theirs, which must be alike.
        keep: False looks at every file and keeps no image.
    """
    found = Decoded()
    broken: list[str] = []
    modes: Counter[str] = Counter()
    for number, path in enumerate(paths):
        try:
            pixels, mode = _read(path, size)
        except MemoryError:
            raise
        except Exception as error:  # Pillow's decoders raise what they like on torn files
            broken.append(f"{path}: {type(error).__name__}: {error}")
            continue
        if mode != "RGB":
            modes[mode] += 1
        height, width, _ = pixels.shape
        found.sizes[width, height] += 1
        if keep and not broken and len(found.sizes) == 1:
            if found.images is None:
                found.images = np.empty((len(paths), 3, height, width), dtype=np.uint8)
            found.images[number] = pixels.transpose(2, 0, 1)
    if broken:
        shown = "\n  ".join(broken[:_SHOWN])
        more = f"\n  ... and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
        found.problems.append(
            f"{len(broken)} of {len(paths)} images cannot be read:\n  {shown}{more}"
        )
    found.problems += size_problems(found.sizes)
    if modes:
        kinds = ", ".join(f"{n} {mode}" for mode, n in modes.most_common())
        found.notes.append(
            f"{modes.total()} of {len(paths)} images are not RGB and are read as RGB ({kinds})"
        )
    if found.problems:
        found.images = None
    return found


def size_problems(sizes: Counter[tuple[int, int]]) -> list[str]:
    """What is wrong with images of these sizes (width, height): nothing when they are alike."""
    if len(sizes) <= 1:
        return []
    common = ", ".join(f"{n} of {w}x{h}" for (w, h), n in sizes.most_common(4))
    return [
        f"images must all have one size, found {len(sizes)} sizes ({common}); "
        "set data.image_size to resize them"
    ]


def _read(path: Path, size: int | None) -> tuple[NDArray[Any], str]:
    """Pixels (H, W, 3), and the mode that the file has."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata, which is not read
        with Image.open(path) as file:
            mode = file.mode
            if mode.startswith(("I", "F")):
                raise ValueError(f"more than 8 bits a channel ({mode}); save it with 8")
            # Palettes with transparent entries go by way of RGBA, as Pillow asks for.
            see_through = mode == "P" and "transparency" in file.info
            image = (file.convert("RGBA") if see_through else file).convert("RGB")
        if size is not None and image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(image), mode
