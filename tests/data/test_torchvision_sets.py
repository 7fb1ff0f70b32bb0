"""CIFAR-10, CIFAR-100 and SVHN: read as published, refused when they are not, fetched if asked."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.sources import ensure_available, is_available, open_source
from ltat_tune.data.torchvision_door import import_torchvision
from ltat_tune.errors import DataError
from tests.data.official import (
    CIFAR10_NAMES,
    UNREACHABLE,
    cifar_labels,
    cifar_pixels,
    served,
    write_cifar10,
    write_cifar100,
    write_svhn,
)

SVHN_COUNTS = {0: 3, 1: 9, 2: 7, 3: 6, 4: 5, 5: 5, 6: 4, 7: 4, 8: 3, 9: 2}


def _config(root: Path, name: str = "cifar10", **values: object) -> DataConfig:
    return DataConfig.model_validate({"name": name, "root": str(root), **values})


# --- reading ---


def test_cifar10_is_read_batch_after_batch_in_its_own_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path, monkeypatch)
    source = open_source(_config(tmp_path))
    train, test = source.train(), source.test()
    assert source.classes == tuple(CIFAR10_NAMES)
    assert train.images.shape == (100, 3, 32, 32)
    assert train.images.dtype == np.uint8
    assert train.targets.dtype == np.int64
    assert train.images.flags.c_contiguous
    pixels = np.concatenate([cifar_pixels(batch, 20) for batch in range(5)])
    # A row is the red plane, then green, then blue, each line after line.
    assert train.images[37, 1, 3, 5] == pixels[37, 1024 + 3 * 32 + 5]
    assert np.array_equal(train.images.reshape(100, 3072), pixels)
    labels = [label for batch in range(5) for label in cifar_labels(20 + batch)[:20]]
    assert train.targets.tolist() == labels
    assert test.targets.tolist() == cifar_labels(35)[:30]


def test_numpys_remarks_on_the_age_of_the_published_pickles_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NumPy 2.4.0 warns of dtype("u1", 0, 1); later ones of dtype("u1", 0, True) alone."""
    write_cifar10(tmp_path, monkeypatch)
    original = pickle.load

    def load(file: IO[bytes], **options: str) -> object:
        warnings.warn("dtype(): align should be passed as Python or NumPy boolean", stacklevel=1)
        return original(file, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pickle, "load", load)
    assert len(open_source(_config(tmp_path)).test().targets) == 30  # warnings are errors here


def test_a_root_that_is_the_unpacked_folder_itself_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path, monkeypatch)
    source = open_source(_config(tmp_path / "cifar-10-batches-py"))
    assert len(source.train().targets) == 100


def test_two_classes_are_picked_in_the_order_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path, monkeypatch)
    everything = open_source(_config(tmp_path)).train()
    pair = open_source(_config(tmp_path, classes=("truck", "cat")))
    found = pair.train()
    trucks, cats = (everything.images[everything.targets == label] for label in (9, 3))
    assert pair.classes == ("truck", "cat")
    assert np.array_equal(found.images, np.concatenate([trucks, cats]))
    assert found.targets.tolist() == [0] * len(trucks) + [1] * len(cats)
    assert pair.train_counts() == [5000, 5000]


def test_cifar100_is_read_with_its_fine_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(tmp_path, "cifar100")
    classes = open_source(config).classes
    assert len(set(classes)) == 100
    assert list(classes) == sorted(classes)
    write_cifar100(tmp_path, monkeypatch, list(classes))
    assert open_source(config).train().targets.tolist() == [*range(100), *range(100)]
    assert open_source(config).test().images.shape == (100, 3, 32, 32)


def test_counts_and_names_of_cifar_are_known_without_the_files(tmp_path: Path) -> None:
    assert open_source(_config(tmp_path)).train_counts() == [5000] * 10
    assert open_source(_config(tmp_path, "cifar100")).train_counts() == [500] * 100


def test_class_names_that_are_not_the_published_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path, monkeypatch, [*CIFAR10_NAMES[:9], "lorry"])
    with pytest.raises(DataError, match="the class names in .* are not those of cifar10; delete"):
        open_source(_config(tmp_path)).train()


def test_svhn_calls_a_zero_0_and_takes_its_counts_from_the_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_svhn(tmp_path, monkeypatch, SVHN_COUNTS)
    source = open_source(_config(tmp_path, "svhn"))
    train = source.train()
    assert source.classes == tuple("0123456789")
    assert source.train_counts() == list(SVHN_COUNTS.values())
    assert np.bincount(train.targets).tolist() == list(SVHN_COUNTS.values())
    # The first red pixel of each image is the label that the file holds, 10 for a zero.
    assert np.array_equal(train.images[:, 0, 0, 0] % 10, train.targets)
    assert sorted(source.test().targets.tolist()) == list(range(10))
    some = open_source(_config(tmp_path, "svhn", classes=("9", "0")))
    assert some.train_counts() == [2, 3]


