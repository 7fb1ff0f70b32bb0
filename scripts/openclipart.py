"""Makes a naturally long-tailed folder of images out of Debian's package openclipart-png.

    apt-get install openclipart-png
    python scripts/openclipart.py ~/openclipart --side 32
    ltat-tune run search_spaces/naturally_long_tailed.yaml --set data.root=~/openclipart

The classes are the package's folders: drawings, with noisy labels. Drawings that look alike at
the chosen size are kept once, in the rarest class, so that no test image was trained on.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import warnings
from pathlib import Path

from PIL import Image

SOURCE = Path("/usr/share/openclipart/png")
MOST_PIXELS = 25_000_000  # a few drawings are posters, and take as long as all others
LEAVE_OUT = ("special", "unsorted")  # they name no content


def drawing(path: Path, side: int) -> Image.Image:
    """Return a drawing on white, padded to a square, at `side` pixels."""
    with Image.open(path) as file:
        if file.width * file.height > MOST_PIXELS:
            raise ValueError(f"more than {MOST_PIXELS} pixels")
        image = file.convert("RGBA")
    image.thumbnail((side, side), Image.Resampling.BOX)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square.convert("RGB")


def classes(source: Path) -> dict[str, list[Path]]:
    """Return the drawings of each folder, the rarest class first."""
    found = {
        folder.name: sorted(path for path in folder.rglob("*.png") if path.is_file())
        for folder in sorted(source.iterdir())
        if folder.is_dir() and folder.name not in LEAVE_OUT
    }
    return dict(sorted(found.items(), key=lambda entry: (len(entry[1]), entry[0])))


def main(arguments: list[str] | None = None) -> None:
    """Write train/, val/ and test/, and print the number of images of each class."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder to write; must not exist")
    parser.add_argument("--side", type=int, default=32, help="pixels a side (32 or 64)")
    parser.add_argument("--source", type=Path, default=SOURCE, help="folder of the drawings")
    parser.add_argument("--held-out", type=int, default=20,
                        help="most test images of a class, and validation images")  # fmt: skip
    parser.add_argument("--least", type=int, default=10, help="fewest drawings of a class")
    options = parser.parse_args(arguments)
    if not options.source.is_dir():
        parser.error(f"{options.source} is missing; run: apt-get install openclipart-png")
    if options.folder.exists():
        parser.error(f"{options.folder} exists; name another folder, or delete it")
    warnings.simplefilter("ignore")  # Pillow's, about metadata that is not used
    seen: set[str] = set()
    skipped = alike = 0
    for name, paths in classes(options.source).items():
        kept = []
        for path in paths:
            try:
                image = drawing(path, options.side)
            except (OSError, ValueError, Image.DecompressionBombError):
                skipped += 1
                continue
            key = hashlib.sha256(image.tobytes()).hexdigest()
            if key in seen:
                alike += 1
                continue
            seen.add(key)
            kept.append((path.stem, image))
        if len(kept) < options.least:
            print(f"{name}: left out, {len(kept)} drawings")
            continue
        random.Random(name).shuffle(kept)
        held_out = min(options.held_out, len(kept) // 4)
        for number, (stem, image) in enumerate(kept):
            split = "test" if number < held_out else "val" if number < 2 * held_out else "train"
            folder = options.folder / split / name
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{number:04d}-{stem}.png")
        train = len(kept) - 2 * held_out
        print(f"{name}: {train} train, {held_out} val, {held_out} test")
    print(f"{alike} drawings like others and {skipped} that are torn or too large are left out")


if __name__ == "__main__":
    main()
