"""Models of the whole space file and of its sections."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Literal

from pydantic import StrictBool, field_validator

from ltat_tune.config.attack_names import WRITTEN, is_attack, meant_attack
from ltat_tune.config.fields import Section, documented
from ltat_tune.config.parameters import unknown_parameter
from ltat_tune.config.scalars import Integer, Number
from ltat_tune.space.objective import Objective
from ltat_tune.space.resources import ResourcesSpec

MOST_OWED = 100  # trials of one choice
STUDY_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"


class SearcherSpec(Section):
    """The searcher, which proposes the configurations of each scenario.

    grid and list propose nothing: they run every combination, or the entries of `start_from`.
    The others draw their first trials at `random`, or spread them evenly by a scrambled Sobol
    sequence (`qmc`). With the searcher `random`, that sequence goes on to the end.
    """

    name: Literal["predict", "tpe", "random", "grid", "list", "gp", "cmaes", "nsga2", "nsga3"] = (
        documented(
            "predict",
            "what proposes configurations: predict models the final score and trains cheap "
            "copies where they pay; tpe, gp, cmaes, nsga2 and nsga3 learn from earlier trials, "
            "random does not; grid trains every combination, list the entries of start_from",
        )
    )
    trials: Integer = documented(
        20,
        "trials of each scenario; with predict, as many whole trainings or what costs as much, "
        "so that a copy counts as a share of a trial; a grid or list counts its own",
        ge=1, le=100000,
    )  # fmt: skip
    seed: Integer = documented(0, "seed of the proposals", ge=0, le=10**6)
    startup: Literal["random", "qmc"] = documented(
        "random",
        "how the first trials are drawn: at random, or spread evenly by a scrambled Sobol "
        "sequence (qmc)",
    )
    startup_trials: Integer | None = documented(
        None,
        "trials that are drawn before the searcher models anything, and the size of a generation "
        "of nsga2 and nsga3; null is a third of the trials, at most 10, and with predict 2 after "
        "a few copies, or 4 where there are none",
        ge=1,
    )
    max_failures_in_a_row: Integer = documented(
        3, "the study stops after so many failed tasks in a row", ge=1
    )
    branches: Integer = documented(
        1,
        "settings of the parameters that act late, for each setting of those that act early; "
        "such trials share one stem",
        ge=1, le=100,
    )  # fmt: skip
    at_least: dict[str, Integer] | None = documented(
        None,
        "whole trainings that each choice of a parameter gets before the searcher may leave it "
        "out, such as {method.name: 3}; null is 2 for a method or a loss that decides which "
        "others exist, {} asks for none (the bounds of accuracies are objective.at_least)",
    )
    seeds_per_trial: Integer = documented(
        1, "seeds that each configuration is trained with; its score is their mean", ge=1, le=100
    )
    stop: dict[Literal["gain_below"], Number] | None = documented(
        None,
        "when a search ends before its trials: {gain_below: 0.5} ends it once the trials that are "
        "left are expected to add less than 0.5 points to the best score; null trains all",
    )

    @field_validator("stop")
    @classmethod
    def _gain_is_in_points(cls, stop: dict[str, float] | None) -> dict[str, float] | None:
        if stop is not None and (not stop or not 0 < stop["gain_below"] <= 100):
            raise ValueError(
                f"must be such as {{gain_below: 0.5}}, above 0, up to 100; got {stop}"
            )
        return stop

    @property
    def gain_below(self) -> float:
        """Points of expected gain below which the search ends; 0 if it trains all its trials."""
        return self.stop["gain_below"] if self.stop else 0.0

    @field_validator("at_least")
    @classmethod
    def _are_counts(cls, at_least: dict[str, int] | None) -> dict[str, int] | None:
        for path, least in (at_least or {}).items():
            if not 0 <= least <= MOST_OWED:
                rule = f"must hold numbers of trials from 0 to {MOST_OWED}"
                raise ValueError(f"{rule}, got {path}: {least}")
        return at_least

    @property
    def enumerates(self) -> bool:
        """Whether the file fixes all configurations."""
        return self.name in ("grid", "list")

    @property
    def random_trials(self) -> int:
        """Trials before the searcher models anything; for nsga2 and nsga3 a generation's size."""
        usual = 2 if self.name == "predict" else min(10, max(1, self.trials // 3))
        return self.startup_trials or usual


class SchedulerSpec(Section):
    """The rule that stops weak trials early, and what it judges."""

    name: Literal["asha", "hyperband", "median", "none"] = documented(
        "asha", "rule that stops weak trials early; none stops nothing"
    )
    rungs: Literal["auto", "prefix", "copy", "probe"] = documented(
        "auto",
        "what a rung judges: prefix (the training so far), copy (a short complete training), "
        "probe (a fork that trains as at the end of the run), or auto (prefix where it can judge "
        "in the first half of the run, copy elsewhere)",
    )
    max_epochs: Integer | None = documented(
        None, "epochs of a whole training; the same as optim.epochs, so write one of them", ge=1
    )
    grace_epochs: Integer | None = documented(
        None, "epochs before the first rung; null places it where it does not judge noise", ge=1
    )
    reduction_factor: Number = documented(
        3.0, "one in so many trials goes on at each rung", gt=1, le=100
    )
    probe_epochs: Integer = documented(3, "epochs that a probe trains", ge=1, le=1000)
    fidelity: dict[Literal["attack.steps"], tuple[Integer, ...]] | None = documented(
        None,
        "attack steps of the copies, from the shortest copy on, such as {attack.steps: [2]}; 1 is "
        "N-FGSM; null gives the shortest copies a fifth of the steps, {} every copy all of them",
    )

    @field_validator("fidelity")
    @classmethod
    def _steps_rise(
        cls, fidelity: dict[Literal["attack.steps"], tuple[int, ...]] | None
    ) -> dict[Literal["attack.steps"], tuple[int, ...]] | None:
        for path, values in (fidelity or {}).items():
            if not values or min(values) < 1 or list(values) != sorted(values):
                raise ValueError(f"must give {path} whole numbers from 1 on that do not fall, "
                                 f"got {list(values)}")  # fmt: skip
        return fidelity

    @property
    def cheaper(self) -> dict[Literal["attack.steps"], tuple[int, ...]]:
        """`fidelity`; an empty dict while it is left open and not filled in."""
        return self.fidelity or {}


class ConfirmSpec(Section):
    """The confirmations: winners are retrained and, only then, measured on the test split."""

    top: Integer = documented(
        1,
        "best configurations of each scenario that are trained again with every seed and then "
        "tested; 0 confirms nothing and leaves the test images alone",
        ge=0, le=100,
    )  # fmt: skip
    contenders: StrictBool = documented(
        False,
        "confirm only those of the top that may be the best, by the noise of one training that "
        "the surrogate of predict finds: with a chance of 5 % at least",
    )
    seeds: tuple[Integer, ...] | None = documented(
        None,
        "seeds of the confirmations, all different, and none that the search trains with; null is "
        "the next three",
    )
    attacks: tuple[str, ...] = documented(
        ("clean", "pgd20", "aa"),
        f"attacks on the test images, once a confirmation is trained: {WRITTEN}",
    )
    test_images: Integer | None = documented(
        None,
        "test images that each of these attacks gets, such as 1000: a seeded part with the same "
        "number of every class, the same for every model; null is all of them",
        ge=1,
    )
    sentinel: StrictBool = documented(
        True,
        "look for gradient masking in the winner of each scenario, after its test; this chooses "
        "nothing",
    )

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if seeds is None:
            return None
        if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) > 2**31:
            raise ValueError(
                f"must be one or more different seeds from 0 to {2**31}, got {list(seeds)}"
            )
        return seeds

    @field_validator("attacks")
    @classmethod
    def _attacks_exist(cls, attacks: tuple[str, ...]) -> tuple[str, ...]:
        strange = [attack for attack in attacks if not is_attack(attack)]
        if strange or not attacks or len(set(attacks)) != len(attacks):
            meant = ", ".join(filter(None, map(meant_attack, strange)))
            hint = f"; did you mean {meant}?" if meant else ""
            got = f"got {list(attacks)}{hint}"
            raise ValueError(f"must be different attacks out of {WRITTEN}, {got}")
        return attacks


class WarmStart(Section):
    """The earlier study whose best configurations are tried, and how many of them."""

    study: str = documented(
        ..., "folder of the earlier study, such as studies/srat; must be given"
    )
    best: Integer = documented(
        3, "configurations that each scenario takes from it, best first", ge=0, le=100
    )
    narrow: StrictBool = documented(
        False, "also shrink the ranges to where the best quarter of its trials lies"
    )
    taken: dict[str, list[Any]] | None = documented(
        None,
        "what was taken, by scenario; the study writes it into its own copy of the file, so that "
        "a resume does not need the earlier study",
    )
    learned: dict[str, list[list[dict[str, Any]]]] | None = documented(
        None,
        "configurations and scores that predict learns from, by scenario and earlier scenario; "
        "the study writes them too",
    )


class SpaceDocument(Section):
    """A space file: one question, and everything needed to answer it."""

    name: str | None = documented(
        None, "name of the study and of its folder; null is the file's name without its ending"
    )
    plugins: list[Any] = documented(
        [],
        "your own modules whose methods, losses, models or data sets the file names; the study "
        "runs their code",
    )
    script: dict[str, Any] | None = documented(
        None, "your own training script: command, metrics, checkpoint, resume, parameters"
    )
    objective: Objective = Objective()
    fixed: dict[str, Any] = documented(
        {}, "values that every trial shares, by parameter; what is left out takes its default"
    )
    scenarios: dict[str, list[Any]] = documented(
        {}, "lists of values that change the problem, by parameter; each combination has its own "
        "search and its own winner",
    )  # fmt: skip
    tuned: dict[str, Any] = documented(
        ..., "domains that the searcher chooses from, by parameter; must name at least one"
    )
    start_from: list[dict[str, Any]] = documented(
        [], "configurations that are tried first; the first one is the baseline"
    )
    warm_start: WarmStart | None = None
    searcher: SearcherSpec = SearcherSpec()
    scheduler: SchedulerSpec = SchedulerSpec()
    confirm: ConfirmSpec = ConfirmSpec()
    resources: ResourcesSpec = ResourcesSpec()
    budget: str | None = documented(
        None,
        "what the study may take, such as 6h, 90min, 40gpuh or 500epochs; the search ends in time "
        "for the confirmations and tests",
    )


class DomainKeys(Section):
    """The domain of a tuned parameter: a range, or a list of choices."""

    type: Literal["float", "int", "categorical"] = documented(
        ..., "a range of numbers, a range of whole numbers, or a list of choices; must be given"
    )
    low: Number | None = documented(None, "smallest value of a range")
    high: Number | None = documented(None, "largest value of a range")
    log: StrictBool = documented(False, "draw from a range on a log scale; low must be above 0")
    step: Number | None = documented(
        None, "distance between the values of a range; it must divide high - low", gt=0
    )
    choices: list[Any] | None = documented(None, "two or more values of a categorical parameter")
    prior: Any = documented(
        None,
        "a value that is believed to be good, such as a published one; predict begins with it, "
        "and prefers what is near for a few trials",
    )
    when: dict[str, Any] = documented(
        {}, "condition, such as {method.name: srat}: the parameter exists only where other tuned "
        "parameters have these values; a list names several",
    )  # fmt: skip


SECTIONS: dict[str, type[Section]] = {
    "objective": Objective,
    "searcher": SearcherSpec,
    "scheduler": SchedulerSpec,
    "confirm": ConfirmSpec,
    "resources": ResourcesSpec,
}


def unknown_key(path: str) -> str:
    """Return the message for a path that is neither a parameter nor a key of the file."""
    part, _, field = path.partition(".")
    if part not in SECTIONS:
        return unknown_parameter(path)
    fields = list(SECTIONS[part].model_fields)
    close = get_close_matches(field, fields, n=1)
    hint = f"did you mean {part}.{close[0]}?" if close else f"{part} has {', '.join(fields)}"
    return f"unknown key {path}; {hint}"