# --- what is not there or not as published ---


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_files_that_are_not_there_are_named_with_the_remedy(tmp_path: Path, name: str) -> None:
    config = _config(tmp_path, name)
    assert not is_available(config)
    for read in (open_source(config).train, open_source(config).test):
        with pytest.raises(DataError) as caught:
            read()
        text = str(caught.value)
        assert text.startswith(f"{tmp_path}/")
        assert f"missing; run `ltat-tune prepare {name} --root {tmp_path}`, which" in text
        assert text.endswith(f" into {tmp_path} first")
    assert list(tmp_path.iterdir()) == []  # nothing was downloaded


def test_svhn_counts_need_the_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train_32x32.mat is missing; run `ltat-tune prepare sv"):
        open_source(_config(tmp_path, "svhn")).train_counts()


def test_a_torn_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch)
    torn = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    torn.write_bytes(torn.read_bytes()[:1000])
    with pytest.raises(DataError) as caught:
        open_source(_config(tmp_path)).train()
    assert str(caught.value).startswith(f"{torn} is not as published (MD5); delete the files")


def test_the_default_root_is_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    write_cifar10(tmp_path / "ltat-tune", monkeypatch)
    assert is_available(DataConfig(name="cifar10"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataError, match=f"into {tmp_path}/.cache/ltat-tune first"):
        open_source(DataConfig(name="cifar10")).train()


# --- fetching ---


def test_a_download_is_checked_unpacked_and_not_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web, root = tmp_path / "web", tmp_path / "root"
    write_cifar10(web, monkeypatch)
    cifar = import_torchvision("datasets").CIFAR10
    with served(web, monkeypatch) as address:
        monkeypatch.setattr(cifar, "url", f"{address}/cifar-10-python.tar.gz")
        ensure_available(_config(root))
    assert is_available(_config(root))
    monkeypatch.setattr(cifar, "url", f"{UNREACHABLE}/cifar-10-python.tar.gz")
    ensure_available(_config(root))
    assert len(open_source(_config(root)).train().targets) == 100


def test_svhn_is_downloaded_as_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web, root = tmp_path / "web", tmp_path / "root"
    write_svhn(web, monkeypatch, SVHN_COUNTS)
    svhn = import_torchvision("datasets").SVHN
    with served(web, monkeypatch) as address:
        for split, (_, name, digest) in list(svhn.split_list.items()):
            monkeypatch.setitem(svhn.split_list, split, [f"{address}/{name}", name, digest])
        ensure_available(_config(root, "svhn"))
    assert sorted(path.name for path in root.iterdir()) == ["test_32x32.mat", "train_32x32.mat"]
    assert open_source(_config(root, "svhn")).train_counts() == list(SVHN_COUNTS.values())


@pytest.mark.parametrize("download", [True, False])
def test_an_archive_that_somebody_put_there_is_unpacked_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: bool
) -> None:
    write_cifar10(tmp_path / "web", monkeypatch)
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "web" / "cifar-10-python.tar.gz").rename(root / "cifar-10-python.tar.gz")
    ensure_available(_config(root), download=download)
    assert len(open_source(_config(root)).test().targets) == 30


def test_a_torn_file_is_unpacked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(b"torn")
    ensure_available(_config(tmp_path), download=False)
    assert len(open_source(_config(tmp_path)).test().targets) == 30


def test_without_a_network_the_error_says_which_file_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path / "web", monkeypatch)  # sets an address where nobody answers
    root = tmp_path / "root"
    with pytest.raises(DataError) as caught:
        ensure_available(_config(root))
    text = str(caught.value)
    assert text.startswith(
        f"{UNREACHABLE}/cifar-10-python.tar.gz (170 MB) cannot be downloaded (URLError: "
    )
    assert text.endswith(
        f"download it on a machine with a network, put cifar-10-python.tar.gz into {root} and "
        "run the same command again"
    )


def test_an_address_that_gives_another_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path / "web", monkeypatch)
    cifar = import_torchvision("datasets").CIFAR10
    (tmp_path / "web" / "cifar-10-python.tar.gz").write_text("moved")
    with served(tmp_path / "web", monkeypatch) as address:
        monkeypatch.setattr(cifar, "url", f"{address}/cifar-10-python.tar.gz")
        with pytest.raises(DataError, match="cannot be downloaded .RuntimeError: .*corrupted"):
            ensure_available(_config(tmp_path / "root"))


def test_nothing_is_downloaded_where_that_is_not_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path / "web", monkeypatch)
    with pytest.raises(DataError, match="cifar-10-python.tar.gz is missing; run `ltat-tune pre"):
        ensure_available(_config(tmp_path / "root"), download=False)


def test_digits_and_folders_need_nothing_fetched(tmp_path: Path) -> None:
    for config in (DataConfig(), DataConfig(name="image_folder", root=str(tmp_path))):
        ensure_available(config, download=False)
        assert is_available(config)
