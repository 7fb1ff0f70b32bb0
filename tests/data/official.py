"""Tiny data sets in the official layouts, and torchvision told to expect these files instead.

The published files cannot be had in a test; what is replaced is torchvision's table of MD5s and
addresses, by those of files that are written here in the published formats.
"""

from __future__ import annotations

import hashlib
import http.server
import pickle
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io  # type: ignore[import-untyped,unused-ignore]
from numpy.typing import NDArray
from PIL import Image

from ltat_tune.data import tiny_imagenet
from ltat_tune.data.downloads import Download
from ltat_tune.data.torchvision_door import import_torchvision

UNREACHABLE = "http://127.0.0.1:9"  # the discard port: refused at once
CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def cifar_labels(images: int) -> list[int]:
    """Labels 0..9 in mixed order."""
    labels: list[int] = np.random.RandomState(images).permutation(np.arange(images) % 10).tolist()
    return labels


def _dump(path: Path, content: dict[str, Any]) -> None:
    """A pickle as Python 2 and the NumPy of 2009 wrote it."""
    text = pickle.dumps(content, protocol=2)
    text = text.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    # dtype("u1", 0, 1) with integers, where NumPy now writes truth values
    text, found = re.subn(rb"(?<=u1q.)\x89\x88", lambda _: b"K\x00K\x01", text, flags=re.DOTALL)
    assert found == ("data" in content)
    path.write_bytes(text)


def write_cifar10(root: Path, patch: pytest.MonkeyPatch, names: list[str] | None = None) -> None:
    """Five batches of 20 images and a test batch of 30 in `root`, as an archive beside it too."""
    cifar = import_torchvision("datasets").CIFAR10
    folder = root / cifar.base_folder
    folder.mkdir(parents=True)
    batches = [(f"data_batch_{number}", 20) for number in range(1, 6)] + [("test_batch", 30)]
    for number, (name, images) in enumerate(batches):
        _dump(
            folder / name,
            {
                "data": cifar_pixels(number, images),
                "labels": cifar_labels(images + number)[:images],
            },
        )
    _dump(folder / "batches.meta", {"label_names": names or CIFAR10_NAMES})
    listed = [[name, md5(folder / name)] for name, _ in batches]
    patch.setattr(cifar, "train_list", listed[:5])
    patch.setattr(cifar, "test_list", listed[5:])
    patch.setitem(cifar.meta, "md5", md5(folder / "batches.meta"))
    archive = shutil.make_archive(
        str(root / "cifar-10-python"), "gztar", root, base_dir=cifar.base_folder
    )
    patch.setattr(cifar, "tgz_md5", md5(Path(archive)))
    patch.setattr(cifar, "url", f"{UNREACHABLE}/cifar-10-python.tar.gz")


def cifar_pixels(seed: int, images: int) -> NDArray[np.uint8]:
    """Rows of 3 x 32 x 32 bytes: all of red, then green, then blue."""
    return np.random.RandomState(seed).randint(0, 256, (images, 3072), dtype=np.uint8)


def write_cifar100(root: Path, patch: pytest.MonkeyPatch, names: list[str]) -> None:
    """200 training and 100 test images in `root`."""
    cifar = import_torchvision("datasets").CIFAR100
    folder = root / cifar.base_folder
    folder.mkdir(parents=True)
    for seed, (name, images) in enumerate((("train", 200), ("test", 100))):
        labels = (np.arange(images) % 100).tolist()
        _dump(
            folder / name,
            {
                "data": cifar_pixels(seed, images),
                "fine_labels": labels,
                "coarse_labels": [label // 5 for label in labels],
            },
        )
        patch.setattr(cifar, f"{name}_list", [[name, md5(folder / name)]])
    _dump(folder / "meta", {"fine_label_names": names})
    patch.setitem(cifar.meta, "md5", md5(folder / "meta"))


def write_svhn(root: Path, patch: pytest.MonkeyPatch, counts: dict[int, int]) -> None:
    """`counts` images of each digit to train on, and one of each to test; zeros are called 10."""
    root.mkdir(parents=True, exist_ok=True)
    svhn = import_torchvision("datasets").SVHN
    table = {}
    for split, each in (("train", counts), ("test", dict.fromkeys(range(10), 1))):
        labels = np.repeat([digit or 10 for digit in each], list(each.values()))
        labels = np.random.RandomState(0).permutation(labels).astype(np.uint8)
        pixels = np.random.RandomState(1).randint(0, 256, (32, 32, 3, len(labels)), dtype=np.uint8)
        pixels[0, 0, 0] = labels
        path = root / f"{split}_32x32.mat"
        scipy.io.savemat(path, {"X": pixels, "y": labels[:, None]}, do_compression=True)
        table[split] = [f"{UNREACHABLE}/{path.name}", path.name, md5(path)]
    patch.setattr(svhn, "split_list", table)


def write_tiny_imagenet(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Three classes of four images, six images to test, zipped beside it as it is published."""
    folder = root / "tiny-imagenet-200"
    wnids = ["n03", "n01", "n02"]
    (folder / "val" / "images").mkdir(parents=True)
    (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in wnids))
    (folder / "words.txt").write_text("n01\tgoldfish\nn02\ttoad\nn03\tnewt\n")
    for wnid in wnids:
        images = folder / "train" / wnid / "images"
        images.mkdir(parents=True)
        (images.parent / f"{wnid}_boxes.txt").write_text("")
        for number in range(4):
            level = 60 * int(wnid[1:]) + 10 * number
            mode = "L" if number == 3 else "RGB"
            Image.new(mode, (64, 64), level if mode == "L" else (level, 0, 0)).save(
                images / f"{wnid}_{number}.JPEG", quality=95
            )
    rows = []
    for number in range(6):
        wnid = wnids[number % 3]
        Image.new("RGB", (64, 64), (60 * int(wnid[1:]), 0, 0)).save(
            folder / "val" / "images" / f"val_{number}.JPEG", quality=95
        )
        rows.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t62\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(rows))
    archive = Path(shutil.make_archive(str(folder), "zip", root, base_dir="tiny-imagenet-200"))
    patch.setattr(tiny_imagenet, "CLASSES", 3)
    patch.setattr(tiny_imagenet, "TRAIN_PER_CLASS", 4)
    patch.setattr(tiny_imagenet, "TEST_IMAGES", 6)
    offer_tiny_imagenet(archive, patch, f"{UNREACHABLE}/{archive.name}")


def offer_tiny_imagenet(archive: Path, patch: pytest.MonkeyPatch, url: str) -> None:
    """Takes this archive for the published one."""
    offered = Download(url, archive.name, md5(archive), archive.stat().st_size)
    patch.setattr(tiny_imagenet, "DOWNLOADS", (offered,))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server of the folder's files; its address."""
    for name in ("no_proxy", "NO_PROXY"):
        patch.setenv(name, "127.0.0.1")
    handler = partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
