"""Which images a study's trainings used: one hash for each choice of images, the same in all.

The record is a folder of empty files named `<choice>-<hash>`, so that no write can tear it and
workers on several machines need no lock.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import ImagesChangedError

_NOT_CHOOSING = {  # parameters of `data` that do not choose images
    "root", "policy", "policy_ops", "policy_magnitude", "augmentation", "crop_padding", "rotation",
}  # fmt: skip


def subset_key(config: TrialConfig) -> str:
    """Return a hash of the parameters that choose the training and validation images."""
    chosen = config.data.model_dump(mode="json", exclude=_NOT_CHOOSING)
    if config.data.indices is None:  # as in studies from before it existed
        del chosen["indices"]
    seeds = config.seeds
    chosen["seed"] = seeds.seed if seeds.subset_seed is None else seeds.subset_seed
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]


def check_subset(record: Path, config: TrialConfig, subset_hash: str) -> None:
    """Record which images a training uses.

    Args:
        record: the study's record, a folder; it is made.
        config: the training's configuration.
        subset_hash: hash of its images.

    Raises:
        ImagesChangedError: a training that chose its images alike used others.
        OSError: the folder cannot be written.
    """
    key = subset_key(config)
    own = record / f"{key}-{subset_hash}"
    if not own.exists():
        record.mkdir(parents=True, exist_ok=True)
        own.touch()
    used = sorted(path.name.rpartition("-")[2] for path in record.glob(f"{key}-*"))
    if used != [subset_hash]:
        others = ", ".join(name for name in used if name != subset_hash)
        own.unlink(missing_ok=True)
        raise ImagesChangedError(
            f"all trainings of a scenario must use the same images, but this one got "
            f"{subset_hash} and others {others}: the images have changed since the study began; "
            "restore them as they were, or start another study"
        )
