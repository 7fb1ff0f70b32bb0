"""Measures how often a study's verdict is wrong, on studies without any training.

    python scripts/bench_verdict.py            # every kind of study, some minutes on one core
    python scripts/bench_verdict.py --smoke    # only whether it runs

Right and wrong answers are drawn, and everything else is real: the search's ranking, the files of
the confirmations, the winner, its leads, intervals and sentences. An image is answered right where
a sum is above 0: the accuracy of the configuration, how hard the class and the image are, what the
image does to this configuration, to this seed, and to both together, each drawn from a normal
distribution. In a null study all configurations are equal. Elsewhere they differ by normal
deviates. `before` is what the verdict was made of until 0.4.0: the validation scores with the
search's own training as one of the seeds, and a paired t-test over the seeds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import ttest_rel

from ltat_tune.results.collect import collect
from ltat_tune.results.model import ScenarioResults
from ltat_tune.results.selection import Candidate, confirmation_of
from ltat_tune.results.verdict import verdict_of
from ltat_tune.space.problems import Problems
from ltat_tune.space.reader import build_space
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import (
    CompleteTraining,
    KeptAnswers,
    MeasuredOnTest,
    write_test,
    write_training,
)
from ltat_tune.training.metrics import Accuracy, ClassGroups

CLASSES = 10
ACCURACY = 0.4
METRIC = "val/pgd20_balanced_acc"
# standard deviations of the sum's parts
CLASS, IMAGE, OF_CONFIG, OF_BOTH = 0.8, 1.5, 0.7, 0.8
_PARAMETER = "optim.lr"


@dataclass(frozen=True)
class Kind:
    """A kind of study.

    Attributes:
        name: what it is.
        spread: standard deviation of the configurations' true accuracies, in points; 0 is null.
        top: `confirm.top`.
        seeds: confirmations of each configuration.
        luck: standard deviation of a seed's part in the sum.
        trials: of the search.
        val: validation images.
        test: test images.
    """

    name: str
    spread: float = 0.0
    top: int = 1
    seeds: int = 3
    luck: float = 0.03  # about half a point of accuracy
    trials: int = 20
    val: int = 500
    test: int = 1000


KINDS = (
    Kind("null"),
    Kind("null, 5 seeds", seeds=5),
    Kind("null, 3 confirmed", top=3),
    Kind("null, 3 confirmed, lucky seeds", top=3, luck=0.1),
    Kind("null, 40 trials, 10,000 test images", trials=40, test=10000),
    Kind("null, 12 trials, 200 test images", trials=12, val=100, test=200),
    Kind("2 points of spread", spread=2),
    Kind("2 points of spread, 5 seeds", spread=2, seeds=5),
    Kind("2 points of spread, 3 confirmed", spread=2, top=3),
    Kind("5 points of spread", spread=5),
    Kind("5 points of spread, lucky seeds", spread=5, luck=0.1),
)


class Rows:
    """A ledger in memory: `storage.trial_state.Rows`."""

    def __init__(self, scores: NDArray[np.float64]) -> None:
        domain = optuna.distributions.FloatDistribution(0.0, 1.0)
        self._rows = []
        for number, score in enumerate(scores):
            row = optuna.trial.create_trial(
                params={_PARAMETER: _rate(number)}, distributions={_PARAMETER: domain},
                value=float(score), user_attrs={"state": "complete", "epochs": 1},
            )  # fmt: skip
            row.number = number
            self._rows.append(row)

    def finished(self, scenario: str) -> list[optuna.trial.FrozenTrial]:
        return self._rows

    def exhausted(self, scenario: str) -> str:
        return ""


def _rate(number: int) -> float:
    return 0.01 * (number + 1)


class Drawn:
    """The answers of every configuration and seed to the images of one study."""

    def __init__(self, kind: Kind, draw: np.random.Generator) -> None:
        self.kind, self._draw = kind, draw
        self._scale = float(np.sqrt(IMAGE**2 + OF_CONFIG**2 + OF_BOTH**2 + kind.luck**2))
        self._class = CLASS * draw.standard_normal(CLASSES)
        self._shift = self._shift_for(ACCURACY)
        steps = kind.spread / 100 * draw.standard_normal(kind.trials)
        self._shifts = np.array([self._shift_for(ACCURACY + step) for step in steps])
        self.targets = {
            split: np.repeat(np.arange(CLASSES), images // CLASSES)
            for split, images in (("val", kind.val), ("test", kind.test))
        }
        self._images = {
            split: IMAGE * draw.standard_normal(len(t)) + self._class[t]
            for split, t in self.targets.items()
        }
        self._own: dict[tuple[int, str], NDArray[np.float64]] = {}

    def _shift_for(self, accuracy: float) -> float:
        """The shift whose mean recall over the classes is this accuracy."""
        low, high = -10.0, 10.0
        for _ in range(50):
            middle = (low + high) / 2
            recall = float(ndtr((middle + self._class) / self._scale).mean())
            low, high = (middle, high) if recall < accuracy else (low, middle)
        return low

    def truth(self, number: int) -> float:
        """The accuracy of a configuration over all seeds and images."""
        return float(ndtr((self._shifts[number] + self._class) / self._scale).mean())

    def training(self, number: int) -> dict[str, NDArray[np.bool_]]:
        """Another training: which images it answers right, by split."""
        luck = self.kind.luck * self._draw.standard_normal()
        answers = {}
        for split, images in self._images.items():
            if (number, split) not in self._own:
                own = OF_CONFIG * self._draw.standard_normal(len(images))
                self._own[number, split] = own
            both = OF_BOTH * self._draw.standard_normal(len(images))
            total = self._shifts[number] + luck + images + self._own[number, split] + both
            answers[split] = total > 0
        return answers


def _space(kind: Kind) -> Space:
    document: dict[str, Any] = {
        "name": "drawn",
        "tuned": {_PARAMETER: {"type": "float", "low": 0.001, "high": 1.0}},
        "start_from": [{_PARAMETER: _rate(0)}],
        "objective": {"metric": METRIC},
        "searcher": {"name": "random", "trials": kind.trials},
        "scheduler": {"name": "none"},
        "confirm": {
            "top": kind.top, "seeds": [*range(1, kind.seeds + 1)], "attacks": ["pgd20"],
            "sentinel": False,
        },
    }  # fmt: skip
    return build_space(document, "drawn", Problems("drawn", {}, set(), ()))


def _write(drawn: Drawn, answers: dict[str, NDArray[np.bool_]], place: Path) -> None:
    counts = [len(drawn.targets["val"]) // CLASSES] * CLASSES
    groups = ClassGroups.from_counts(counts)

    def measured(split: str) -> Accuracy:
        targets = drawn.targets[split]
        right = np.bincount(targets, weights=answers[split], minlength=CLASSES).astype(int)
        return Accuracy(right.tolist(), np.bincount(targets, minlength=CLASSES).tolist())

    val, test = measured("val"), measured("test")
    place.mkdir(parents=True)
    write_training(place, CompleteTraining(
        state="complete", epoch=1, metrics=val.metrics("val/pgd20", groups), weights="",
        per_class={}, subset_hash="drawn", samples_per_class=counts,
    ))  # fmt: skip
    blank = MeasuredOnTest(
        state="complete", epoch=1, weights="", metrics={}, per_class={}, images={}
    )
    kept = KeptAnswers.of(answers["test"], drawn.targets["test"], classes=CLASSES)
    write_test(place, blank.with_attack(
        "pgd20", test.metrics("test/pgd20", groups), test.per_class, kept
    ))  # fmt: skip


@dataclass(frozen=True)
class Study:
    """What one study said, and what is true."""

    is_best: bool
    settled: bool
    gain: float
    true_gain: float
    covered: bool
    width: float
    before_gain: float
    before_p: float


def studies(kind: Kind, count: int, seed: int) -> Iterator[Study]:
    """The studies of a kind in which the winner is not the baseline."""
    draw = np.random.default_rng(seed)
    space = _space(kind)
    done = 0
    while done < count:
        drawn = Drawn(kind, draw)
        searched = [drawn.training(number) for number in range(kind.trials)]
        scores = np.array([one["val"].mean() for one in searched])  # as many of each class
        with tempfile.TemporaryDirectory() as place:
            folder = StudyFolder(Path(place) / "drawn")
            folder.root.mkdir()
            folder.facts.write_text('{"format": 1}')
            rows = Rows(scores)
            ranked = sorted(range(kind.trials), key=lambda n: (-scores[n], n))
            for number in dict.fromkeys([*ranked[: kind.top], 0]):
                candidate = Candidate(number, {_PARAMETER: _rate(number)}, False, False)
                for one in space.confirm_seeds:
                    path = confirmation_of(space, folder, "default", candidate, one).path
                    _write(drawn, drawn.training(number), path)
            results = collect(space, folder, rows)
        (scenario,) = results.scenarios
        verdict, lead = verdict_of(results, scenario), scenario.leads.baseline
        if verdict is None or lead is None or lead.low is None or lead.high is None:
            continue  # the baseline won: there is nothing to claim
        done += 1
        assert scenario.winner is not None
        truth = drawn.truth(scenario.winner.number) - drawn.truth(0)
        p = 1.0 if lead.p is None else lead.p
        yield Study(
            verdict.is_best, p < 0.05 and lead.gain > 0, lead.gain, truth,
            lead.low <= truth <= lead.high, lead.high - lead.low,
            *_before(kind, scenario, scores),
        )  # fmt: skip


def _before(
    kind: Kind, scenario: ScenarioResults, scores: NDArray[np.float64]
) -> tuple[float, float]:
    """Gain and p as they were: validation scores, with the search's training as the first seed."""
    winner, baseline = scenario.winner, scenario.baseline
    assert winner is not None and baseline is not None
    one, other = (
        [float(scores[c.number]), *c.val[METRIC][: kind.seeds - 1]] for c in (winner, baseline)
    )
    gain = statistics.fmean(one) - statistics.fmean(other)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scores whose differences are equal
        return gain, float(ttest_rel(one, other).pvalue)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--studies", type=int, default=1000, help="of each kind")
    parser.add_argument("--smoke", action="store_true", help="few studies of two kinds")
    options = parser.parse_args(argv)
    kinds = (KINDS[0], KINDS[6]) if options.smoke else KINDS
    count = 5 if options.smoke else options.studies
    print(f"{count} studies of each kind; accuracy {100 * ACCURACY:.0f} %, {CLASSES} classes; "
          "points and shares in %\n")  # fmt: skip
    print("| studies | \"is best\" | lead called beyond chance | mean lead shown | mean true lead "
          "| intervals that hold the true lead | median width | before: p < 0.05 and ahead "
          "| before: mean lead shown |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for place, kind in enumerate(kinds):
        found = list(studies(kind, count, seed=place))
        mean = statistics.fmean
        cells = [
            100 * mean(one.is_best for one in found),
            100 * mean(one.settled for one in found),
            100 * mean(one.gain for one in found),
            100 * mean(one.true_gain for one in found),
            100 * mean(one.covered for one in found),
            100 * statistics.median(one.width for one in found),
            100 * mean(one.before_p < 0.05 and one.before_gain > 0 for one in found),
            100 * mean(one.before_gain for one in found),
        ]
        print(f"| {kind.name} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
