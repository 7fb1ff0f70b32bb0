"""The GPU benchmark runs whole on a bare machine: torch, torchvision and a folder of wheels."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest

from ltat_tune.methods import METHODS
from scripts import bench_gpu

WHEELS = ("pydantic", "pyautoattack")  # what bench_gpu.py says to download


def _with_needs(names: Iterable[str]) -> list[Distribution]:
    """The distributions and all that they require."""
    found: dict[str, Distribution] = {}
    left = list(names)
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # for another system
            continue
        needed = [need for need in found[name].requires or () if "extra ==" not in need]
        left += [re.split(r"[^A-Za-z0-9_.-]", need)[0] for need in needed]
    return list(found.values())


def _roots(package: Distribution) -> set[str]:
    tops = {str(path).split("/")[0] for path in package.files or ()}
    return {top for top in tops if top not in ("..", "__pycache__")}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The Python of an environment that has torch and torchvision alone; and the wheels."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    for package in _with_needs(["torch", "torchvision"]):
        for root in _roots(package):
            if not (site / root).exists():
                (site / root).symlink_to(Path(str(package.locate_file(root))))
    wheels = folder / "wheels"
    wheels.mkdir()
    for package in _with_needs(WHEELS):
        name = package.metadata["Name"].replace("-", "_")
        tag = "py3-none-any"
        if any(str(path).endswith(".so") for path in package.files or ()):
            tag = f"cp{sys.version_info.major}{sys.version_info.minor}-none-any"
        with zipfile.ZipFile(wheels / f"{name}-{package.version}-{tag}.whl", "w") as wheel:
            for path in package.files or ():
                if (
                    str(path).split("/")[0] != ".."
                    and Path(str(package.locate_file(path))).exists()
                ):
                    wheel.write(str(package.locate_file(path)), str(path))
    (wheels / "other-1.0-cp27-none-any.whl").write_bytes(b"not for this Python")
    return folder / "env" / "bin" / "python", wheels


def _run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = str(Path(bench_gpu.__file__))
    return subprocess.run(
        [str(python), script, *arguments], capture_output=True, text=True, cwd="/",
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_a_bare_machine_rehearses_every_section(bare: tuple[Path, Path], tmp_path: Path) -> None:
    python, wheels = bare
    lacks = subprocess.run([str(python), "-c", "import yaml"], capture_output=True)
    assert lacks.returncode != 0
    path = tmp_path / "gpu.json"
    done = _run(python, "--smoke", "--device", "cpu", "--wheels", str(wheels), "--json", str(path))
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    assert json.loads(done.stdout) == found
    assert set(bench_gpu.SECTIONS) < set(found)
    assert all(found[name]["passed"] and found[name]["rule"] for name in bench_gpu.SECTIONS)
    assert len(found["wheels"]) >= 4 and "other-1.0-cp27-none-any.whl" not in found["wheels"]
    rows = found["graphs"]["rows"]
    assert {row.get("bn_mode") for row in rows} == {"eval", "train", "batch", None}
    trainings = {row["training"] for row in rows if "training" in row}
    assert trainings == {*METHODS, "margins", "BRW", "policy"}
    assert [row["part"] for row in found["attacks"]["rows"]] == [
        "apgd-ce", "apgd-t", "fab-t", "square",
    ]  # fmt: skip
    assert [row["at_once"] for row in found["packing"]["rows"]] == [1, 2]
    assert [row["name"] for row in found["training"]["rows"]] == ["REAT", "AT-BSL"]
    means = {(row["method"], row["attack"]): row["mean"] for row in found["training"]["published"]}
    assert set(means) == {(m, a) for m in ("REAT", "PGD-AT") for a in ("clean", "pgd20")}


def test_without_the_wheels_a_section_says_what_is_missing(
    bare: tuple[Path, Path], tmp_path: Path
) -> None:
    done = _run(bare[0], "--smoke", "--device", "cpu", "--wheels", str(tmp_path), "--only", "tf32")
    assert done.returncode == 1
    assert "No module named 'pydantic'" in json.loads(done.stdout)["tf32"]["error"]


def test_a_section_over_its_limit_is_stopped_and_keeps_what_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its own limit ends it, and the others go on."""
    slow = tmp_path / "scripts"
    slow.mkdir()
    (slow / "gpu_sections.py").write_text(
        "import sys, time\n"
        "open(sys.argv[3], 'w').write('{\"rows\": [1]}')\n"
        "time.sleep(60 if sys.argv[1] == 'costs' else 0)\n"
    )
    monkeypatch.setattr(bench_gpu, "ROOT", tmp_path)
    found = bench_gpu.run_section("costs", {}, limit_s=1, scratch=tmp_path, path="")
    assert found["passed"] is False and found["rows"] == [1]
    assert found["error"] == "stopped after its 1 s"
    again = bench_gpu.run_section("tf32", {}, limit_s=30, scratch=tmp_path, path="")
    assert again["rows"] == [1] and "error" not in again


def test_no_section_begins_without_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_gpu.main(["--smoke", "--device", "cpu", "--limit-s", "1", "--only", "costs"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["costs"] == {"passed": False, "error": "left out: no time was left"}


def test_all_sections_together_take_less_than_ten_minutes() -> None:
    assert sum(bench_gpu.SECTIONS.values()) - bench_gpu.SECTIONS["training"] < 560
