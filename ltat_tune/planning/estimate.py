"""Estimates a study's trials, epochs, hours, memory and disk, without training."""

from __future__ import annotations

import os
import statistics
from dataclasses import asdict, dataclass, replace
from typing import Any

from ltat_tune.errors import DataError
from ltat_tune.planning.cost import Cost, attack_steps, cost_of, validation_share
from ltat_tune.planning.expected_epochs import SearchLength, search_length, stage_epochs
from ltat_tune.planning.opinion_cost import opinion_passes
from ltat_tune.planning.slots import on_this_machine, trials_at_once, visible_gpus
from ltat_tune.presentation.units import duration
from ltat_tune.search.rungs import Rungs, place_rungs
from ltat_tune.space.space import Scenario, Space

CONTEXTS = 8  # proposals whose costs are averaged
_LONG_HOURS = 24.0  # a study that takes longer gets a note


@dataclass(frozen=True)
class Calibration:
    """The measurement of a calibration on this machine (planning/calibration.py)."""

    pass_s: float  # of one attack step on one image
    memory_mib: float  # peak of the training process, GPU memory where it trains on one
    epoch_s: float  # of the configuration that was measured, without validation
    gpu: bool


@dataclass(frozen=True)
class ScenarioEstimate:
    """The estimate of one scenario: expected and largest counts, and seconds of one slot."""

    name: str
    title: str
    samples_per_class: tuple[int, ...]  # training images
    classes: tuple[str, ...]
    trials: int
    complete: float  # trials that train to their end
    search_epochs: float
    search_epochs_at_most: int
    shared_epochs: float  # saved by stems, of the expected
    confirmations: int
    confirmation_epochs: float
    confirmation_epochs_at_most: int
    tests: int
    epoch_s: float  # including validation
    seconds: float
    seconds_at_most: float


@dataclass(frozen=True)
class StudyEstimate:
    """The estimate of a whole study on one machine.

    Attributes:
        scenarios: the estimate of each scenario.
        slots: trials at once.
        gpu: whether trials train on GPUs.
        gpus: GPUs of the machine; without one, the one GPU of the rule of thumb.
        measured: whether the seconds rest on a calibration.
        memory_mib: memory of one trial.
        memory_free_mib: memory of the machine, or of one of its GPUs; None without the GPU.
        fit: trials that this memory holds at once, on all GPUs; None without the GPU.
        disk_mib: checkpoints, decoded images and stems.
    """

    scenarios: tuple[ScenarioEstimate, ...]
    slots: int
    gpu: bool
    gpus: int
    measured: bool
    memory_mib: float
    memory_free_mib: float | None
    fit: int | None
    disk_mib: float

    @property
    def hours(self) -> float:
        """Expected wall-clock hours."""
        return self._hours(sum(s.seconds for s in self.scenarios))

    @property
    def hours_at_most(self) -> float:
        """Wall-clock hours if nothing is stopped early."""
        return self._hours(sum(s.seconds_at_most for s in self.scenarios))

    @property
    def epochs(self) -> float:
        """Expected epochs, with those of confirmations."""
        return sum(s.search_epochs + s.confirmation_epochs for s in self.scenarios)

    @property
    def epochs_at_most(self) -> int:
        """Epochs if nothing is stopped early."""
        return sum(s.search_epochs_at_most + s.confirmation_epochs_at_most for s in self.scenarios)

    def gpu_hours(self, at_most: bool = False) -> float | None:
        """Return the hours of whole GPUs; None on CPUs."""
        if not self.gpu:
            return None
        return sum(s.seconds_at_most if at_most else s.seconds for s in self.scenarios) / 3600

    def _hours(self, seconds: float) -> float:
        # trials that share a GPU share its speed
        return seconds / 3600 / (self.gpus if self.gpu else self.slots)

    def as_data(self) -> dict[str, Any]:
        """Return the data that `plan --format json` prints."""
        return {
            **asdict(self),
            "hours": self.hours,
            "hours_at_most": self.hours_at_most,
            "gpu_hours": self.gpu_hours(),
            "gpu_hours_at_most": self.gpu_hours(at_most=True),
            "epochs": self.epochs,
            "epochs_at_most": self.epochs_at_most,
        }


