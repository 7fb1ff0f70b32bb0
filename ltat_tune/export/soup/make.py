"""Make the soups of a study: choose, average, write.

A soup is of one training seed, that of the search. The validation images that chose the trials
choose it too, and nothing confirms it, so its validation score is optimistic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ltat_tune.comparison.entries import Reviewed
from ltat_tune.config.config_file import dump_config
from ltat_tune.config.plugin_loader import copy_plugins
from ltat_tune.errors import StudyError
from ltat_tune.evaluation.loading import Loaded, load_target
from ltat_tune.evaluation.targets import Target
from ltat_tune.export.soup.greedy import Addition, averaged, greedy
from ltat_tune.export.soup.starts import Ingredient, SharedStarts, find_shared
from ltat_tune.models import Classifier
from ltat_tune.models.arithmetic import chosen_device, computing_on
from ltat_tune.seeding import prepare_process
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.training.batch_statistics import estimate_statistics
from ltat_tune.training.checkpoint import weights_hash
from ltat_tune.training.evaluation import validate
from ltat_tune.training.validator import Validator
from ltat_tune.training.weights_file import SUFFIX, save_weights


@dataclass(frozen=True)
class Soup:
    """What became of trials that share a start.

    Attributes:
        start: what they share, in words.
        trials: they, best first.
        tried: what each of them did to the average, in the same order.
    """

    start: str
    trials: Sequence[Ingredient]
    tried: Sequence[Addition]

    @property
    def members(self) -> list[Ingredient]:
        """The trials that are averaged."""
        return [self.trials[one.place] for one in self.tried if one.added]

    @property
    def score(self) -> float:
        """The validation score of the average."""
        return max(one.score for one in self.tried if one.added)

    @property
    def best_alone(self) -> float:
        """The validation score of the best of the trials, measured as the average is."""
        return self.tried[0].score


@dataclass(frozen=True)
class ScenarioSoups:
    """The soups of one scenario.

    Attributes:
        scenario: its name.
        title: its name in words.
        metric: of the scores.
        soups: one for each group of trials that share a start, best first.
        left_out: trials in no group, and why.
        path: the file of the best soup; None if no average beats the best of its trials.
    """

    scenario: str
    title: str
    metric: str
    soups: Sequence[Soup]
    left_out: Mapping[str, str]
    path: Path | None

    @property
    def best(self) -> Soup | None:
        """The best soup of several trials, which is written; None if there is none."""
        return next((soup for soup in self.soups if len(soup.members) > 1), None)

    @property
    def best_trial(self) -> Ingredient:
        """The trial with the best validation score of all that share a start with another."""
        return max(self.soups, key=lambda soup: soup.best_alone).trials[0]


def make_soups(
    study: Reviewed,
    *,
    device: str = "auto",
    on_average: Callable[[str], None] = lambda text: None,
) -> list[ScenarioSoups]:
    """Average the trials of each scenario that share a start, and write the best soup of each.

    Args:
        study: the study, of which trials may still run.
        device: the device that measures.
        on_average: called with a sentence before each average is measured.

    Raises:
        StudyError: no two trials of a scenario share a start; it says why.
        CheckpointError: the weights of a trial cannot be read.
    """
    shared = {
        scenario.name: find_shared(study.space, scenario.name, study.trials)
        for scenario in study.space.scenarios
    }
    if not any(one.groups for one in shared.values()):
        raise StudyError("\n".join(_refusal(name, one) for name, one in shared.items()))
    prepare_process(study.space.resources.cpus_per_trial)
    place = chosen_device(device)
    return [_of_scenario(study, name, one, place, on_average) for name, one in shared.items()]


def _refusal(scenario: str, shared: SharedStarts) -> str:
    """Return why nothing can be averaged, with the trials of each reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in shared.left_out.items():
        reasons.setdefault(reason, []).append(name)
    told = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
    return (
        f"{scenario}: two trials must share a start to be averaged, but none do "
        f"({told or 'no trial has ended'}). Trials share one where they differ only in parameters "
        "that act late, such as deferred reweighting with searcher.branches, or where model.init "
        "is set"
    )


def _of_scenario(
    study: Reviewed,
    scenario: str,
    shared: SharedStarts,
    device: torch.device,
    on_average: Callable[[str], None],
) -> ScenarioSoups:
    mixers = [Mixer(study, trials, device, on_average) for _, trials in shared.groups]
    made = [
        (Soup(start, trials, greedy(len(trials), mixer.score)), mixer)
        for (start, trials), mixer in zip(shared.groups, mixers, strict=True)
    ]
    made.sort(key=lambda one: -one[0].score)  # the earlier group, if they are equal
    path = soup_file(study.folder, scenario)
    written = None
    for old in (path, path.with_suffix(".yaml")):
        old.unlink(missing_ok=True)
    for soup, mixer in made:
        if len(soup.members) > 1:
            mixer.write(path, scenario, soup)
            written = path
            break
    return ScenarioSoups(
        scenario, study.titles[scenario], study.space.objective.metric,
        [soup for soup, _ in made], shared.left_out, written,
    )  # fmt: skip


