"""One piece of work for a Ray slot, and what a worker reports of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ltat_tune.config.trial_config import TrialConfig

Kind = Literal["copy", "trial", "repeat", "confirmation", "test", "sentinel"]
SEARCH: tuple[Kind, ...] = ("copy", "trial", "repeat")  # the stages of a trial
State = Literal["complete", "pruned", "failed", "diverged"]


@dataclass(frozen=True)
class Task:
    """A stage of a search trial, a confirmation, or a look at a confirmation's weights.

    A trial's stages are short complete copies, its own training, and repeats of that with other
    seeds; most trials have the training alone. A confirmation only trains. A look is the test, or
    of one winner the sentinel.
    """

    key: str  # unique in the study: `imbalance_ratio_50/t0003`
    kind: Kind
    scenario: str
    config: dict[str, Any]  # TrialConfig by dotted path
    folder: str
    cache: str
    threads: int
    device: str
    epochs: int
    validate_at: tuple[int, ...] = ()
    probe_at: tuple[int, ...] = ()
    probe_epochs: int = 0
    stem: str = ""  # file of the shared beginning: used if it is there, else left there
    stem_epochs: int = 0
    fidelity: dict[str, Any] = field(default_factory=dict)  # what a copy trains with instead
    start_from: str = ""  # folder whose checkpoint this one continues
    attacks: tuple[str, ...] = ()
    number: int = 0  # of the trial in its scenario
    seed: int | None = None  # of a repeat; None is the configuration's own
    plugins: tuple[dict[str, str], ...] = ()  # whose code the worker runs first
    spacious: bool = False  # ran out of GPU memory once: up to twice the share now

    def to_json(self) -> str:
        """As a worker gets it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """What `to_json` wrote."""
        raw = json.loads(text)
        for name in ("validate_at", "probe_at", "attacks", "plugins"):
            raw[name] = tuple(raw[name])
        return cls(**raw)

    def training_config(self) -> TrialConfig:
        """What is trained: `config`, as short as a copy is, with the seed of a repeat."""
        config = TrialConfig.from_flat(self.config)
        if self.kind == "copy":
            config = config.shortened(self.epochs).replace(self.fidelity)
        return config if self.seed is None else config.replace({"seeds.seed": self.seed})

    @property
    def trial(self) -> str:
        """The trial that it belongs to, or whose configuration it confirms."""
        return f"{self.scenario}/t{self.number:04d}"

    @property
    def title(self) -> str:
        """For people: `imbalance_ratio_50/t0003`, and the seed of a confirmation."""
        name = self.trial
        if self.kind == "trial":
            return name
        if self.kind == "copy":
            return f"{name} copy of {self.epochs} epochs"
        if self.kind == "repeat":
            return f"{name} seed {self.seed}"
        look = " sentinel" if self.kind == "sentinel" else ""
        return f"{name} seed {self.config['seeds.seed']}{look}"

    @property
    def run_key(self) -> str:
        """The MLflow run it is written to: a stage is its trial's, a look its confirmation's."""
        return "/".join(self.key.split("/")[:2])

    @property
    def path(self) -> Path:
        """The task's folder."""
        return Path(self.folder)


@dataclass(frozen=True)
class Outcome:
    """How a task ended."""

    state: State
    epoch: int
    reason: str = ""  # of failed and diverged; with the traceback of failed
    metrics: dict[str, float] | None = None
    seconds: float = 0.0

    @property
    def cause(self) -> str:
        """The last line of the reason: what one failure has in common with another."""
        lines = self.reason.strip().splitlines()
        return lines[-1] if lines else "no reason given"