def estimate(
    space: Space,
    rungs: Rungs | None = None,
    *,
    slots: int | None = None,
    measured: Calibration | None = None,
) -> StudyEstimate:
    """Estimate a study, by the rule of thumb of planning/cost.py or by a measurement.

    Args:
        space: the study.
        rungs: where its trials are judged; None places them.
        slots: trials at once; None is what this machine holds.
        measured: a calibration of this machine.

    Raises:
        DataError: the images cannot be counted, because they are not on this machine.
    """
    rungs = place_rungs(space) if rungs is None else rungs
    gpu = on_this_machine(space.resources).gpus_per_trial > 0
    gpus = visible_gpus(space.resources)
    slots = trials_at_once(space.resources, max(1, gpus)) if slots is None else slots
    length = search_length(space, rungs)  # the same for every scenario
    scenarios, costs = [], []
    for scenario in space.scenarios:
        cost = mean_cost(space, scenario)
        scenarios.append(_scenario(space, scenario, rungs, length, cost, measured))
        costs.append(cost)
    memory = measured.memory_mib if measured else max(c.memory_mib(gpu=gpu) for c in costs)
    free = _memory_mib(gpu, gpus)
    fit = None if free is None else max(1, gpus) * int(free / memory)
    return StudyEstimate(
        scenarios=tuple(scenarios),
        slots=slots,
        gpu=gpu,
        gpus=max(1, gpus) if gpu else 0,
        measured=measured is not None,
        memory_mib=memory,
        memory_free_mib=free,
        fit=fit,
        disk_mib=_disk_mib(space, rungs, tuple(scenarios), costs),
    )


def mean_cost(space: Space, scenario: Scenario) -> Cost:
    """Return the mean cost of what a scenario may propose.

    Raises:
        DataError: the images cannot be counted.
    """
    configs = [space.config(scenario, params) for params in space.contexts(CONTEXTS)]
    confirm = space.confirm
    costs = [cost_of(c, confirm.attacks, at_most=confirm.test_images) for c in configs]
    return replace(costs[0], update=statistics.fmean(cost.update for cost in costs))


def confirmation_epochs(space: Space) -> tuple[int, int, int]:
    """Return, for one scenario, confirmations, their epochs, and how many of these may be spared.

    Every candidate trains every seed, except those that its trial has trained to the end. The
    trial of the baseline may have been stopped, so its seeds count, and they are what may be
    spared.
    """
    confirm, total = space.confirm, space.max_epochs
    if confirm.top == 0:
        return 0, 0, 0
    seeds = space.confirm_seeds
    own = sum(seed in space.search_seeds for seed in seeds)
    winners = min(confirm.top, space.searcher.trials)
    baseline = int(bool(space.start_from) and space.searcher.trials > winners)
    epochs = ((winners + baseline) * len(seeds) - winners * own) * total
    return (winners + baseline) * len(seeds), epochs, baseline * own * total


def least_epochs(space: Space, rungs: Rungs) -> int:
    """Return the fewest epochs of a useful study: a trial and all confirmations per scenario."""
    _, confirming, _ = confirmation_epochs(space)
    return len(space.scenarios) * (sum(stage_epochs(space, rungs)) + confirming)


def long_study_note(space: Space, slots: int) -> str:
    """Return a note on a study that will probably take longer than a day, else an empty text.

    A study with a budget gets none, and neither does one of the small CNN alone: it starts within
    seconds, and would wait for torch, which counts a network's work.
    """
    configs = [space.config(scenario, {}) for scenario in space.scenarios]
    small = "model.name" not in space.tuned and all(c.model.name == "small_cnn" for c in configs)
    if small or space.budget is not None:
        return ""
    try:
        study = estimate(space, slots=max(1, slots))
    except DataError:  # its images are not on this machine yet
        return ""
    if study.hours <= _LONG_HOURS:
        return ""
    where = f"{study.gpus} GPU(s)" if study.gpu else f"{study.slots} trials at once on CPUs"
    return (
        f"this study is expected to take about {duration(3600 * study.hours)} on {where} (a rule "
        "of thumb: `ltat-tune plan SPACE --measure` measures). Fewer trials, fewer epochs, "
        "scheduler.rungs=copy or a smaller model make it shorter; --budget 24h ends it after a day"
    )


