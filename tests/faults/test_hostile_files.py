"""Files and words that nobody means: refused at once, with the place and the remedy."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ltat_tune.config.attack_names import is_attack, is_validation_attack
from ltat_tune.errors import CheckpointError, ConfigError, LtatError
from ltat_tune.evaluation.loading import load_target
from ltat_tune.evaluation.targets import Target
from ltat_tune.training.weights_file import read_weights
from ltat_tune.yaml_lines import YamlProblem, read_value, read_yaml
from tests.drive import MINI, call, write_space
from tests.evaluation.trainings import train_into


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("064", "YAML 1.1 reads 064 as the octal number 52; write 64"),
        ("010", "YAML 1.1 reads 010 as the octal number 8; write 10"),
        ("-010", "YAML 1.1 reads -010 as the octal number -8; write -10"),
        ("1:30", "YAML 1.1 reads 1:30 as a number to base 60; write it out, or in quotes as text"),
        ("1_000", "numbers must have no underscores, got 1_000; write 1000"),
        ("1_000.5", "numbers must have no underscores, got 1_000.5; write 1000.5"),
    ],
)
def test_numbers_that_yaml_misreads_are_refused_in_files_and_in_set(
    written: str, said: str, tmp_path: Path
) -> None:
    for text in (f"a: {written}", f"a: [1, {written}]"):
        with pytest.raises(YamlProblem) as caught:
            read_yaml(text)
        assert caught.value.problems == [(1, said)]
    done = call("--space", write_space(tmp_path), "--set", f"optim.batch_size={written}",
                "--dry-run", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 2 and f"--set optim.batch_size: {said}" in done.stderr


def test_plain_numbers_texts_and_zero_are_read_as_before() -> None:
    text = "[0, 0.5, -3, 1.0e-3, '064', \"1:30\", 08, 0x10, 8/255, a_b, 12:ab]"
    assert read_yaml(text)[0] == [
        0, 0.5, -3, 0.001, "064", "1:30", "08", 16, "8/255", "a_b", "12:ab",
    ]  # fmt: skip
    assert read_value("[1") == "[1"  # no YAML, so text


def test_a_windows_path_in_double_quotes_is_told_of_single_ones() -> None:
    with pytest.raises(YamlProblem) as caught:
        read_yaml('root: "C:\\images\\Users"')
    assert caught.value.problems[0][1].endswith("put a path with backslashes into single quotes")


def test_what_is_no_space_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (17 << 20))
    (tmp_path / "many.yaml").write_text(
        yaml.safe_dump({**MINI, "fixed": {f"unknown.key{n}": 1 for n in range(2_000)}})
    )
    write_space(tmp_path)
    deep = "[" * 5000 + "]" * 5000
    for words, said in (
        (["--space", "/dev/zero"], "a pipe, a socket or a device"),
        (["--space", "pipe.yaml"], "a pipe, a socket or a device"),
        (["--space", "large.yaml"], "larger than 16 MiB"),
        (["--space", "many.yaml"], "fixed must have at most 1,000 keys, got 2,000"),
        (["--space", "mini.yaml", "--set", f"optim.lr={deep}"], "nested too deeply"),
        (["--space", "mini.yaml", "--set", "confirm.attacks=[pgd10000000000]"], "pgd10000000000"),
        (["ls", "methods", "--plugins", "m" * 300], "(300 characters)"),
        (["train", "pipe.yaml"], "a pipe, a socket or a device"),
    ):
        began = time.monotonic()
        done = call(*words, cwd=tmp_path)
        assert done.returncode == 2, (words, done.stderr)
        assert said in done.stderr, done.stderr
        assert len(done.stderr) < 20_000
        assert time.monotonic() - began < 10


def test_attacks_have_as_many_steps_as_end() -> None:
    assert is_attack("pgd1000x10") and is_validation_attack("pgd99999")
    assert not is_attack("pgd10000000000") and not is_attack("pgd20x100000")


def test_a_long_refusal_is_cut_and_nothing_in_it_steers_the_terminal(tmp_path: Path) -> None:
    fixed = {f"unknown\x1b[31m.key{n}": "x" * 1000 for n in range(300)}
    (tmp_path / "many.yaml").write_text(yaml.safe_dump({**MINI, "fixed": fixed}))
    done = call("--space", "many.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr and "\\x1b[31m" in done.stderr
    assert "more lines" in done.stderr and len(done.stderr) < 130_000


def test_overwrite_does_not_follow_a_link(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.mkdir()
    (real / "study.json").write_text('{"format": 1}')
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "mini").symlink_to(real)
    done = call("--space", write_space(tmp_path), "--overwrite", "--in-process", cwd=tmp_path)
    assert done.returncode == 2 and "is a link; delete what it points to" in done.stderr
    assert (real / "study.json").exists()


VALUES: tuple[Any, ...] = (None, 7, "text", [], {}, [[1]], {"a": None}, float("nan"))


def test_a_checkpoint_with_anything_in_any_place_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """Of 0.4.0, so no digest finds it: every part is missing, or replaced, once."""
    train_into(tmp_path, optim__epochs=1)
    path = tmp_path / "checkpoint.pt"
    state = {k: v for k, v in torch.load(path, weights_only=True).items() if k != "history_digest"}
    state["format"] = 1
    chosen = random.Random(0)
    for name in [name for name in state if name != "format"]:
        for value in (*chosen.sample(VALUES, 3), "MISSING"):
            changed = {**state, name: value}
            if value == "MISSING":
                del changed[name]
            torch.save(changed, path)
            try:  # some parts are not needed to measure a model
                load_target(Target("x", tmp_path / "config.yaml", path))
            except LtatError as error:
                assert str(path) in str(error)


def test_a_safetensors_file_with_anything_in_its_metadata_is_refused_in_a_sentence(
    small_study: Path, tmp_path: Path
) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    whole = next((small_study / "best").glob("*.safetensors"))
    with safe_open(whole, framework="pt") as file:
        metadata = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    metadata.pop("digest")
    metadata["format"] = "ltat-tune 1"
    path = tmp_path / "changed.safetensors"
    for name in metadata:
        for value in (None, "", "null", "[]", "{}", "[1, 2]", "text"):
            changed = {**metadata, name: value or ""}
            if value is None:
                del changed[name]
            save_file(tensors, path, changed)
            try:
                read_weights(path)
            except CheckpointError as error:
                assert str(path) in str(error)
    save_file({**tensors, "extra": torch.zeros(2, dtype=torch.bfloat16)}, path, metadata)
    with pytest.raises(CheckpointError):
        read_weights(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises((CheckpointError, ConfigError), match="a pipe"):
        read_weights(path)
