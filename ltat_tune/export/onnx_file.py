"""Write and run ONNX files of a measured model, for runtimes without torch."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ltat_tune.errors import CheckpointError, StudyError
from ltat_tune.files import read_file, write_bytes

if TYPE_CHECKING:
    import onnx

OPSET = 18
_DIGEST = "ltat-tune sha256"
_MISSING = "ONNX files need the extra onnx: pip install 'ltat-tune[onnx]'"


def check_installed() -> None:
    """Raise StudyError, with the command that installs them, if packages are missing."""
    from importlib.util import find_spec

    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise StudyError(f"{_MISSING} (missing: {', '.join(missing)})")


def save_onnx(path: Path, model: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Write a model that maps `images` (N, C, H, W) in [0, 1] to `logits` (N, K), N >= 1.

    Both are float32.

    Args:
        path: the file; it holds the weights too.
        model: in eval mode, on the CPU.
        image_shape: C, H, W.

    Raises:
        StudyError: the extra onnx is not installed, or the exporter refuses the network.
    """
    check_installed()
    import onnx

    example = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0))
    with _quiet():
        try:
            program = torch.onnx.export(
                model, (example,), input_names=["images"], output_names=["logits"],
                dynamic_shapes={"images": {0: torch.export.Dim("N")}},
                opset_version=OPSET, dynamo=True, verbose=False,
            )  # fmt: skip
        except Exception as error:  # whatever torch's exporter raises about a network
            raise StudyError(
                f"{path.name} cannot be written: torch's exporter refuses this network "
                f"({_reason(error)}); leave out --onnx, and use --checkpoint or --register"
            ) from error
    assert program is not None
    onnx.checker.check_model(program.model_proto)
    write_bytes(path, program.model_proto.SerializeToString())


def onnx_runner(path: Path) -> Callable[[Tensor], Tensor]:
    """Return a function that runs the file: images (N, C, H, W) -> logits (N, K).

    Raises:
        CheckpointError: the file is no model, or its content has changed since it was written.
        OSError: it cannot be read.
    """
    import onnxruntime

    content = read_file(path)
    _whole_model(path, content)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        return torch.from_numpy(logits)

    return run


def write_about(path: Path, about: Mapping[str, str]) -> None:
    """Write facts about the model, and a digest of it all, into the file's `metadata_props`."""
    import onnx

    proto = onnx.load_model(str(path), load_external_data=False)
    for name, text in about.items():
        proto.metadata_props.add(key=name, value=text)
    proto.metadata_props.add(key=_DIGEST, value=_digest_of(proto))
    write_bytes(path, proto.SerializeToString())


def read_about(path: Path) -> dict[str, str]:
    """Return the facts that `write_about` wrote.

    Raises:
        CheckpointError: the file is no model, or its content has changed since.
        OSError: it cannot be read.
    """
    model = _whole_model(path, read_file(path))
    return {entry.key: entry.value for entry in model.metadata_props if entry.key != _DIGEST}


def _whole_model(path: Path, content: bytes) -> onnx.ModelProto:
    """Return the model in a file's content, whose digest is checked if it has one.

    Raises:
        CheckpointError: it is no model, or has changed since it was written.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # of protobuf, which has several
        raise CheckpointError(f"{path} is no whole ONNX file; export it again") from error
    # a file of an earlier version has no digest
    digests = [entry.value for entry in model.metadata_props if entry.key == _DIGEST]
    if digests not in ([], [_digest_of(model)]):
        raise CheckpointError(
            f"{path} is not a whole ONNX file: its content has changed since it was written; "
            "export it again"
        )
    return model


def _digest_of(model: onnx.ModelProto) -> str:
    """Return the SHA-256 of a model's graph, weights included, and of the facts about it."""
    about = sorted([entry.key, entry.value] for entry in model.metadata_props)
    facts = [pair for pair in about if pair[0] != _DIGEST]
    digest = hashlib.sha256(model.graph.SerializeToString(deterministic=True))
    digest.update(json.dumps(facts).encode())
    return digest.hexdigest()


def _reason(error: BaseException) -> str:
    """Return the innermost error's kind and first line; the outer ones are the exporter's."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [
        "no reason given"
    ]
    return f"{type(error).__name__}: {lines[0][:160]}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which prints its progress and warns about itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
