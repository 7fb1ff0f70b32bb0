"""One piece of work for a Ray slot, and what a worker reports of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["trial", "confirmation", "test"]
State = Literal["complete", "pruned", "failed", "diverged"]


@dataclass(frozen=True)
class Task:
    """A search trial, a confirmation (training only), or the test of a confirmation's weights."""

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
    start_from: str = ""  # folder whose checkpoint this one continues
    attacks: tuple[str, ...] = ()
    number: int = 0  # of the trial in its scenario

    def to_json(self) -> str:
        """As a worker gets it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """What `to_json` wrote."""
        raw = json.loads(text)
        for name in ("validate_at", "attacks"):
            raw[name] = tuple(raw[name])
        return cls(**raw)

    @property
    def title(self) -> str:
        """For people: `imbalance_ratio_50/t0003`, and the seed of a confirmation."""
        name = f"{self.scenario}/t{self.number:04d}"
        return name if self.kind == "trial" else f"{name} seed {self.config['seeds.seed']}"

    @property
    def run_key(self) -> str:
        """The MLflow run it is written to: a test belongs to its confirmation's run."""
        return self.key.removesuffix("/test")

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