def _scenario(
    space: Space,
    scenario: Scenario,
    rungs: Rungs,
    length: SearchLength,
    cost: Cost,
    measured: Calibration | None,
) -> ScenarioEstimate:
    config = space.config(scenario, {})
    gpu = on_this_machine(space.resources).gpus_per_trial > 0
    threads = space.resources.cpus_per_trial
    pass_s = measured.pass_s if measured else cost.pass_seconds(gpu=gpu, threads=threads)
    epoch_s = pass_s * (cost.update + cost.validation * validation_share(config, rungs.epochs))
    confirmations, most, spared = confirmation_epochs(space)
    # a stopped baseline continues
    done = min(1.0, length.complete / length.trials)
    confirming = most - spared * done
    price = _copy_price(space, rungs, length)
    watched = space.confirm.sentinel and config.measured_eps > 0 and confirmations > 0
    after = pass_s * (confirmations * cost.test + watched * cost.sentinel)
    # a second opinion on every whole training
    val = config.data.val_per_class * len(cost.classes)
    opinion = space.objective.is_checked * pass_s * opinion_passes(config, cost.train_images, val)
    trainings, seeds = confirming / space.max_epochs, space.searcher.seeds_per_trial
    opinions = opinion * (length.complete * seeds + trainings)
    opinions_at_most = opinion * (length.trials * seeds + trainings)
    return ScenarioEstimate(
        name=scenario.name,
        title=scenario.title,
        samples_per_class=cost.samples_per_class,
        classes=cost.classes,
        trials=length.trials,
        complete=length.complete,
        search_epochs=length.trained,
        search_epochs_at_most=length.at_most,
        shared_epochs=length.shared,
        confirmations=confirmations,
        confirmation_epochs=confirming,
        confirmation_epochs_at_most=most,
        tests=confirmations * len(space.confirm.attacks),
        epoch_s=epoch_s,
        seconds=epoch_s * (length.trained * price + confirming) + opinions + after,
        seconds_at_most=epoch_s * (length.at_most + most) + opinions_at_most + after,
    )


def _copy_price(space: Space, rungs: Rungs, length: SearchLength) -> float:
    """Return the cost of a search epoch in whole epochs; cheaper attacks make copies cheaper."""
    cheap = space.scheduler.cheaper.get("attack.steps", ())
    whole = attack_steps(space.config(space.scenarios[0], {})) + 1.5
    saved = sum(
        length.by_length.get(epochs, 0.0) * (1 - (steps + 1.5) / whole)
        for epochs, steps in zip(rungs.copies, cheap, strict=False)
    )
    return 1 - saved / length.expected if length.expected else 1.0


def _disk_mib(
    space: Space, rungs: Rungs, scenarios: tuple[ScenarioEstimate, ...], costs: list[Cost]
) -> float:
    """Return the MiB of the images, and of checkpoints of stages, confirmations and stems."""
    mib, caches = 0.0, {}
    for scenario, cost in zip(scenarios, costs, strict=True):
        repeats = scenario.complete * (space.searcher.seeds_per_trial - 1)
        whole = scenario.complete if rungs.copies else scenario.trials
        stages = scenario.trials * len(rungs.copies) + whole + repeats
        stems = scenario.trials / space.searcher.branches if scenario.shared_epochs else 0.0
        mib += cost.checkpoint_mib * (stages + scenario.confirmations + stems)
        data = space.config(space.scenario(scenario.name), {}).data
        caches[data.name, data.root] = cost.data_mib  # the same for all ratios and classes
    return mib + sum(caches.values())


def _memory_mib(gpu: bool, gpus: int) -> float | None:
    """Return the memory of the machine, or of its first GPU, in MiB."""
    if not gpu:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    if not gpus:
        return None
    import torch

    return float(torch.cuda.get_device_properties(0).total_memory / 2**20)
