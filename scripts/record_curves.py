"""Records real learning curves of every configuration of a space file, for bench_search.py.

    python scripts/record_curves.py --space scripts/problems/reat.yaml   # goes on where it stopped

Every parameter under `tuned` must be countable; there may be one scenario. Of each configuration:
validation after every epoch, short complete copies of an eighth, a quarter and half of the epochs,
copies of a quarter with a fifth of the attack's steps, probes if asked for, and the truth: PGD-20
on the test images, mean of two seeds. Configurations that share a stem train it once, as in a
study; a branch is the training from scratch to the last bit.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.datasets import load_splits
from ltat_tune.errors import TrainingDiverged
from ltat_tune.preflight.load import load_space
from ltat_tune.search.stems import stem_of
from ltat_tune.seeding import prepare_process
from ltat_tune.space.enumeration import all_points
from ltat_tune.space.space import Space
from ltat_tune.training.checkpoint import adopt_checkpoint
from ltat_tune.training.evaluation import measure_accuracy
from ltat_tune.training.fit_result import EpochMetrics, FitResult
from ltat_tune.training.trainer import Trainer

DATA = Path(__file__).parent.parent / "tests" / "data"
SEEDS = (0, 1)
PROBE_EPOCHS = 2


class _Enough(Exception):
    """Ends a training after its last probe."""


class Recorder:
    """Trains the configurations of one space.

    Args:
        space: its only scenario is recorded.
        scratch: holds checkpoints and stems.
        copies: whether to record copies.
    """

    def __init__(self, space: Space, scratch: Path, *, copies: bool = True) -> None:
        self._space, self._scratch = space, scratch
        self._base = space.config(space.scenarios[0], {})
        self._splits = load_splits(self._base)
        self.metric, self.epochs = space.objective.metric, space.max_epochs
        self.fidelities = fidelities(self._base) if copies else {}

    def record(self, params: dict[str, Any], probes: tuple[int, ...]) -> dict[str, Any]:
        """Return the row of one configuration."""
        config = self._space.config(self._space.scenarios[0], params)
        row: dict[str, Any] = {"params": params, "curve": [], "copies": {}, "truth": []}
        for seed in SEEDS:
            trained = self._train(config.replace({"seeds.seed": seed}))
            row["truth"].append(None if trained is None else self._tested(config, *trained))
            if seed == SEEDS[0] and trained is not None:
                history = trained[0].history
                row["curve"] = [round(past.metrics[self.metric], 4) for past in history]
                row["epoch_seconds"] = sorted(p.seconds for p in history)[len(history) // 2]
        for name, (epochs, steps) in self.fidelities.items():
            short = config.shortened(epochs).replace({"attack.steps": steps})
            trained = self._train(short)
            score = None if trained is None else trained[1].metrics[self.metric]
            row["copies"][name] = None if score is None else round(score, 4)
        if probes:
            row["probes"] = self._probed(config, probes)
        return row

    def _train(self, config: TrialConfig) -> tuple[Trainer, FitResult] | None:
        """Return a finished training, or None if it diverged."""
        trainer = Trainer(config, splits=self._splits)
        path = self._scratch / "checkpoint.pt"
        path.unlink(missing_ok=True)
        stem = stem_of(config, device="cpu", threads=1)
        shared = None if stem is None else self._scratch / f"{stem.key}.pt"
        if shared is not None and shared.exists():
            adopt_checkpoint(shared, path, identity=config.identity)

        def keep_stem(done: EpochMetrics) -> None:
            if shared is not None and stem is not None and done.epoch == stem.epochs:
                if not shared.exists():
                    shutil.copyfile(path, shared)

        try:
            return trainer, trainer.fit(keep_stem, checkpoint=path)
        except TrainingDiverged:
            return None

    def _tested(self, config: TrialConfig, trainer: Trainer, result: FitResult) -> float:
        accuracy = measure_accuracy(
            result.model, self._splits.test(), "pgd20", config, split="test",
            classes=len(self._splits.classes),
        )  # fmt: skip
        metrics = accuracy.metrics("test/pgd20", trainer.groups)
        return round(metrics["test/pgd20_balanced_acc"], 4)

    def _probed(self, config: TrialConfig, probes: tuple[int, ...]) -> dict[str, float | None]:
        """Return the probes' scores; without a stem, because they see what acts late."""
        trainer, scores = Trainer(config, splits=self._splits), dict[str, float | None]()

        def look(done: EpochMetrics) -> None:
            if done.epoch in probes:
                probe = trainer.probe(PROBE_EPOCHS)
                score = probe.get("probe/" + self.metric.removeprefix("val/"))
                scores[str(done.epoch)] = None if score is None else round(score, 4)
            if done.epoch == probes[-1]:
                raise _Enough

        try:
            trainer.fit(look)
        except (_Enough, TrainingDiverged):
            pass
        return scores


