"""A running script: its folder, its command with the values put in, its lines of output."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ltat_tune.config.sections.script import PLACEHOLDER, ScriptSpec
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import ConfigError
from ltat_tune.training.script.guard import GRACE_S

# where scripts of the field write to, beside themselves
_OUTPUTS = (
    "checkpoint", "checkpoints", "ckpt", "ckpts", "results", "output", "outputs", "log", "logs",
    "runs", "save", "saved", "saved_models", "wandb", "studies", "exports", "mlruns",
)  # fmt: skip
_SHOWN = 15  # last lines of a script that failed
_POLL_S = 0.05


def values_of(config: TrialConfig, folder: Path, checkpoint: str = "") -> dict[str, str]:
    """Return the text of every placeholder by its name."""
    script = config.script.definition
    assert script is not None
    texts = {path: _text(value) for path, value in config.flat().items()
             if path != "script.definition"}  # fmt: skip
    for name, parameter in script.parameters.items():
        if parameter.flag is not None:
            texts[f"script.{name}"] = parameter.flag if config.get(f"script.{name}") else ""
    return {**texts, "folder": str(folder), "checkpoint": checkpoint}


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return a text with values in place of `{placeholders}`; other braces stay."""
    return PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)


def filled_command(text: str, values: Mapping[str, str]) -> list[str]:
    """Return the words of a command. A word that is a flag without effect is left out."""
    words = [(word, filled(word, values)) for word in shlex.split(text)]
    return [new for word, new in words if new or not PLACEHOLDER.fullmatch(word)]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return "" if value is None else str(value)


def make_folder(script: ScriptSpec, folder: Path, values: Mapping[str, str]) -> None:
    """Fill the folder that a script runs in: links to the script's files, copies of templates.

    What the script writes beside itself lands here, so trainings that run at once do not meet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(script.folder)
    for entry in sorted(source.iterdir()):
        place = folder / entry.name
        if entry.name.startswith(".") or os.path.lexists(place) or folder.is_relative_to(entry):
            continue
        if entry.name in (*_OUTPUTS, *script.outputs):
            if entry.is_dir():
                place.mkdir()
        elif entry.name not in script.templates:
            place.symlink_to(entry.resolve())
    for name in script.templates:
        text = (source / name).read_text(encoding="utf-8")
        (folder / name).write_text(filled(text, values), encoding="utf-8")


def hash_of(script: ScriptSpec) -> str:
    """Return a hash of the script's own files: those that commands and templates name."""
    source, digest = Path(script.folder), hashlib.sha256()
    words = {word for text in script.commands for word in shlex.split(text)}
    for name in sorted({*words, *script.templates}):
        path = source / name
        if "{" not in name and path.is_file():
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


class RunningScript:
    """A script in a process group of its own. Leaving the context ends the whole group.

    Args:
        commands: the words of each command.
        folder: its working directory.
        log: file of its output, which is written anew.
    """

    def __init__(self, commands: list[list[str]], folder: Path, log: Path) -> None:
        self._commands, self._folder, self._log = commands, folder, log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RunningScript:
        self._lock = (self._folder / ".running").open("w")
        _lock(self._lock.fileno(), self._folder)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}  # each line as it is printed
        guard = Path(__file__).with_name("guard.py")
        self.pending: list[str] = []  # lines that have been read and not been yielded yet
        self.written_ns = 0  # when the file was written that the last line is from
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(guard), json.dumps(self._commands)],
                cwd=self._folder, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, env=environment, pass_fds=(self._lock.fileno(),),
            )  # fmt: skip
        self.began_ns = self._log.stat().st_mtime_ns
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.close()  # the guard ends the group
        try:
            self._process.wait(GRACE_S + 5)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what outlived its commands
        self._lock.close()

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def lines(self, log: Path | None = None) -> Iterator[str]:
        """Yield each line of output, or of its own log, as it is written; to the script's end."""
        path = self._log if log is None else log
        position, rest = 0, b""
        while True:
            ended = self.status is not None
            chunk = b""
            if path.exists():
                if path.stat().st_size < position:  # the script wrote its log anew
                    position, rest = 0, b""
                with path.open("rb") as file:
                    self.written_ns = os.fstat(file.fileno()).st_mtime_ns
                    file.seek(position)
                    chunk = file.read()
            position += len(chunk)
            *whole, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
            whole += [rest] if ended and rest else []
            self.pending = [line.decode("utf-8", "replace") for line in whole]
            while self.pending:
                yield self.pending.pop(0)
            if ended:
                return
            if not chunk:
                time.sleep(_POLL_S)

    def last_lines(self) -> str:
        """Return the end of its output, for an error."""
        text = self._log.read_bytes()[-20_000:].decode("utf-8", "replace")
        return "\n".join(text.replace("\r", "\n").splitlines()[-_SHOWN:])


def _lock(descriptor: int, folder: Path) -> None:
    """Wait until no earlier run of the script is left in its folder.

    Raises:
        ConfigError: one is still there after half a minute.
    """
    end = time.monotonic() + 30
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if time.monotonic() > end:
                raise ConfigError(f"the script still runs in {folder}; end it first") from None
            time.sleep(0.1)