def soup_file(folder: StudyFolder, scenario: str) -> Path:
    """Return the file of a scenario's soup."""
    return folder.soups / f"{scenario}{SUFFIX}"


class Mixer:
    """Averages trainings that share a start and measures the averages.

    Everything is measured as the first of them is: its configuration is the soup's.

    Args:
        study: the study.
        trials: the trainings, best first.
        device: the device that measures.
        on_average: called with a sentence before each average is measured.
    """

    def __init__(
        self, study: Reviewed, trials: Sequence[Ingredient], device: torch.device,
        on_average: Callable[[str], None] = lambda text: None,
    ) -> None:  # fmt: skip
        self._study, self._trials, self._device = study, trials, device
        self._on_average = on_average
        self._states: dict[int, dict[str, Tensor]] = {}  # of what was averaged last
        self._first: Loaded | None = None

    def score(self, places: tuple[int, ...]) -> float:
        """Return the score of an average; none is as low as that of one below a bound."""
        names = " and ".join(self._trials[place].name for place in places)
        self._on_average(f"measuring {names}")
        objective, first = self._study.space.objective, self._start()
        with computing_on(self._device, first.config.compute):
            module = self._average(places)
            metrics = validate(
                self._validator.measured(module), self._val, first.config, first.groups
            ).metrics
        if any(metrics[name] < least for name, least in objective.at_least.items()):
            return -1.0
        return metrics[objective.metric]

    def mix(self, places: Sequence[int]) -> nn.Module:
        """Return an average as it is measured, in eval mode. The next one overwrites it."""
        with computing_on(self._device, self._start().config.compute):
            return self._validator.measured(self._average(places))

    def write(self, path: Path, scenario: str, soup: Soup) -> None:
        """Write the weights of a soup, and its configuration beside them."""
        first, study = self._start(), self._study
        places = tuple(one.place for one in soup.tried if one.added)
        model = self.mix(places)
        names = " ".join(one.name for one in soup.members)
        facts = {
            "study": study.folder.root.name, "scenario": scenario, "soup": names,
            "seed": str(first.config.seeds.seed),
            "selected_on_test": str(study.space.selected_on_test).lower(),
            "smoke": str(bool(study.results.smoke)).lower(),
        }  # fmt: skip
        _, channels, height, width = first.splits.train.images.shape
        save_weights(
            path, model, identity=first.config.identity,
            subset_hash=first.splits.subset_hash, epoch=first.epoch,
            classes=first.splits.classes, image_shape=(channels, height, width), about=facts,
        )  # fmt: skip
        copy_plugins(first.config.plugins, path.parent)
        recorded: dict[str, Any] = {
            **facts, "selected_on_test": study.space.selected_on_test,
            "seed": first.config.seeds.seed, "objective": study.space.objective.metric,
            "val": {study.space.objective.metric: soup.score}, "epoch": first.epoch,
            "weights": weights_hash(self._module.state_dict()),
            "subset_hash": first.splits.subset_hash,
            "threads": study.space.resources.cpus_per_trial,
        }  # fmt: skip
        comment = (
            f"The average of the trials {names} of {study.folder.root.name}, {scenario}.\n"
            f"No training makes it; the configuration is that of {soup.members[0].name}.\n"
            "One training seed, chosen on the validation images, not confirmed.\n"
            f"  ltat-tune evaluate {path}"
        )
        dump_config(path.with_suffix(".yaml"), first.config, comment=comment, recorded=recorded)

    def _average(self, places: Sequence[int]) -> nn.Module:
        """Return the average of trials; one alone is that trial, with its own statistics."""
        self._states = {
            place: self._states[place] if place in self._states else self._state(place)
            for place in places
        }
        first = self._start()
        module = self._module
        module.load_state_dict(averaged([self._states[place] for place in places]))
        if len(places) > 1:
            estimate_statistics(
                module, first.config, self._train, first.splits.samples_per_class,
                epoch=first.config.optim.epochs - 1, classes=first.class_state,
            )  # fmt: skip
        return module.eval()

    def _state(self, place: int) -> dict[str, Tensor]:
        loaded = self._start() if place == 0 else self._load(place)
        state = _network(loaded.model).state_dict()
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    def _start(self) -> Loaded:
        """Return the best trial, loaded once: its network then holds each average."""
        if self._first is None:
            self._first = first = self._load(0)
            self._states[0] = self._state(0)
            self._module = _network(first.model)
            self._train = first.splits.train.to(self._device)
            self._val = first.splits.val.to(self._device)
            self._validator = Validator(
                first.config, self._train, self._val, first.splits.samples_per_class
            )
        return self._first

    def _load(self, place: int) -> Loaded:
        trial, folder = self._trials[place], self._study.folder
        target = Target(
            trial.name, trial.folder / "config.yaml", trial.checkpoint, folder.cache, folder.root
        )
        return load_target(target, device=str(self._device))


def _network(model: nn.Module) -> nn.Module:
    """Return the network of a model without the scale and the shift it is measured with."""
    return model if isinstance(model, Classifier) else cast(nn.Module, model.model)
