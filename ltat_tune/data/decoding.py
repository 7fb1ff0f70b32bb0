"""Decodes image files into one array and collects the problems of all files in one error."""

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
    """The result of decoding: an array if all files are good, otherwise the problems."""

    images: NDArray[np.uint8] | None = None  # (N, 3, H, W)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # images by width, height

    def require(self) -> NDArray[np.uint8]:
        """Return the array. Raise DataError with all problems if there is none."""
        if self.problems or self.images is None:
            raise DataError("\n".join(self.problems))
        return self.images


def decode(paths: Sequence[Path], size: int | None, *, keep: bool = True) -> Decoded:
    """Read files as RGB, one byte per channel, into one array (N, 3, H, W).

    Images are converted by `convert("RGB")`, as in torchvision's ImageFolder: grey values are
    repeated and palettes are looked up; an alpha channel is dropped without blending; of an
    animation the first image counts; a rotation in the EXIF data is not applied. Images with more
    than 8 bits per channel are refused, because Pillow would clip them to white.

    Args:
        paths: the image files.
        size: side length to which images are resized bilinearly; None keeps their size, which must
            then be the same for all images.
        keep: False reads every file but keeps no image.
    """
    decoded = Decoded()
    broken: list[str] = []
    modes: Counter[str] = Counter()
    for number, path in enumerate(paths):
        try:
            pixels, mode = _read(path, size)
        except MemoryError:
            raise
        except Exception as error:  # Pillow's decoders raise many kinds of errors on torn files
            broken.append(f"{path}: {type(error).__name__}: {error}")
            continue
        if mode != "RGB":
            modes[mode] += 1
        height, width, _ = pixels.shape
        decoded.sizes[width, height] += 1
        if keep and not broken and len(decoded.sizes) == 1:
            if decoded.images is None:
                decoded.images = np.empty((len(paths), 3, height, width), dtype=np.uint8)
            decoded.images[number] = pixels.transpose(2, 0, 1)
    if broken:
        shown = "\n  ".join(broken[:_SHOWN])
        more = f"\n  ... and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
        decoded.problems.append(
            f"{len(broken)} of {len(paths)} images cannot be read:\n  {shown}{more}"
        )
    decoded.problems += size_problems(decoded.sizes)
    if modes:
        kinds = ", ".join(f"{n} {mode}" for mode, n in modes.most_common())
        decoded.notes.append(
            f"{modes.total()} of {len(paths)} images are not RGB and are read as RGB ({kinds})"
        )
    if decoded.problems:
        decoded.images = None
    return decoded


def size_problems(sizes: Counter[tuple[int, int]]) -> list[str]:
    """Return a problem if images have several sizes (width, height), otherwise an empty list."""
    if len(sizes) <= 1:
        return []
    common = ", ".join(f"{n} of {w}x{h}" for (w, h), n in sizes.most_common(4))
    return [
        f"all images must have the same size, got {len(sizes)} sizes ({common}); "
        "set data.image_size to resize them"
    ]


def _read(path: Path, size: int | None) -> tuple[NDArray[Any], str]:
    """Return the pixels (H, W, 3) and Pillow's mode of the file."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they concern metadata, which is not used
        with Image.open(path) as file:
            mode = file.mode
            if mode.startswith(("I", "F")):
                raise ValueError(f"more than 8 bits per channel ({mode}); save it with 8 bits")
            # Pillow asks to convert palettes with transparent entries to RGBA first.
            is_transparent = mode == "P" and "transparency" in file.info
            image = (file.convert("RGBA") if is_transparent else file).convert("RGB")
        if size is not None and image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(image), mode
