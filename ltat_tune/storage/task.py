"""One piece of work for a slot, and the outcome that a worker reports."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ltat_tune.config.trial_config import TrialConfig

TaskKind = Literal["copy", "trial", "repeat", "confirmation", "part", "test", "sentinel"]
SEARCH: tuple[TaskKind, ...] = ("copy", "trial", "repeat")  # the stages of a trial
LOOKS: tuple[TaskKind, ...] = ("part", "test", "sentinel")  # at a confirmation's weights
OutcomeState = Literal["complete", "pruned", "failed", "diverged"]


@dataclass(frozen=True)
class Task:
    """A stage of a search trial, a confirmation, or a look at a confirmation's weights.

    The stages of a trial are complete short copies, its own training, and repeats of it with other
    seeds; most trials have only the training. A confirmation only trains. A look is the test, or
    a part of it before it, so that several slots share it, or the sentinel's for one winner.
    """

    key: str  # unique in the study: `imbalance_ratio_50/t0003`
    kind: TaskKind
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
    stem: str = ""  # file of the shared beginning: read if it exists, else written
    stem_epochs: int = 0
    fidelity: dict[str, Any] = field(default_factory=dict)  # values that replace those of a copy
    start_from: str = ""  # folder whose checkpoint this one continues, or a part measures
    attacks: tuple[str, ...] = ()
    test_images: int | None = None  # of a look: the most images that each attack gets
    part: int = 0  # of a part of a test: its place, from 1
    parts: int = 0  # that share the test
    number: int = 0  # the trial's, in its scenario
    seed: int | None = None  # a repeat's; None is the configuration's own
    plugins: tuple[dict[str, str], ...] = ()  # the worker runs their code first
    second_opinion: bool = False  # whether its score gets one; a copy's never does
    precision: str | None = None  # what `compute.precision: auto` is in this study
    subsets: str = ""  # the study's record of the images that its trainings use
    spacious: bool = False  # ran out of GPU memory once, so it gets up to twice the share

    def to_json(self) -> str:
        """Return the task as JSON, for a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """Return the task that `to_json` wrote."""
        raw = json.loads(text)
        for name in ("validate_at", "probe_at", "attacks", "plugins"):
            raw[name] = tuple(raw[name])
        return cls(**raw)

    def training_config(self) -> TrialConfig:
        """Return the configuration to train: as short as a copy is, with the seed of a repeat."""
        config = TrialConfig.from_flat(self.config)
        if self.kind == "copy":
            config = config.shortened(self.epochs).replace(cheaper(config, self.fidelity))
        return config if self.seed is None else config.replace({"seeds.seed": self.seed})

    @property
    def trial(self) -> str:
        """The trial that it belongs to, or whose configuration it confirms."""
        return f"{self.scenario}/t{self.number:04d}"

    @property
    def title(self) -> str:
        """The human-readable name: `imbalance_ratio_50/t0003`, and the seed of a confirmation."""
        name = self.trial
        if self.kind == "trial":
            return name
        if self.kind == "copy":
            return f"{name} copy of {self.epochs} epochs"
        if self.kind == "repeat":
            return f"{name} seed {self.seed}"
        parts = f" test, part {self.part} of {self.parts}"
        look = {"sentinel": " sentinel", "part": parts}.get(self.kind, "")
        return f"{name} seed {self.config['seeds.seed']}{look}"

    @property
    def run_key(self) -> str:
        """The key of its MLflow run: a stage's is its trial's, a look's its confirmation's."""
        return "/".join(self.key.split("/")[:2])

    @property
    def path(self) -> Path:
        """The task's folder."""
        return Path(self.folder)


def cheaper(config: TrialConfig, fidelity: dict[str, Any]) -> dict[str, Any]:
    """Return the values that a copy trains with: an attack of one step is that of N-FGSM.

    One short step of PGD would leave most of the ball unseen.

    Source: deJorge2022Make.

    Args:
        config: of the whole training.
        fidelity: the study's values for copies of this length.
    """
    if fidelity.get("attack.steps") != 1 or config.attack.steps == 1:
        return fidelity
    return {
        **fidelity, "attack.step_size": config.attack.eps, "attack.start": "uniform_clipped",
        "attack.start_radius": 2.0, "attack.projection": False,
    }  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a task ended."""

    state: OutcomeState
    epoch: int
    reason: str = ""  # of a failure with the traceback; of a complete one why it is doubted
    metrics: dict[str, float] | None = None
    seconds: float = 0.0
    claimed: dict[str, float] | None = None  # a doubted training's metrics as it measured them
    lent_s: float = 0.0  # of a test: seconds that other tasks took for batches of it

    @property
    def cause(self) -> str:
        """The last line of the reason, which similar failures share."""
        lines = self.reason.strip().splitlines()
        return lines[-1] if lines else "no reason given"