def fidelities(config: TrialConfig) -> dict[str, tuple[int, int]]:
    """Return name -> (epochs, attack steps) of the copies, such as `6s2` -> (6, 2)."""
    whole, steps = config.optim.epochs, config.attack.steps
    lengths = [whole // 8, whole // 4, whole // 2]
    cheap = max(2, steps // 5)
    return {
        **{str(length): (length, steps) for length in lengths},
        **({f"{whole // 4}s{cheap}": (whole // 4, cheap)} if cheap < steps else {}),
    }


def countable(space: Space) -> list[dict[str, Any]]:
    """Return every configuration of a space.

    Raises:
        SystemExit: there are several scenarios, or more configurations than can be counted.
    """
    if len(space.scenarios) > 1:
        raise SystemExit(f"a table holds one scenario, got {len(space.scenarios)}; fix its values")
    points = all_points(space.tuned)
    if points is None:
        raise SystemExit(
            "every tuned parameter must be countable, and at most 4096 configurations; write "
            "type: categorical with choices, or give ranges a step"
        )
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", type=Path, required=True, help="the space file to record")
    parser.add_argument("--out", type=Path, help="by default tests/data/NAME_curves.json")
    parser.add_argument("--probes", type=int, nargs="*", default=[], help="epochs of probes")
    parser.add_argument("--set", action="append", default=[], help="as of ltat-tune")
    parser.add_argument("--whole", action="store_true", help="record no copies")
    parser.add_argument("--first", type=int, default=None, help="only the first so many")
    arguments = parser.parse_args()
    prepare_process(1)
    space = load_space(
        arguments.space, overrides=arguments.set, check_machine=False, allow_inert=True
    )
    points = countable(space)[: arguments.first]
    out = arguments.out or DATA / f"{space.name}_curves.json"
    parts = out.with_suffix(".jsonl")
    done = [json.loads(line) for line in parts.read_text().splitlines()] if parts.exists() else []
    known = [row["params"] for row in done]
    with tempfile.TemporaryDirectory() as scratch, open(parts, "a") as file:
        recorder = Recorder(space, Path(scratch), copies=not arguments.whole)
        for params in points:
            if params in known:
                continue
            began = time.perf_counter()
            done.append(recorder.record(params, tuple(sorted(arguments.probes))))
            file.write(json.dumps(done[-1]) + "\n")
            file.flush()
            print(f"{len(done)} of {len(points)}, {time.perf_counter() - began:.1f} s", flush=True)
    table = {
        "made_by": "scripts/record_curves.py",
        "metric": recorder.metric,
        "epochs": recorder.epochs,
        "probe_epochs": PROBE_EPOCHS,
        "fixed": dict(space.document["fixed"]),
        "tuned": dict(space.document["tuned"]),
        "fidelities": {
            name: {"epochs": epochs, "attack.steps": steps}
            for name, (epochs, steps) in recorder.fidelities.items()
        },
        "rows": done,
    }
    out.write_text(json.dumps(table, separators=(",", ":")) + "\n")
    parts.unlink()


if __name__ == "__main__":
    main()
