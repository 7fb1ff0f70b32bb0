"""Builds every network that this package did not write, and runs it on images of the study."""

from __future__ import annotations

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.sources import is_available, open_source
from ltat_tune.errors import CheckpointError, ConfigError, LtatError
from ltat_tune.planning.cost import cost_of, image_facts
from ltat_tune.space.problems import Problems
from ltat_tune.space.space import Space


def check_networks(space: Space, problems: Problems) -> list[str]:
    """Refuse networks that cannot be built, take the images, or take the weights to start from.

    Return a note for each start: what was taken, what is left at random, what is not used.
    """
    notes: list[str] = []
    broken: dict[str, str] = {}  # the parameter by problem, each once
    first: dict[object, TrialConfig] = {}
    for _, proposals in space.configurations:
        for _, config in proposals:
            model, data = config.model, config.data
            if "/" in model.name or ":" in model.name or model.init or config.method.teacher:
                first.setdefault(
                    (model.name, model.width, model.features, model.init, model.head, data.name,
                     data.root, data.image_size, config.method.teacher), config
                )  # fmt: skip
    for config in first.values():
        try:
            if is_available(config.data):
                cost_of(config, ("clean",))  # builds the network, and measures a pass
                notes += _start(config)
        except ConfigError as error:
            broken |= dict.fromkeys(error.problems, "model.name")
        except CheckpointError as error:
            taught = str(error).startswith("method.teacher")
            broken[str(error)] = "method.teacher" if taught else "model.init"
        except LtatError:
            continue  # the check of the images says what is wrong with them
    for problem, path in broken.items():
        problems.add_about(problem, names=path)
    return list(dict.fromkeys(notes))


def _start(config: TrialConfig) -> list[str]:
    """Return what is taken of the files to start from and to be taught by; empty without any."""
    init, teacher = config.model.init, config.method.teacher
    if init is None and teacher is None:
        return []
    from ltat_tune.models import build_model
    from ltat_tune.models.foreign.start import load_teacher, start_from

    source = open_source(config.data)
    channels, side, _, _ = image_facts(config, source)
    model = build_model(
        config.model, in_channels=channels, num_classes=len(source.classes), side=side
    )
    notes = [] if init is None else [start_from(model, init)]
    return notes if teacher is None else [*notes, load_teacher(model, teacher)]
