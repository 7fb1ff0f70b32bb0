"""Stems: equal keys only where the beginnings are equal, and never where something differs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ltat_tune.config.effects import acts_from_epoch
from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.search.stems import late_paths, stem_of
from ltat_tune.training.fit_result import EpochMetrics
from ltat_tune.training.trainer import Trainer
from tests.training.toys import tiny

SRAT = {
    "method.name": "srat",
    "reweight.name": "class_balanced",
    "reweight.schedule": "deferred",
    "reweight.start_fraction": 0.8,
    "optim.epochs": 200,
}


def _key(**changes: object) -> str | None:
    config = TrialConfig.from_flat(
        {**SRAT, **{p.replace("__", "."): v for p, v in changes.items()}}
    )
    stem = stem_of(config, device="cpu", threads=1)
    return None if stem is None else f"{stem.epochs}/{stem.key}"


def test_late_parameters_share_a_stem_and_early_ones_do_not() -> None:
    first = _key()
    assert first is not None
    assert first.startswith("160/")
    assert _key(reweight__beta=0.9) == first
    assert _key(reweight__name="under_represented", reweight__under_weight=20) == first
    for other in (
        _key(optim__lr=0.2), _key(method__temperature=0.5), _key(seeds__seed=1),
        _key(reweight__start_fraction=0.7), _key(optim__epochs=100), _key(attack__steps=3),
        _key(data__imbalance_ratio=20),
    ):  # fmt: skip
        assert other != first


def test_where_everything_acts_at_once_there_is_no_stem() -> None:
    assert _key(reweight__schedule="immediate") is None
    assert _key(reweight__name="none") is None


def test_machine_and_threads_are_part_of_the_key() -> None:
    config = TrialConfig.from_flat(SRAT)
    keys = {stem_of(config, device=d, threads=t) for d, t in (("cpu", 1), ("cpu", 2), ("cuda", 1))}
    assert len(keys) == 3


def test_late_parameters_are_named_whether_they_act_or_not() -> None:
    late = late_paths(TrialConfig.from_flat(SRAT))
    assert {"reweight.name", "reweight.beta", "reweight.under_weight"} <= late
    assert "reweight.start_fraction" in late
    assert not {"optim.lr", "method.separation_weight", "seeds.seed"} & late


class _Enough(Exception):
    pass


def _weights_after(config: TrialConfig, epochs: int, path: Path) -> dict[str, torch.Tensor]:
    def stop(done: EpochMetrics) -> None:
        if done.epoch == epochs:
            raise _Enough

    with pytest.raises(_Enough):
        Trainer(config).fit(stop, checkpoint=path)
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model"]
    return state


_DEFERRED = {
    "method.name": "srat",
    "reweight.name": "class_balanced",
    "reweight.schedule": "deferred",
    "reweight.start_fraction": 0.5,
}
_TAET = {"method.name": "taet", "method.clean_fraction": 0.5}
_FOCAL = {"method.name": "pgd_at", "loss.name": "focal"}
_AWP = {"method.awp_gamma": 0.01, "method.awp_start_fraction": 0.5}
_DAFA = {"method.name": "dafa", "method.start_fraction": 0.5}
_CFA = {"method.name": "cfa", "method.start_fraction": 0.5}
_LATE: list[tuple[dict[str, object], str, object]] = [
    ({**_DEFERRED}, "reweight.name", "inverse"),
    ({**_DEFERRED}, "reweight.beta", 0.9),
    ({**_DEFERRED, "reweight.name": "under_represented"}, "reweight.under_weight", 33.0),
    ({**_DEFERRED, **_FOCAL}, "loss.focal_weight", "inside"),
    ({**_TAET}, "method.bcl_weight", 0.3),
    ({**_TAET}, "method.hdl_weight", 0.3),
    ({**_TAET}, "method.rcel_weight", 0.3),
    ({**_AWP}, "method.awp_gamma", 0.02),
    ({**_DAFA}, "method.dafa_strength", 0.2),
    ({**_DAFA, "method.dafa_strength": 50.0}, "method.dafa_weight_min", 0.6),
    ({**_DAFA, "method.dafa_strength": 50.0}, "method.dafa_weight_max", 1.5),
    ({**_CFA}, "method.cfa_radius_base", 0.3),
    ({**_CFA}, "method.cfa_larger_radius", "hard"),
    ({**_CFA}, "method.cfa_kl_base", 0.9),
    ({**_CFA}, "method.cfa_smoothing", 0.5),
]
# these move the beginning itself, so the stem's length is in the key
_MOVE = {
    "reweight.start_fraction", "method.awp_start_fraction", "method.clean_fraction",
    "method.start_fraction",
}  # fmt: skip


@pytest.mark.parametrize(("base", "path", "value"), _LATE, ids=[path for _, path, _ in _LATE])
def test_a_parameter_that_is_said_to_act_late_changes_nothing_before(
    base: dict[str, object], path: str, value: object, tmp_path: Path
) -> None:
    first = tiny(**{"optim.epochs": 4, **base})
    other = first.replace({path: value})
    begins = acts_from_epoch(first, path)
    assert begins == 2
    assert stem_of(first, device="cpu", threads=1) == stem_of(other, device="cpu", threads=1)
    one = _weights_after(first, begins, tmp_path / "one.pt")
    two = _weights_after(other, begins, tmp_path / "two.pt")
    assert all(torch.equal(one[name], two[name]) for name in one)
    one = _weights_after(first, begins + 1, tmp_path / "one.pt")
    two = _weights_after(other, begins + 1, tmp_path / "two.pt")
    assert any(not torch.equal(one[name], two[name]) for name in one)


def test_every_parameter_that_acts_late_is_tried_above() -> None:
    late = {path for path, parameter in PARAMETERS.items() if parameter.acts_from != "start"}
    assert late == {path for _, path, _ in _LATE} | _MOVE
