"""torchvision is importable beside any torch, or the error says what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def _python(script: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a script in a process of its own, every warning an error."""
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(path), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


_USE = "from ltat_tune.data.torchvision_door import import_torchvision\n"


def test_the_installed_torchvision_gives_data_sets_and_transforms_without_a_warning() -> None:
    done = _python(
        _USE + "print(import_torchvision('datasets').CIFAR10.base_folder)\n"
        "print(import_torchvision('transforms.v2').RandAugment.__name__)\n"
        "print(import_torchvision() is import_torchvision())"
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["cifar-10-batches-py", "RandAugment", "True"]


def _fake(path: Path, text: str) -> Path:
    package = path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("import torchvision.first\n" + text)
    (package / "first.py").write_text("")
    (package / "datasets.py").write_text("NAME = 'fake'")
    return path


def test_operators_that_were_not_compiled_are_declared_and_the_import_made_again(
    tmp_path: Path,
) -> None:
    """What torchvision itself does on import, next to a torch without its compiled part."""
    fake = _fake(
        tmp_path,
        "import torch\n"
        "for name in ('nms', 'qnms'):\n"
        "    torch.library.register_fake('torchvision::' + name)(lambda *_: None)\n",
    )
    alone = _python("import torchvision", fake)
    assert "operator torchvision::nms does not exist" in alone.stderr
    done = _python(_USE + "print(import_torchvision('datasets').NAME)", fake)
    assert (done.stdout, done.stderr) == ("fake\n", "")


def test_its_warning_about_a_decoder_that_is_not_used_here_is_not_shown(tmp_path: Path) -> None:
    fake = _fake(
        tmp_path, "import warnings\nwarnings.warn('Failed to load image Python extension: no')\n"
    )
    done = _python(_USE + "print(import_torchvision('datasets').NAME)", fake)
    assert (done.stdout, done.stderr) == ("fake\n", "")


def test_an_import_that_fails_says_what_to_install(tmp_path: Path) -> None:
    """The other failures in one process: each leaves nothing behind that the next would meet."""
    failures = (
        "RuntimeError('operator torchvision::other does not exist')",
        "ImportError('libtorch.so: cannot open')",
        "RuntimeError('compiled with another CUDA')",
    )
    paths = []
    for number, failure in enumerate(failures):
        (tmp_path / str(number)).mkdir()
        paths.append(str(_fake(tmp_path / str(number), f"raise {failure}")))
    done = _python(
        f"import sys\n{_USE}from ltat_tune.errors import DataError\n"
        f"for path in {paths}:\n"
        "    sys.path.insert(0, path)\n"
        "    sys.modules.pop('torchvision.first', None)\n"
        "    try:\n        import_torchvision()\n"
        "    except DataError as error:\n        print(error)\n"
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line, failure in zip(lines, failures, strict=True):
        assert line.startswith("torchvision, which has the official data sets and networks,")
        assert failure.partition("'")[2][:-2] in line
        assert "install the torchvision that matches this torch" in line
