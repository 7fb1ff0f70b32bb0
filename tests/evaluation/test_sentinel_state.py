"""The sentinel goes on where a kill stopped it, and nobody can tell from the report."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ltat_tune.evaluation.sentinel import SentinelReport, watch
from tests.attacks.toys import tiny_cnn

# The same watch in a process of its own, which stops to be killed within its sixth attack.
_PROGRAM = """
import sys, time
from pathlib import Path
import torch
from tests.evaluation.test_sentinel_state import watched

def progress(name, done, total):
    if done == 5:
        print("at the sixth attack", flush=True)
        time.sleep(600)

torch.set_num_threads(1)
watched(Path(sys.argv[1]), progress=progress)
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _images() -> tuple[Tensor, Tensor]:
    return torch.rand(18, 1, 8, 8, generator=torch.Generator().manual_seed(0)), (
        torch.arange(18) % 3
    )


def watched(state: Path | None, **knobs: Any) -> SentinelReport:
    """A tiny model that is watched, its attacks kept in `state`."""
    images, targets = _images()
    defaults = {"eps": 0.1, "square_queries": 20, "weights": "tiny x1"}
    return watch(tiny_cnn(3), images, targets, state=state, **{**defaults, **knobs})


def _kept(state: Path) -> dict[str, int]:
    found = [path for path in state.glob("*/*.json") if path.name != "about.json"]
    return {path.stem: path.stat().st_mtime_ns for path in found}


def test_a_killed_watch_goes_on_with_the_attack_it_was_at(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "at the sixth attack\n"
        process.send_signal(signal.SIGKILL)
    before = _kept(tmp_path)
    assert set(before) == {"fgsm", "noise", "pgd20", "cw20", "adaptive20"}
    heard: list[str] = []
    report = watched(tmp_path, progress=lambda name, done, total: heard.append(name))
    assert report == watched(None)
    assert len(heard) == 12  # eleven attacks, made or read, and the end
    assert {name: _kept(tmp_path)[name] for name in before} == before  # not done again


def test_only_attacks_that_are_missing_are_made_again(tmp_path: Path) -> None:
    whole = watched(tmp_path)
    before = _kept(tmp_path)
    (folder,) = tmp_path.iterdir()
    (folder / "square.json").unlink()
    (folder / "pgd20.json").write_text('{"attack": "pgd20", "marg')  # torn
    (folder / "noise.json").write_text('{"attack": "noise", "margins": [1.0]}')  # of others
    assert watched(tmp_path) == whole == watched(None)
    after = _kept(tmp_path)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"square", "pgd20", "noise"}


def test_what_was_kept_is_really_used(tmp_path: Path) -> None:
    watched(tmp_path)
    (folder,) = tmp_path.iterdir()
    kept = folder / "square.json"
    right = kept.read_text().count(".")
    kept.write_text('{"attack": "square", "margins": [' + ", ".join(["-1.0"] * right) + "]}")
    black_box = watched(tmp_path).checks[0]
    assert black_box.figures["square"] == 0.0


@pytest.mark.parametrize(
    "knobs",
    [{"weights": "tiny x10"}, {"eps": 0.2}, {"norm": "l2"}, {"seed": 1}, {"max_images": 9},
     {"split": "val"}, {"step_size": 0.01}, {"square_queries": 5}, {"batch_size": 7}],
    ids=lambda knobs: next(iter(knobs)),
)  # fmt: skip
def test_everything_that_decides_a_margin_has_a_folder_of_its_own(
    tmp_path: Path, knobs: dict[str, Any]
) -> None:
    def stop(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    for changed in ({}, knobs, {}):
        with pytest.raises(KeyboardInterrupt):
            watched(tmp_path, progress=stop, **changed)
    assert len(list(tmp_path.iterdir())) == 2
